"""A worker that ends at each of the named points, by SIGKILL or by a bug, loses nothing and counts nothing twice."""

import asyncio
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch.cutoff import request_flush
from batch.lake import open_lake
from runway_streams.config import Config
from tests.faults.kill_points import BROKEN_POINT, POINTS, FaultyWorker, inject, resolve
from tests.faults.verifier import look, lost, read_topic, verify
from tests.running import WorkerProcess, caught_up, eventually, worker
from tests.traffic import Traffic

REACH_LIMIT_S = 60
END_LIMIT_S = 20
"""A worker that has crashed ends within this time: its supervisor can start it again."""
PAIRS, PART_PAIRS, RATE = 1_500, 700, 1_500
SHORT = {"RUNWAY_SESSION_TIMEOUT": "6"}
"""The shortest that Kafka takes: so long another worker waits for the partitions of one that was killed."""

FLOWING = [
    ["before_group_commit", "in_opening", "after_fencing", "fetched"],
    ["in_batch", "before_dead_letters", "after_dead_letters"],
    ["before_write", "after_write", "in_emission", "after_emission"],
]
"""Points of one worker, one after the other: most of a test's time is that of starting, catching up and comparing."""
RAISING = [["in_opening", "in_batch", "before_dead_letters"], ["before_write", "after_write", "in_emission"], ["in_close"]]


@pytest.mark.parametrize("name", POINTS)
def test_every_point_is_a_function_of_the_product(name: str):
    assert resolve(POINTS[name].function)


def test_a_point_that_is_no_longer_there_is_told():
    with pytest.raises(LookupError, match="no longer there"):
        resolve("agents.metrics:MetricsEmitter.emitt")
    with pytest.raises(LookupError, match="no longer there"):
        resolve("agents.metricks:MetricsEmitter.emit")
    with pytest.raises(LookupError, match="There is no point"):
        inject("nowhere", 1, "KILL")
    command = [sys.executable, "-m", "tests.faults.kill_points", "nowhere", "1", "KILL", "--", "doctor"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == BROKEN_POINT
    assert "There is no point 'nowhere'" in ended.stderr


@pytest.fixture
def started():
    """Workers that are ended with the test."""
    found: list[WorkerProcess] = []
    yield found.append
    for process in found:
        process.stop()


def nth(name: str, seed: int) -> int:
    """The time at which it happens, drawn from the seed."""
    return random.Random(f"{seed} {name}").randint(1, POINTS[name].most)


async def ends_there(process: FaultyWorker) -> None:
    """Waits until a worker has reached its point and SIGKILL has ended it."""
    await eventually(lambda: not process.alive(), REACH_LIMIT_S, process.tail)
    assert process.reached(), process.tail()
    assert process.ended_by_kill(), process.tail()


async def goes_on(config: Config, traffic: Traffic, sending: asyncio.Future | None = None, **environ: str) -> None:
    """A worker in its place, without faults, brings all to what the verifier computes."""
    with worker(config, **environ) as process:
        if sending:
            await sending
        await caught_up(config, process)
        await verify(config, traffic.acknowledged)


def flow(config: Config, traffic: Traffic, part: int = 0, parts: int = 1) -> asyncio.Future:
    """Sends a part of the traffic, and the last one to the end."""
    size = len(traffic.events) // parts
    end = None if part == parts - 1 else (part + 1) * size
    return asyncio.ensure_future(asyncio.to_thread(traffic.send, config, part * size, end, RATE))


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize("names", FLOWING, ids="-".join)
async def test_sigkill_under_traffic(topics, seed: int, started: Callable, names: list[str]):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=PART_PAIRS * len(names))
    for part, name in enumerate(names):
        sending = flow(config, traffic, part, len(names))
        process = FaultyWorker(config, name, nth(name, seed))
        started(process.start())
        await ends_there(process)
        await sending
    await goes_on(config, traffic)


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize("names", RAISING, ids="-".join)
async def test_a_bug_ends_the_worker_at_once_and_costs_nothing(topics, seed: int, started: Callable, names: list[str]):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=PART_PAIRS * len(names))
    for part, name in enumerate(names):
        sending = flow(config, traffic, part, len(names))
        process = FaultyWorker(config, name, nth(name, seed), "RAISE")
        began = process.log.stat().st_size if process.log.exists() else 0
        started(process.start())
        if name == "in_close":
            await eventually(lambda p=process: "Worker ready" in p.log.read_text(), REACH_LIMIT_S, process.tail)
            process.process.terminate()
        await eventually(process.reached, REACH_LIMIT_S, process.tail)
        await eventually(lambda p=process: not p.alive(), END_LIMIT_S, process.tail)
        assert process.process.returncode > 0, "a bug is no good end"
        assert "Injected" in process.log.read_bytes()[began:].decode(errors="replace")
        await sending
    await goes_on(config, traffic)


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize(("name", "time"), [("in_revoke", 2), ("in_close", 1)])
async def test_sigkill_while_it_lets_go(topics, seed: int, started: Callable, name: str, time: int):
    """The first revocation, of nothing, is that before it joins."""
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=PAIRS)
    process = FaultyWorker(config, name, time, instance="worker-a", **SHORT)
    started(process.start())
    sending = flow(config, traffic)
    await eventually(lambda: "Worker ready" in process.log.read_text(), REACH_LIMIT_S, process.tail)
    with worker(config, instance="worker-b", **SHORT) as heir:
        await ends_there(process)
        await sending
        await caught_up(config, heir)
        await verify(config, traffic.acknowledged)


