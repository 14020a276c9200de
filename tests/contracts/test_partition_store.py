"""What every store of a partition's state keeps: one suite over memory and RocksDB. A new store joins `STORES`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runway_streams.errors import Refused
from runway_streams.ground_truth.partition import Changes, Store
from tables.memory_store import MemoryStore
from tables.partition_store import Memory, PartitionStore

STORES = ["memory", "rocksdb"]
MEMORY = Memory(8 << 20, 16 << 20)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = PartitionStore.open(tmp_path / "0", MEMORY)
    yield opened
    opened.close()


def changes(rows=(), records=(), dead_rows=(), dead_records=(), state=b"s"):
    return Changes(list(rows), list(records), list(dead_rows), list(dead_records), state)


def put(**rows):
    return changes([(key.encode(), value) for key, value in rows.items()])


def test_a_new_store_is_empty(store):
    assert store.read_state() is None
    assert store.get_rows([b"a"]) == [None]
    assert store.get_records([b"a"]) == [None]
    assert list(store.iter_records()) == []
    assert store.scan_rows(b"", 10) == []


def test_what_is_written_is_read(store):
    store.write(changes([(b"a", b"1"), (b"b", b"2")], [(b"a", b"3")], state=b"first"))
    assert store.get_rows([b"b", b"nothing", b"a", b"b"]) == [b"2", None, b"1", b"2"]
    assert store.get_records([b"a", b"b"]) == [b"3", None]
    assert list(store.iter_records()) == [(b"a", b"3")]
    assert store.read_state() == b"first"
    assert store.get_rows([]) == store.get_records([]) == []


def test_a_write_replaces_and_deletes(store):
    store.write(changes([(b"a", b"1"), (b"b", b"2")], [(b"x", b"3"), (b"y", b"4")]))
    store.write(changes([(b"b", b"5")], [(b"y", b"6")], [b"a", b"never there"], [b"x", b"never there"], b"second"))
    assert store.get_rows([b"a", b"b"]) == [None, b"5"]
    assert list(store.iter_records()) == [(b"y", b"6")]
    assert store.read_state() == b"second"


def test_keys_and_values_are_any_bytes(store):
    odd = [b"\x00", b"\x00\x00", b"\xff" * 3, "ü".encode(), b"x" * 1_000]
    store.write(changes([(key, key + b"\x00") for key in odd] + [(b"empty", b"")]))
    assert store.get_rows([*odd, b"empty"]) == [key + b"\x00" for key in odd] + [b""]
    assert [key for key, _ in store.scan_rows(b"", 10)] == sorted([*odd, b"empty"])


def test_a_scan_goes_on_above_its_last_key(store):
    keys = [f"{i:03}".encode() for i in range(10)]
    store.write(changes([(key, b"v" + key) for key in reversed(keys)]))
    assert [key for key, _ in store.scan_rows(b"", 4)] == keys[:4]
    assert store.scan_rows(keys[3], 4) == [(key, b"v" + key) for key in keys[4:8]]
    assert [key for key, _ in store.scan_rows(keys[7], 4)] == keys[8:]
    assert store.scan_rows(keys[9], 4) == []
    assert [key for key, _ in store.scan_rows(b"0035", 2)] == keys[4:6]


def test_a_scan_does_not_meet_what_was_deleted(store):
    store.write(put(a=b"1", b=b"2", c=b"3"))
    assert store.scan_rows(b"", 1) == [(b"a", b"1")]
    store.write(changes(dead_rows=[b"b"]))
    assert store.scan_rows(b"a", 5) == [(b"c", b"3")]


keys = st.binary(min_size=1, max_size=3)
puts = st.lists(st.tuples(keys, st.binary(max_size=5)), max_size=6)


@given(st.lists(st.tuples(puts, puts, st.lists(keys, max_size=3), st.lists(keys, max_size=3)), max_size=6))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_store_is_a_dictionary_of_bytes(store, writes):
    known = [key for key, _ in store.scan_rows(b"", 10_000)]
    store.write(changes(dead_rows=known, dead_records=[key for key, _ in store.iter_records()]))
    rows, records = {}, {}
    for put_rows, put_records, dead_rows, dead_records in writes:
        store.write(changes(put_rows, put_records, dead_rows, dead_records))
        for kept, new, dead in ((rows, put_rows, dead_rows), (records, put_records, dead_records)):
            kept.update(dict(new))
            for key in dead:
                kept.pop(key, None)
    assert store.scan_rows(b"", 10_000) == sorted(rows.items())
    assert dict(store.iter_records()) == records
    every = [bytes([i]) for i in range(256)]
    assert store.get_rows(every) == [rows.get(key) for key in every]


# -- what only a store on disk can keep ----------------------------------------------------------------------------


def test_the_state_survives_reopening(tmp_path):
    store = PartitionStore.open(tmp_path / "0", MEMORY)
    store.write(changes([(b"a", b"1")], [(b"r", b"2")], state=b"3"))
    store.close()
    again = PartitionStore.open(tmp_path / "0", MEMORY)
    assert again.get_rows([b"a"]) == [b"1"]
    assert list(again.iter_records()) == [(b"r", b"2")]
    assert again.read_state() == b"3"
    again.close()


def test_a_closed_state_may_be_removed_and_made_anew_at_once(tmp_path):
    store = PartitionStore.open(tmp_path / "0", MEMORY)
    store.write(put(a=b"1", b=b"2"))
    store.scan_rows(b"", 1)
    store.close()
    (tmp_path / "0").rename(tmp_path / "old")
    again = PartitionStore.open(tmp_path / "0", MEMORY)
    assert again.get_rows([b"a"]) == [None]
    again.close()


WRITER = """
import os, signal, sys
from runway_streams.ground_truth.partition import Changes
from tables.partition_store import Memory, PartitionStore
store = PartitionStore.open(sys.argv[1], Memory(8 << 20, 16 << 20))
for commit in range(5):
    rows = [(b"%d-%d" % (commit, i), b"x" * 50) for i in range(2_000)]
    store.write(Changes(rows, [(b"record", b"%d" % commit)], [], [], b"%d" % commit))
