"""The contract of every lake."""

import threading

import pytest

from batch.lake import open_lake
from runway_streams.errors import ConfigError, DependencyDown


def test_put_get_overwrite(lake):
    lake.put("a/b.json", b"1")
    lake.put("a/b.json", b"22")
    assert lake.get("a/b.json") == b"22"
    assert lake.exists("a/b.json")


def test_absent(lake):
    assert lake.get_or_none("a/none") is None
    assert not lake.exists("a/none")
    with pytest.raises(FileNotFoundError):
        lake.get("a/none")
    lake.delete("a/none")


def test_put_file(lake, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    lake.put_file("f/x", source)
    source.unlink()
    assert lake.get("f/x") == b"x" * 100_000


def test_open_reads_parts(lake):
    lake.put("a/1", b"0123456789")
    with lake.open("a/1") as file:
        assert file.seek(-3, 2) == 7
        assert file.read() == b"789"
    with pytest.raises(FileNotFoundError):
        lake.open("a/none")
    lake.settle(["a/1"])
    assert lake.get("a/1") == b"0123456789"


def test_paths_are_sorted_and_below_the_folder_alone(lake):
    for path in ("a/2", "a/1", "a/b/3", "ab/4"):
        lake.put(path, b"")
    assert lake.paths("a") == ["a/1", "a/2", "a/b/3"]
    assert lake.paths("none") == []


def test_delete(lake):
    lake.put("a/1", b"")
    lake.delete("a/1")
    assert lake.paths("a") == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", "a\x00"])
def test_paths_stay_below_the_root(lake, path):
    with pytest.raises(ConfigError):
        lake.put(path, b"")
    with pytest.raises(ConfigError):
        lake.get(path)


def test_swap(lake):
    assert lake.swap("lock", None, b"1")
    assert not lake.swap("lock", None, b"2")
    assert not lake.swap("lock", b"0", b"2")
    assert lake.swap("lock", b"1", b"2")
    assert lake.get("lock") == b"2"
    assert not lake.swap("absent", b"1", b"2")


def test_one_of_many_swaps_wins(lake):
    lake.put("lock", b"0")
    won = []
    threads = [
        threading.Thread(target=lambda i=i: lake.swap("lock", b"0", b"%d" % (i + 1)) and won.append(i)) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lake.get("lock") == b"%d" % (won[0] + 1)


def test_fetch_keeps_the_order(lake, tmp_path):
    lake.put("a/1", b"one")
    lake.put("a/2", b"two")
    files = lake.fetch(["a/2", "a/1"], tmp_path / "scratch")
    assert [file.read_bytes() for file in files] == [b"two", b"one"]
    with pytest.raises(FileNotFoundError):
        lake.fetch(["a/3"], tmp_path / "scratch")


@pytest.mark.parametrize("url", ["gopher://x", "az://container/x"])
def test_a_url_that_cannot_be_opened_is_a_sentence(url):
    with pytest.raises(ConfigError, match="cannot be opened") as refused:
        open_lake(url)
    assert "\n" not in str(refused.value)


def test_a_dead_store_is_a_dependency_that_is_down():
    options = {
        "endpoint": "http://127.0.0.1:9", "access_key_id": "x", "secret_access_key": "x", "region": "us-east-1",
        "client_options": {"allow_http": True}, "retry_config": {"max_retries": 0},
    }  # fmt: skip
    with pytest.raises(DependencyDown, match="does not answer"):
        open_lake("s3://runway/x", options).get("a")
