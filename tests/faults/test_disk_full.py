"""A full disk, played by a limit on the size of files: the worker ends with one sentence, and goes on exactly once there is room."""

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.partition import Changes
from tables.partition_store import PartitionStore
from tests.faults.verifier import verify
from tests.running import caught_up, eventually
from tests.traffic import Traffic

FREE = resource.RLIM_INFINITY
FULL = 512 * 1024
"""More than a worker's log has, less than RocksDB's write-ahead log by then."""


def changes(n: int, size: int = 10) -> Changes:
    return Changes([(b"row-%d" % n, b"x" * size)], [], [], [], b"state-%d" % n)


def test_after_a_write_that_failed_the_store_takes_no_other(tmp_path: Path):
    store = PartitionStore.open(tmp_path / "0")
    store.write(changes(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
        with pytest.raises(DependencyDown, match="No space is left to write the state in") as full:
            store.write(changes(2, 200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "make room" in full.value.remedy
    with pytest.raises(DependencyDown, match="No space is left"):
        store.write(changes(3))
    store.close()
    again = PartitionStore.open(tmp_path / "0")
    assert again.read_state() == b"state-1"
    assert again.get_rows([b"row-1", b"row-2", b"row-3"]) == [b"x" * 10, None, None]
    again.close()


@pytest.mark.kafka
@pytest.mark.fault
async def test_a_full_disk_ends_the_worker_with_a_sentence_and_costs_nothing(topics, seed: int, start: Callable):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=20_000)
    third = len(traffic.events) // 3
    process = start(config)
    await asyncio.to_thread(traffic.send, config, 0, third)
    await caught_up(config, process)
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (FULL, FREE))
    await asyncio.to_thread(traffic.send, config, third, 2 * third)
    await eventually(lambda: not process.alive(), 60, process.tail)
    last = process.log.read_text().strip().splitlines()[-1]
    assert process.process.returncode == 2, process.tail()
    assert last.startswith("runway: No space is left to write the state in"), process.tail()
    assert "make room" in last
    await asyncio.to_thread(traffic.send, config, 2 * third, None)
    process.start()
    await caught_up(config, process)
    await verify(config, traffic.acknowledged)
