"""Checkpoints in a lake: what is uploaded is restored as it was, and what is not whole is passed over."""

import json
import threading

import msgspec
import pytest

from runway_streams import formats
from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Changes
from runway_streams.ground_truth.partition_state import PartitionState
from tables.checkpoints import COPYING, Checkpoints, Damaged, remove_leftovers
from tables.partition_store import Memory, PartitionStore

ENDS = {PREDICTIONS: 1_000, OUTCOMES: 1_000}
ROOT = "checkpoints/c/0"


def state(predictions, outcomes=0, **more):
    return PartitionState(
        offsets={PREDICTIONS: predictions, OUTCOMES: outcomes}, cluster_id="c", partitions=1, **more
    )  # fmt: skip


def write(store, predictions, rows=100, **more):
    """One commit: rows, a record and the state, all of which say how far it went."""
    value = b"%d" % predictions
    put = [(b"row-%d-%d" % (predictions, i), value) for i in range(rows)]
    saved = msgspec.msgpack.encode(state(predictions, **more))
    store.write(Changes([*put, (b"row", value)], [(b"record", value)], [], [], saved))


@pytest.fixture
def store(tmp_path):
    opened = PartitionStore.open(tmp_path / "a" / "0", Memory(8 << 20, 16 << 20))
    yield opened
    if not opened.closed:
        opened.close()


def names(lake, what):
    return lake.paths(f"{ROOT}/{what}")


def restored(checkpoints, tmp_path, name):
    target = tmp_path / "b" / "0"
    checkpoints.restore(0, name, target)
    return PartitionStore.open(target, Memory(8 << 20, 16 << 20))


def damage(lake, path):
    lake.put(path, b"x" + lake.get(path)[1:])


def largest(lake, name):
    """The path of a checkpoint's largest file."""
    found = json.loads(lake.get(name))["files"]
    return f"{ROOT}/files/{max(found, key=lambda file: file['size'])['sha256']}"


def test_what_was_uploaded_is_restored_as_it_was(lake, store, tmp_path):
    write(store, 10)
    checkpoints = Checkpoints(lake, "c")
    name = checkpoints.upload(0, store, 77)
    write(store, 20)
    (found,) = Checkpoints(lake, "c").candidates(0, ENDS)
    assert (found.name, found.offsets, found.cluster_id, found.partitions) == (name, state(10).offsets, "c", 1)
    assert found.state_format == formats.WRITTEN
    copy = restored(checkpoints, tmp_path, name)
    assert msgspec.msgpack.decode(copy.read_state(), type=PartitionState) == state(10)
    assert copy.get_rows([b"row", b"row-10-99", b"row-20-0"]) == [b"10", b"10", None]
    write(copy, 30)
    copy.close()
    restored(checkpoints, tmp_path, name).close()
    assert not (tmp_path / "a" / f"0{COPYING}").exists()


def test_a_file_is_uploaded_once_and_deleted_when_nothing_names_it_any_more(lake, store):
    checkpoints = Checkpoints(lake, "c")
    for at in range(1, 7):
        write(store, at)
        if at == 4:
            store._db.compact_range(None, None)
        checkpoints.upload(0, store, at)
        manifests = names(lake, "manifests")
        assert len(manifests) == min(at, 2)
        named = {file["sha256"] for path in manifests for file in json.loads(lake.get(path))["files"]}
        there = {path.rsplit("/", 1)[1] for path in names(lake, "files")}
        assert named <= there
    first = json.loads(lake.get(manifests[0]))["files"]
    second = json.loads(lake.get(manifests[1]))["files"]
    shared = {file["sha256"] for file in first} & {file["sha256"] for file in second}
    assert any(file["name"].endswith(".sst") for file in second if file["sha256"] in shared)
    # What was replaced goes one upload later than what named it.
    assert len(there) < len(named) + 8


def test_an_upload_of_what_is_there_is_none(lake, store):
    checkpoints = Checkpoints(lake, "c")
    assert checkpoints.upload(0, store, 0) is None
    write(store, 10)
    assert checkpoints.upload(0, store, 0)
    assert checkpoints.upload(0, store, 0) is None
    assert len(names(lake, "manifests")) == 1


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_checkpoint_that_is_not_whole_is_said_to_be_so(lake, store, tmp_path, how):
    write(store, 10)
    checkpoints = Checkpoints(lake, "c")
    name = checkpoints.upload(0, store, 0)
    (damage if how == "damaged" else lambda lake, path: lake.delete(path))(lake, largest(lake, name))
    with pytest.raises(Damaged if how == "damaged" else FileNotFoundError):
        checkpoints.restore(0, name, tmp_path / "b" / "0")


@pytest.mark.parametrize(
    "change",
    [
        {"files": [{"name": "../../x", "size": 1, "sha256": "0" * 64}]},
        {"files": [{"name": "/etc/x", "size": 1, "sha256": "0" * 64}]},
        {"files": [{"name": "x", "size": 1, "sha256": "../../../x"}]},
        {"format": 99},
        {"partition": 1},
        {"offsets": {PREDICTIONS: 1}},
        {"files": 7},
    ],
)
def test_a_manifest_that_says_something_else_is_passed_over(lake, store, tmp_path, change):
    write(store, 10)
    checkpoints = Checkpoints(lake, "c")
    name = checkpoints.upload(0, store, 0)
    lake.put(name, json.dumps(json.loads(lake.get(name)) | change).encode())
    assert checkpoints.candidates(0, ENDS) == []
    with pytest.raises(Damaged):
        checkpoints.restore(0, name, tmp_path / "b" / "0")
    assert not (tmp_path / "x").exists()


