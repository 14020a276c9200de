"""How long a worker that was killed needs until it has caught up: from its disk, from a checkpoint, and from the log alone.

    uv run python benches/recovery.py --json [--events 2000000] [--behind 100000] [--only disk,checkpoint,rewind]

A real worker and Kafka. The worker takes `--events` events in, is killed with SIGKILL, and `--behind` more are written.
Then it is started again: with its state (`disk`), with its state wiped and a checkpoint in the lake (`checkpoint`), or
with neither (`rewind`). The clock runs from the start of the process until all events are in `runway.metrics`, and each
way must have counted every pair once.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.support.process_tree import ProcessTree
from benches.support.workload import SEED, prepare, produce
from runway_streams.config import Config, kafka_client_options
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.ground_truth.records import mark_key, unpack_mark

WAYS = ("disk", "checkpoint", "rewind")
LIMIT_S = 1_800
CHECKPOINT_EVERY_S = 3


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="runway-recovery-") as folder, EmbeddedKafka(Path(folder) / "kafka") as kafka:
        report = {}
        for way in options.only:
            print(f"{way} ...", file=sys.stderr, flush=True)
            home = Path(folder) / way
            report[way] = measure(way, Config(home=home, bootstrap=kafka.bootstrap, topic_prefix=f"{way}."), options)
            shutil.rmtree(home)
    print(json.dumps(report) if options.json else "\n".join(f"{way:12} {found}" for way, found in report.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000, help="that are in the state when the worker is killed")
    parser.add_argument("--behind", type=int, default=100_000, help="that are written while it is away")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--models", type=int, default=100, help="with ten binned features each")
    parser.add_argument("--only", type=lambda names: names.split(","), default=list(WAYS), help=f"some of {', '.join(WAYS)}")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


def measure(way: str, config: Config, options: argparse.Namespace) -> dict:
    """One way back, on topics of its own."""
    first = prepare(config, options.events, options.partitions, options.models, profiles=True)
    config.home.mkdir(parents=True)
    lake = config.home / "objects"
    if way == "checkpoint":
        # A lake below the home in its usual place is lost with the state, so workers upload none there.
        config = replace(config, archive_url=lake.as_uri())
    with _worker(config, "before") as worker:
        joined = asyncio.run(caught_up(config, worker))
        if way == "checkpoint":
            _wait_for_checkpoints(lake, options.partitions, worker)
        worker.kill()
    second = produce(config, options.behind, options.models, SEED + 1)
    state_mib = sum(path.stat().st_size for path in config.state_dir.rglob("*") if path.is_file()) >> 20
    if way != "disk":
        shutil.rmtree(config.home / "state")
    began = time.monotonic()
    with _worker(config, "after") as worker:
        joined = asyncio.run(caught_up(config, worker))
        seconds = time.monotonic() - began
        worker.sample()
    wanted = sum(pairs for workload in (first, second) for pairs, _ in workload.truth.values())
    if joined != wanted:
        raise SystemExit(f"{way}: {joined:,} pairs were counted, {wanted:,} there are.")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(worker.cpu_seconds, 1),
        "events_in_state": first.events,
        "events_behind": second.events,
        "state_mib": state_mib,
        "joined": joined,
    }


def _worker(config: Config, name: str) -> ProcessTree:
    environ = {
        "RUNWAY_HOME": str(config.home),
        "RUNWAY_BOOTSTRAP": config.bootstrap,
        "RUNWAY_TOPIC_PREFIX": config.topic_prefix,
        "RUNWAY_ARCHIVE": config.archive_url,
        "RUNWAY_CHECKPOINT_INTERVAL": str(CHECKPOINT_EVERY_S),
        "RUNWAY_WEB_PORT": "0",
    }
    command = [sys.executable, "-m", "runway_streams.cli", "worker", "ground-truth"]
    return ProcessTree(command, config.home / f"{name}.log", environ)


async def caught_up(config: Config, worker: ProcessTree) -> int:
    """Waits until the marks have reached the ends of both topics; the pairs that have been counted by then."""
    consumer = AIOKafkaConsumer(
        config.topic("metrics"),
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **kafka_client_options(config),
    )
    await consumer.start()
    marks: dict[int, tuple[Mapping[str, int], Mapping[str, int]]] = {}
    try:
        ends = await _ends(config)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and worker.alive:
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    if record.key == mark_key() and record.value:
                        mark = unpack_mark(record.value)
                        marks[tp.partition] = mark.offsets, mark.counters
            if all(marks.get(tp.partition, ({}, {}))[0].get(tp.topic, 0) >= end for tp, end in ends.items() if end):
                return sum(counters.get("joined", 0) for _, counters in marks.values())
    finally:
        await consumer.stop()
    what = f"did not catch up in {LIMIT_S} s" if worker.alive else "ended"
    raise SystemExit(f"The worker {what}:\n{worker.tail()}")


async def _ends(config: Config) -> dict[TopicPartition, int]:
    names = [config.topic("predictions"), config.topic("outcomes")]
    consumer = AIOKafkaConsumer(*names, **kafka_client_options(config))
    await consumer.start()
    try:
        return await consumer.end_offsets(
            [TopicPartition(n, p) for n in names for p in consumer.partitions_for_topic(n) or ()]
        )
    finally:
        await consumer.stop()


def _wait_for_checkpoints(lake: Path, partitions: int, worker: ProcessTree) -> None:
    """Until every partition has put one after it had caught up."""
    since = time.time()
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and worker.alive:
        fresh = [path for path in lake.glob("checkpoints/*/*/manifests/*") if path.stat().st_mtime > since]
        if len({path.parent.parent for path in fresh}) == partitions:
            return
        time.sleep(0.2)
    raise SystemExit(f"Not every partition has a checkpoint in {lake}:\n{worker.tail()}")


if __name__ == "__main__":
    main()