os.kill(os.getpid(), signal.SIGKILL)
"""

HOLDER = """
import sys
from tables.partition_store import PartitionStore
store = PartitionStore.open(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_write_survives_sigkill_right_after_it_whole(tmp_path):
    killed = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "0")], check=False)
    assert killed.returncode == -9
    store = PartitionStore.open(tmp_path / "0", MEMORY)
    assert store.read_state() == b"4"
    assert store.get_records([b"record"]) == [b"4"]
    assert len(store.scan_rows(b"", 20_000)) == 10_000
    store.close()


def test_a_state_that_another_process_holds_is_refused_with_what_to_do(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(Refused, match="cannot be opened") as refused:
            PartitionStore.open(tmp_path / "0", MEMORY)
        assert "RUNWAY_INSTANCE" in refused.value.remedy
        holder.stdin.close()
        holder.wait()
    PartitionStore.open(tmp_path / "0", MEMORY).close()


def test_a_state_that_cannot_be_read_is_refused_with_what_to_do(tmp_path):
    PartitionStore.open(tmp_path / "0", MEMORY).close()
    (tmp_path / "0" / "CURRENT").write_text("nonsense")
    with pytest.raises(Refused, match="cannot be opened") as refused:
        PartitionStore.open(tmp_path / "0", MEMORY)
    assert "rebuilds it from the log" in refused.value.remedy


def test_a_batch_that_was_cut_in_the_middle_is_not_there_at_all(tmp_path):
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "0")], check=False)
    [log] = (tmp_path / "0").glob("*.log")
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) - 30_000])
    store = PartitionStore.open(tmp_path / "0", MEMORY)
    commits = {key.split(b"-")[0] for key, _ in store.scan_rows(b"", 20_000)}
    assert store.read_state() == b"3"
    assert commits == {b"0", b"1", b"2", b"3"}
    store.close()