def test_half_a_manifest_is_passed_over_and_its_files_are_kept(lake, store):
    checkpoints = Checkpoints(lake, "c")
    write(store, 10)
    checkpoints.upload(0, store, 0)
    write(store, 20)
    name = checkpoints.upload(0, store, 0)
    lake.put(name, lake.get(name)[:50])
    assert [one.offsets[PREDICTIONS] for one in checkpoints.candidates(0, ENDS)] == [10]


def test_what_ends_in_the_middle_names_nothing(lake, store):
    checkpoints = Checkpoints(lake, "c")
    write(store, 10)
    checkpoints.upload(0, store, 0)
    write(store, 20)
    left = iter([False, False])
    assert checkpoints.upload(0, store, 0, lambda: next(left, True)) is None
    assert [one.offsets[PREDICTIONS] for one in checkpoints.candidates(0, ENDS)] == [10]


def test_a_zombie_neither_replaces_nor_deletes_what_its_heir_has_put(lake, store, tmp_path):
    zombie, heir = Checkpoints(lake, "c"), Checkpoints(lake, "c")
    write(store, 10)
    zombie.upload(0, store, 0)
    other = PartitionStore.open(tmp_path / "heir" / "0", Memory(8 << 20, 16 << 20))
    for at in (20, 30):
        write(other, at)
        heir.upload(0, other, 0)
    lake.put(f"{ROOT}/files/{'a' * 64}", b"what the heir is uploading")
    write(store, 15)
    zombie.upload(0, store, 0)
    assert [one.offsets[PREDICTIONS] for one in heir.candidates(0, ENDS)] == [20, 30]
    assert f"{ROOT}/files/{'a' * 64}" in names(lake, "files")
    restored(heir, tmp_path, names(lake, "manifests")[-1]).close()
    other.close()


def files_of(lake, path):
    return {f"{ROOT}/files/{file['sha256']}" for file in json.loads(lake.get(path))["files"]}


def test_the_older_version_leaves_what_the_newer_has_put(lake, store, tmp_path, monkeypatch):
    """N and N+1 upload by turns: N passes over what it cannot read, and deletes neither that nor its files."""
    monkeypatch.setattr(formats, "NEWEST", formats.WRITTEN + 1)
    other = PartitionStore.open(tmp_path / "newer" / "0", Memory(8 << 20, 16 << 20))
    write(other, 20, rows=5_000, format=formats.NEWEST)
    newer = Checkpoints(lake, "c").upload(0, other, 0)
    monkeypatch.undo()
    older = Checkpoints(lake, "c")
    for at in (5, 10, 30, 40, 50):
        write(store, at)
        older.upload(0, store, 0)
    assert newer in names(lake, "manifests")
    assert files_of(lake, newer) <= set(names(lake, "files"))
    assert [one.offsets[PREDICTIONS] for one in older.candidates(0, ENDS)] == [40, 50]
    monkeypatch.setattr(formats, "NEWEST", formats.WRITTEN + 1)
    restored(Checkpoints(lake, "c"), tmp_path, newer).close()
    write(other, 60, format=formats.NEWEST)
    Checkpoints(lake, "c").upload(0, other, 0)
    assert newer not in names(lake, "manifests"), "who reads both tidies both"
    other.close()


def test_checkpoints_of_a_topic_that_was_made_anew_give_way(lake, store):
    write(store, 500)
    Checkpoints(lake, "c").upload(0, store, 0)
    heir = Checkpoints(lake, "c")
    assert heir.candidates(0, {PREDICTIONS: 10, OUTCOMES: 0}) == []
    for at in (5, 6):
        write(store, at)
        heir.upload(0, store, 0)
    assert [one.offsets[PREDICTIONS] for one in heir.candidates(0, ENDS)] == [5, 6]


def test_a_cluster_sees_its_own_alone(lake, store):
    write(store, 10)
    Checkpoints(lake, "c").upload(0, store, 0)
    assert Checkpoints(lake, "../c").candidates(0, ENDS) == []
    assert all(path.startswith(f"{ROOT}/") for path in lake.paths("checkpoints"))


def test_a_copy_beside_a_busy_writer_is_the_state_of_one_commit(store, tmp_path):
    over = threading.Event()
    copies = []

    def copy():
        for i in range(8):
            copies.append(tmp_path / f"copy-{i}")
            store.copy_to(copies[-1])
        over.set()

    thread = threading.Thread(target=copy)
    thread.start()
    at = 0
    while not over.is_set():
        at += 1
        write(store, at, rows=1_000)
    thread.join()
    for folder in copies:
        copy = PartitionStore.open(folder, Memory(8 << 20, 16 << 20))
        saved = copy.read_state()
        if saved is not None:
            at = msgspec.msgpack.decode(saved, type=PartitionState).offsets[PREDICTIONS]
            assert copy.get_records([b"record"]) == copy.get_rows([b"row"]) == [b"%d" % at]
            assert copy.get_rows([b"row-%d-999" % at, b"row-%d-0" % (at + 1)]) == [b"%d" % at, None]
        copy.close()
    assert at > 1


def test_a_closed_state_is_not_copied(store, tmp_path):
    store.close()
    with pytest.raises(FileNotFoundError):
        store.copy_to(tmp_path / "copy")


def test_leftovers_of_a_crash_are_removed(tmp_path):
    for name in ("0.copying", "0.restoring", "0.restoring.files", "0", "00.copying"):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path / "0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "00.copying"]


def test_a_lake_that_is_down_is_said(store):
    class Down:
        def paths(self, prefix):
            raise DependencyDown("The archive does not answer.")

    write(store, 10)
    with pytest.raises(DependencyDown):
        Checkpoints(Down(), "c").upload(0, store, 0)
    assert not store.path.with_name(f"0{COPYING}").exists()
