"""How a worker ends: for people with one sentence, and a bug with its traceback."""

import sys

import pytest
from aiokafka import AIOKafkaProducer

from runway_streams.config import kafka_client_options
from tests.running import WorkerProcess, eventually, marks, worker

pytestmark = [pytest.mark.kafka, pytest.mark.fault]

WITH_A_BUG = """
from runway_streams.cli import main
from runway_streams.runtimes.archive import ArchiveRuntime

async def tick(self):
    1 / 0

ArchiveRuntime.tick = tick
main()
"""


async def until_marked(config) -> None:
    while not await marks(config):
        pass


async def fence(config, partition: int) -> None:
    """Begins to own a partition, as another worker would."""
    name = f"{config.topic_prefix}gt-{partition}"
    async with AIOKafkaProducer(transactional_id=name, **kafka_client_options(config)):
        pass


async def test_a_fenced_worker_ends_with_the_sentence(topics):
    config = await topics(partitions=1)
    with worker(config) as process:
        await until_marked(config)
        await fence(config, 0)
        await eventually(lambda: not process.alive(), 60, process.tail)
    assert process.process.returncode == 2
    assert process.tail().splitlines()[-1].startswith("runway: Another worker owns partition 0 now")
    assert "Refused: " not in process.tail(), "no traceback"


async def test_a_bug_ends_a_worker_with_its_traceback(topics):
    config = await topics(partitions=1)
    process = WorkerProcess(config, "archive")
    process.command = [sys.executable, "-c", WITH_A_BUG, "worker", "archive"]
    try:
        process.start()
        await eventually(lambda: not process.alive(), 60, process.tail)
    finally:
        process.stop()
    assert process.process.returncode == 1
    assert process.tail().splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "in tick" in process.tail()
