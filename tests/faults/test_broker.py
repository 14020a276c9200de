"""The broker goes away, cleanly and hard, while events flow: what it has acknowledged is counted, once."""

import asyncio
import random
from pathlib import Path

import pytest

from runway_streams.config import Config
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.topics import create_topics
from tests.faults.verifier import verify
from tests.running import WorkerProcess, caught_up, eventually
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]


@pytest.mark.parametrize("hard", [False, True], ids=["clean", "hard"])
async def test_a_broker_bounced_under_traffic_costs_nothing(tmp_path: Path, seed: int, hard: bool):
    rng = random.Random(seed)
    traffic = Traffic(seed, pairs=3_000)
    with EmbeddedKafka(tmp_path / "kafka", heap="384m") as kafka:
        config = Config(home=tmp_path / "home", bootstrap=kafka.bootstrap)
        await create_topics(config, 2, replication=1)
        process = Supervised(WorkerProcess(config).start())
        try:
            sending = asyncio.ensure_future(asyncio.to_thread(traffic.send, config, rate=500))
            await eventually(lambda: "Worker ready" in process.tail(), 60, process.tail)
            await asyncio.sleep(rng.uniform(0, 2))  # anywhere in between two emissions
            await asyncio.to_thread(kafka.kill if hard else kafka.stop)
            assert not sending.done(), "it must go away while events flow"
            await asyncio.sleep(rng.uniform(0, 2))
            await asyncio.to_thread(kafka.start)
            await sending
            await caught_up(config, process)
            await verify(config, traffic.acknowledged)
        finally:
            process.stop()


class Supervised:
    """Starts the worker again where it has ended, as every supervisor of processes does."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self.stop = process.stop

    def alive(self) -> bool:
        if not self._process.alive():
            self._process.start()
        return True

    def tail(self) -> str:
        return self._process.tail()
