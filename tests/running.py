"""Real worker processes for tests: start, kill, wait for what they have done, seen from outside."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from runway_streams.config import Config, kafka_client_options
from runway_streams.ground_truth.records import mark_key, unpack_mark
from runway_streams.topic_reader import open_topic
from schemas.metrics_record import Mark

LIMIT_S = 90.0


class WorkerProcess:
    """One `runway worker NAME` of a test's configuration."""

    def __init__(self, config: Config, name: str = "ground-truth", instance: str = "worker-0", **environ: str):
        self.log = Path(config.home) / f"{instance}-{name}.log"
        self.command = [sys.executable, "-m", "runway_streams.cli", "worker", name]
        self.environ = {
            **os.environ,
            "RUNWAY_HOME": str(config.home),
            "RUNWAY_BOOTSTRAP": config.bootstrap,
            "RUNWAY_TOPIC_PREFIX": config.topic_prefix,
            "RUNWAY_INSTANCE": instance,
            "RUNWAY_WEB_PORT": "0",
            "RUNWAY_SESSION_TIMEOUT": "10",
            **environ,
        }
        self.process: subprocess.Popen | None = None

    def start(self) -> "WorkerProcess":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environ, stdout=log, stderr=log)
        return self

    def kill(self) -> None:
        """SIGKILL, and gone."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@contextmanager
def worker(
    config: Config, name: str = "ground-truth", instance: str = "worker-0", **environ: str
) -> Iterator[WorkerProcess]:
    process = WorkerProcess(config, name, instance, **environ).start()
    try:
        yield process
    finally:
        process.stop()


async def marks(config: Config) -> dict[int, Mark]:
    """The newest mark of every partition."""
    found: dict[int, Mark] = {}
    async with open_topic(config, "metrics") as topic:
        async for record in topic.to_end():
            if record.key == mark_key() and record.value:
                found[record.partition] = unpack_mark(record.value)
    return found


async def ends(config: Config) -> dict[tuple[str, int], int]:
    """The end offsets of both topics."""
    names = [config.topic("predictions"), config.topic("outcomes")]
    consumer = AIOKafkaConsumer(*names, **kafka_client_options(config))
    await consumer.start()
    try:
        tps = [TopicPartition(name, p) for name in names for p in consumer.partitions_for_topic(name) or ()]
        return {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(tps)).items()}
    finally:
        await consumer.stop()


async def caught_up(config: Config, process: WorkerProcess | None = None, limit: float = LIMIT_S) -> dict[int, Mark]:
    """Waits until the marks have reached the ends of both topics."""
    wanted = await ends(config)
    deadline = time.monotonic() + limit
    found: dict[int, Mark] = {}
    while time.monotonic() < deadline:
        found = await marks(config)
        if all(
            found.get(partition) and found[partition].offsets.get(topic, 0) >= end
            for (topic, partition), end in wanted.items()
            if end
        ):
            return found
        if process and not process.alive():
            raise AssertionError(f"The worker ended:\n{process.tail()}")
        await asyncio.sleep(0.3)
    raise AssertionError(f"Not caught up in {limit} s: marks {found}, ends {wanted}\n{process.tail() if process else ''}")


def counters(found: dict[int, Mark]) -> dict[str, int]:
    """The counters of all partitions together."""
    total: dict[str, int] = {}
    for mark in found.values():
        for name, n in mark.counters.items():
            total[name] = total.get(name, 0) + n
    return total


async def eventually(condition, limit: float, tell=lambda: "") -> None:
    """Waits for a condition, with a limit."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {limit} s.\n{tell()}")
        await asyncio.sleep(0.1)
