"""Workers come and go under traffic, and each is restarted in turn: counts stay exact."""

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.faults.verifier import verify
from tests.running import WorkerProcess, caught_up, eventually
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]
SHORT = {"RUNWAY_SESSION_TIMEOUT": "6"}
RATE = 400
LIMIT_S = 60


async def ready(process: WorkerProcess, times: int = 1) -> None:
    """Waits until a worker has opened its partitions, since it was started for the so manieth time."""
    await eventually(lambda: process.log.read_text().count("Worker ready") >= times, LIMIT_S, process.tail)


async def test_workers_are_added_and_removed_under_traffic(topics, seed: int, start: Callable):
    config = await topics(partitions=4)
    rng = random.Random(seed)
    traffic = Traffic(seed, pairs=6_000)
    workers = [start(config, "worker-0", **SHORT)]
    await ready(workers[0])
    sending = asyncio.ensure_future(asyncio.to_thread(traffic.send, config, rate=RATE))
    for number in (1, 2):
        workers.append(start(config, f"worker-{number}", **SHORT))
        await ready(workers[-1])
    leaving = rng.sample(workers, 2)
    leaving[0].stop()
    assert leaving[0].process.returncode == 0, leaving[0].tail()
    leaving[1].kill()
    left = next(process for process in workers if process not in leaving)
    await sending
    await caught_up(config, left)
    await verify(config, traffic.acknowledged)


async def test_each_worker_in_turn_is_restarted_under_traffic(topics, seed: int, start: Callable):
    config = await topics(partitions=4)
    traffic = Traffic(seed, pairs=6_000)
    workers = [start(config, f"worker-{name}") for name in "ab"]
    for process in workers:
        await ready(process)
    sending = asyncio.ensure_future(asyncio.to_thread(traffic.send, config, rate=RATE))
    for process in workers:
        times = process.log.read_text().count("Worker ready")
        process.stop()
        assert process.process.returncode == 0, process.tail()
        process.start()
        await ready(process, times + 1)
    await sending
    await caught_up(config, workers[0])
    await verify(config, traffic.acknowledged)
