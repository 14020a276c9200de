"""A second worker joins while the first one works off a backlog: how long everybody pauses, and when there is no lag any more.

    uv run python benches/join_under_lag.py --json

A real broker and real workers on this machine. The first worker joins a part of the events and uploads its checkpoints. Then a
backlog is written, and while it is worked off a second worker joins, which takes its share of the partitions. A partition's
pause is the longest time between two of its marks in `runway.metrics`, from the start of the second worker until all is read and
both have opened their partitions.
`gap_before_s` is the same while the first worker was alone with the same backlog: what is not due to the joining.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer

from benches.support.workload import send
from runway_streams.config import Config, kafka_client_options
from runway_streams.devstack.children import free_port
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.ground_truth.records import mark_key, unpack_mark
from runway_streams.topics import create_topics

LIMIT_S = 900.0
CHECKPOINT_S = 5
AFTERWARDS_S = 2.0
"""A partition without news writes its mark each second: the pauses that end after the backlog are waited for."""
ALONE_SHARE = 0.25
"""The share of the backlog that the first worker has read when the second one starts."""


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="runway-bench-") as folder, EmbeddedKafka(Path(folder) / "kafka") as kafka:
        lake = (Path(folder) / "lake").as_uri()
        config = Config(home=Path(folder) / "home", bootstrap=kafka.bootstrap, archive_url=lake)
        asyncio.run(create_topics(config, partitions=arguments.partitions, replication=1))
        result = asyncio.run(_measure(config, arguments))
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:20} {value}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=int, default=500_000, help="pairs that are joined before, and lie in checkpoints")
    parser.add_argument("--backlog", type=int, default=1_500_000, help="pairs of the backlog")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


@dataclass
class Watched:
    """The marks as they come: when, and how many events their partition has read by then."""

    events: dict[int, int] = field(default_factory=dict)
    times: dict[int, list[float]] = field(default_factory=dict)

    def note(self, partition: int, value: bytes) -> None:
        counters = unpack_mark(value).counters
        self.events[partition] = counters.get("predictions", 0) + counters.get("outcomes", 0)
        self.times.setdefault(partition, []).append(time.monotonic())

    @property
    def done(self) -> int:
        return sum(self.events.values())

    def gap(self, partitions: set[int], since: float, until: float) -> float:
        """The longest time without a mark of any one of these partitions."""
        gaps = [0.0]
        for partition in partitions:
            moments = [since, *(at for at in self.times.get(partition, ()) if since < at < until), until]
            gaps += [after - before for before, after in pairwise(moments)]
        return round(max(gaps), 2)


async def _measure(config: Config, arguments: argparse.Namespace) -> dict:
    watched = Watched()
    follower = asyncio.create_task(_follow(config, watched))
    ports = [free_port() for _ in range(2)]
    with _worker(config, "worker-a", ports[0]) as first:
        _say("the first worker joins what will lie in checkpoints ...")
        await asyncio.to_thread(_produce, config, 0, arguments.before)
        written = 2 * arguments.before
        await _until(lambda: watched.done >= written, first, follower)
        uploaded = Path(config.archive_url.removeprefix("file://")) / "checkpoints"
        began = time.time()
        await _until(lambda: _all_uploaded(uploaded, arguments.partitions, began), first, follower)
        _say("a backlog is written ...")
        first.send_signal(19)  # SIGSTOP: so that it is a backlog. Shorter than the session.
        try:
            await asyncio.to_thread(_produce, config, arguments.before, arguments.backlog)
        finally:
            first.send_signal(18)
        alone_since = time.monotonic()
        backlog = 2 * arguments.backlog
        await _until(lambda: watched.done >= written + ALONE_SHARE * backlog, first, follower)
        _say("the second worker joins ...")
        joined_at = time.monotonic()
        with _worker(config, "worker-b", ports[1]) as second:
            await _until(lambda: watched.done >= written + backlog, first, follower)
            caught_up = time.monotonic()
            # Where the backlog was read before the second had joined, it has to join all the same.
            await _until(lambda: _have_split(ports, arguments.partitions), second, follower)
            over = max(time.monotonic(), caught_up + AFTERWARDS_S)
            await _until(lambda: time.monotonic() >= over, second, follower)
            moved = _partitions_of(ports[1])
    follower.cancel()
    stayed = set(range(arguments.partitions)) - moved
    log = (config.home / "worker-b.log").read_text(errors="replace")
    return {
        "events": written + backlog,
        "counted": watched.done,
        "partitions": arguments.partitions,
        "moved": sorted(moved),
        "from_checkpoints": log.count("going on from the checkpoint"),
        "gap_before_s": watched.gap(stayed | moved, alone_since, joined_at),
        "pause_of_staying_s": watched.gap(stayed, joined_at, over),
        "pause_of_moving_s": watched.gap(moved, joined_at, over),
        "caught_up_s": round(caught_up - joined_at, 2),
    }


async def _follow(config: Config, watched: Watched) -> None:
    options = kafka_client_options(config)
    consumer = AIOKafkaConsumer(
        config.topic("metrics"), auto_offset_reset="earliest", isolation_level="read_committed", **options
    )  # fmt: skip
    await consumer.start()
    try:
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=50)).items():
                for record in records:
                    if record.key == mark_key() and record.value:
                        watched.note(tp.partition, record.value)
    finally:
        await consumer.stop()


async def _until(condition: Callable[[], bool], worker: subprocess.Popen, follower: asyncio.Task) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not await asyncio.to_thread(condition):
        if follower.done():
            follower.result()
        if worker.poll() is not None:
            raise SystemExit("A worker ended.")
        if time.monotonic() > deadline:
            raise SystemExit(f"Not within {LIMIT_S:.0f} s.")
        await asyncio.sleep(0.05)


def _all_uploaded(folder: Path, partitions: int, since: float) -> bool:
    """Whether every partition has a checkpoint that is younger than this, or whose state has not changed since."""
    newest = {path.parent: path.stat().st_mtime for path in folder.glob("*/*/manifests/*.json")}
    return len(newest) == partitions and time.time() - since > CHECKPOINT_S * (partitions + 1)


@contextmanager
def _worker(config: Config, instance: str, port: int) -> Iterator[subprocess.Popen]:
    environ = {
        **os.environ, "RUNWAY_HOME": str(config.home), "RUNWAY_BOOTSTRAP": config.bootstrap, "RUNWAY_INSTANCE": instance,
        "RUNWAY_ARCHIVE": config.archive_url, "RUNWAY_CHECKPOINT_INTERVAL": str(CHECKPOINT_S), "RUNWAY_WEB_PORT": str(port),
    }  # fmt: skip
    config.home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "runway_streams.cli", "worker", "ground-truth"]
    with open(config.home / f"{instance}.log", "wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _partitions_of(port: int) -> set[int]:
    """The partitions that a worker has open, by what it shows of itself."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            told = answer.read().decode()
    except OSError:
        return set()
    return {int(number) for number in re.findall(r'runway_worker_state_bytes\{partition="(\d+)"\}', told)}


def _have_split(ports: list[int], partitions: int) -> bool:
    """Whether both workers have partitions open, all together and none twice."""
    first, second = map(_partitions_of, ports)
    return bool(first and second) and not first & second and len(first | second) == partitions


def _produce(config: Config, first: int, pairs: int) -> None:
    """Predictions, each with its outcome a minute later, as fast as the broker takes them."""
    producer = Producer(
        {"bootstrap.servers": config.bootstrap, "partitioner": "murmur2_random", "linger.ms": 50, "compression.type": "lz4",
         "queue.buffering.max.messages": 500_000}
    )  # fmt: skip
    now = int(time.time() * 1000) - 3_600_000
    for i in range(first, first + pairs):
        key = f"{i:032x}"
        predicted = {"prediction_id": key, "model_id": f"m{i % 100}", "timestamp": now, "prediction": {"score": i % 97 / 97}}
        outcome = {"prediction_id": key, "actual_outcome": i % 2, "timestamp": now + 60_000}
        for noun, event in (("predictions", predicted), ("outcomes", outcome)):
            send(producer, config.topic(noun), key, event)
    producer.flush()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    main()
