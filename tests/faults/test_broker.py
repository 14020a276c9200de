"""The broker goes away, cleanly and hard, while events flow: what it has acknowledged is counted, once."""

import asyncio
import random
from pathlib import Path

import pytest

from runway_streams.config import Config
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.topics import create_topics
from tests.faults.counted import assert_counted
from tests.running import WorkerProcess, caught_up
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]


@pytest.mark.parametrize("hard", [False, True], ids=["clean", "hard"])
async def test_a_bounced_broker_costs_nothing(tmp_path: Path, hard: bool):
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    traffic = Traffic(seed, pairs=4_000)
    half = len(traffic.events) // 2
    with EmbeddedKafka(tmp_path / "kafka", heap="384m") as kafka:
        config = Config(home=tmp_path / "home", bootstrap=kafka.bootstrap)
        await create_topics(config, 2, replication=1)
        process = WorkerProcess(config).start()
        try:
            await asyncio.to_thread(traffic.send, config, 0, half)
            await caught_up(config, process)
            await asyncio.to_thread(kafka.kill if hard else kafka.stop)
            await asyncio.to_thread(kafka.start)
            await asyncio.to_thread(traffic.send, config, half, None)
            await caught_up(config, Supervised(process))
            await assert_counted(config, traffic)
        finally:
            process.stop()


class Supervised:
    """Starts the worker again where it has ended, as every supervisor of processes does."""

    def __init__(self, process: WorkerProcess):
        self._process = process

    def alive(self) -> bool:
        if not self._process.alive():
            self._process.start()
        return True

    def tail(self) -> str:
        return self._process.tail()
