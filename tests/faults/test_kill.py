"""Workers killed or robbed of their state lose nothing and count nothing twice."""

import asyncio
import random
import shutil
from collections.abc import Callable

import pytest

from tests.faults.answers import served, verify_answers
from tests.faults.verifier import verify
from tests.running import caught_up
from tests.traffic import Traffic

KILLS = 3
pytestmark = [pytest.mark.kafka, pytest.mark.fault]


async def test_sigkill_loses_nothing_and_counts_nothing_twice(topics, seed: int, start: Callable):
    config = await topics(partitions=2)
    rng = random.Random(seed)
    traffic = Traffic(seed, pairs=20_000)
    process = start(config)
    stretch = len(traffic.events) // (KILLS + 1)
    for kill in range(KILLS + 1):
        end = None if kill == KILLS else (kill + 1) * stretch
        await asyncio.to_thread(traffic.send, config, kill * stretch, end)
        if kill < KILLS:
            await asyncio.sleep(rng.uniform(1.0, 6.0))  # anywhere from its start to in between two commits
            process.kill()
            process.start()
    await caught_up(config, process)
    truth = await verify(config, traffic.acknowledged)
    async with served(config) as http:
        await verify_answers(http, truth)
    await verify(config, traffic.acknowledged)


async def test_a_wiped_state_is_rebuilt_from_the_log(topics, seed: int, start: Callable):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=5_000)
    half = len(traffic.events) // 2
    process = start(config)
    await asyncio.to_thread(traffic.send, config, 0, half)
    await caught_up(config, process)
    process.kill()
    shutil.rmtree(config.home / "state")
    await asyncio.to_thread(traffic.send, config, half, None)
    process.start()
    await caught_up(config, process)
    await verify(config, traffic.acknowledged)


async def test_an_older_copy_of_the_state_catches_up_before_it_speaks(topics, seed: int, start: Callable):
    config = await topics(partitions=1)
    traffic = Traffic(seed, pairs=5_000)
    half = len(traffic.events) // 2
    process = start(config)
    await asyncio.to_thread(traffic.send, config, 0, half)
    await caught_up(config, process)
    process.kill()
    shutil.copytree(config.home / "state", config.home / "older")
    process.start()
    await asyncio.to_thread(traffic.send, config, half, None)
    await caught_up(config, process)
    process.kill()
    shutil.rmtree(config.home / "state")
    shutil.copytree(config.home / "older", config.home / "state")
    process.start()
    await caught_up(config, process)
    await verify(config, traffic.acknowledged)