async def half_counted_and_lost(config: Config, traffic: Traffic, tmp_path: Path, **environ: str) -> None:
    """A first half is counted, and uploaded where there is a lake; then the worker is killed and its state is gone."""
    with worker(config, **environ) as first:
        await asyncio.to_thread(traffic.send, config, 0, len(traffic.events) // 2)
        await caught_up(config, first)
        if environ:
            await eventually(lambda: list(tmp_path.glob("elsewhere/checkpoints/*/0/manifests/*.json")), 60, first.tail)
        first.kill()
    shutil.rmtree(config.home / "state")


@pytest.fixture
def lake(tmp_path: Path) -> dict[str, str]:
    """The environment of workers that upload every second."""
    return {"RUNWAY_ARCHIVE": (tmp_path / "elsewhere").as_uri(), "RUNWAY_CHECKPOINT_INTERVAL": "1"}


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize("name", ["in_rebuild", "in_restore"])
async def test_sigkill_while_a_lost_state_comes_back(
    topics, seed: int, started: Callable, tmp_path: Path, lake: dict, name: str
):
    config = await topics(partitions=1)
    traffic = Traffic(seed, pairs=PAIRS)
    environ = lake if name == "in_restore" else {}
    await half_counted_and_lost(config, traffic, tmp_path, **environ)
    process = FaultyWorker(config, name, nth(name, seed), **environ)
    started(process.start())
    await ends_there(process)
    rest = asyncio.ensure_future(asyncio.to_thread(traffic.send, config, len(traffic.events) // 2))
    await goes_on(config, traffic, rest, **environ)


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize("name", ["in_upload", "before_manifest"])
async def test_sigkill_while_a_checkpoint_is_uploaded(topics, seed: int, started: Callable, lake: dict, name: str):
    config = await topics(partitions=1)
    traffic = Traffic(seed, pairs=PAIRS)
    sending = flow(config, traffic)
    process = FaultyWorker(config, name, nth(name, seed), **lake)
    started(process.start())
    await ends_there(process)
    shutil.rmtree(config.home / "state")
    await goes_on(config, traffic, sending, **lake)


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize("name", ["before_segment", "after_segment"])
async def test_sigkill_while_a_segment_is_archived(
    topics, seed: int, started: Callable, tmp_path: Path, lake: dict, name: str
):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=PAIRS)
    await asyncio.to_thread(traffic.send, config)
    process = FaultyWorker(config, name, nth(name, seed), name="archive", **lake)
    started(process.start())
    flushing = asyncio.ensure_future(asyncio.to_thread(request_flush, config, open_lake(lake["RUNWAY_ARCHIVE"])))
    await ends_there(process)
    with worker(config, "archive", **lake):
        await asyncio.wait_for(flushing, REACH_LIMIT_S)
    assert archived(tmp_path / "elsewhere") == await asyncio.to_thread(usable, config, traffic)


def archived(folder: Path) -> list[tuple[str, int, int]]:
    """What the archive has, each event as often as it is there."""
    return sorted(
        (file.parent.parent.name, int(file.parent.name), offset)
        for file in folder.glob("archive/*/*/*.parquet")
        for offset in pq.read_table(file)["log_offset"].to_pylist()
    )


def usable(config: Config, traffic: Traffic) -> list[tuple[str, int, int]]:
    """The good events of the log, each once."""
    records = [(noun, record) for noun in ("predictions", "outcomes") for record in read_topic(config, noun)]
    truth, _ = look(config, traffic.acknowledged)
    bad = {place for of in truth.values() for place in of.bad}
    good = [(noun, r.partition, r.offset) for noun, r in records if (r.topic, r.partition, r.offset) not in bad]
    assert not lost(traffic.acknowledged, [record for _, record in records])
    return sorted(good)
