"""A worker that ends at each of the named points, by SIGKILL or by a bug, loses nothing and counts nothing twice."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from runway_streams.config import Config
from tests.faults.kill_points import BROKEN_POINT, POINTS, FaultyWorker, inject, resolve
from tests.faults.verifier import verify
from tests.running import WorkerProcess, caught_up, eventually, worker
from tests.traffic import Traffic

REACH_LIMIT_S = 60
END_LIMIT_S = 20
"""A worker that has crashed ends within this time: its supervisor can start it again."""
PAIRS, RATE = 2_000, 1_500

FLOWING = [
    "fetched", "in_batch", "before_dead_letters", "after_dead_letters", "before_write", "after_write", "in_emission",
    "after_emission", "before_group_commit", "in_opening", "after_fencing",
]  # fmt: skip
RAISING = ["in_batch", "before_dead_letters", "before_write", "after_write", "in_emission", "in_opening", "in_close"]
kafka = [pytest.mark.kafka, pytest.mark.fault]


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


def flow(config: Config, traffic: Traffic) -> asyncio.Future:
    return asyncio.ensure_future(asyncio.to_thread(traffic.send, config, rate=RATE))


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize("name", FLOWING)
async def test_sigkill_under_traffic(topics, seed: int, started: Callable, name: str):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=PAIRS)
    sending = flow(config, traffic)
    process = FaultyWorker(config, name, nth(name, seed))
    started(process.start())
    await ends_there(process)
    await goes_on(config, traffic, sending)


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.parametrize("name", RAISING)
async def test_a_bug_ends_the_worker_at_once_and_costs_nothing(topics, seed: int, started: Callable, name: str):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=PAIRS)
    sending = flow(config, traffic)
    process = FaultyWorker(config, name, nth(name, seed), "RAISE")
    started(process.start())
    if name == "in_close":
        await caught_up(config, process)
        process.process.terminate()
    await eventually(process.reached, REACH_LIMIT_S, process.tail)
    await eventually(lambda: not process.alive(), END_LIMIT_S, process.tail)
    assert process.process.returncode > 0, "a bug is no good end"
    assert "Injected" in process.log.read_text()
    await goes_on(config, traffic, sending)
