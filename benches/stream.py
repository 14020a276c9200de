"""The whole speed path on one worker, beside the ceiling: plain aiokafka and decoding, in the same run.

    uv run python benches/stream.py --json

A real broker on this machine. Half the predictions lie in the log before the timed part begins, so that outcomes find
theirs in RocksDB, not in memory. Events have 10 features each, binned in their model's own reference profile.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Producer

from benches.support.workload import send
from runway_streams.config import Config, kafka_client_options
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.ground_truth.model_settings_store import encode_changes
from runway_streams.ground_truth.records import mark_key, unpack_mark
from runway_streams.topics import create_topics
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile
from schemas.outcome import Outcome
from schemas.prediction import Prediction

FEATURES = [f"feature_{i}" for i in range(10)]
HOUR = 3_600_000
LIMIT_S = 900


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="runway-bench-") as folder, EmbeddedKafka(Path(folder) / "kafka") as kafka:
        config = Config(home=Path(folder) / "home", bootstrap=kafka.bootstrap)
        asyncio.run(create_topics(config, partitions=arguments.partitions))
        asyncio.run(_settings(config, arguments.models))
        _say("writing events ...")
        events = _produce(config, arguments)
        _say(f"{events:,} events written; running the worker ...")
        result = _run_worker(config, events)
        _say("running the ceiling ...")
        result["ceiling_events_per_second"] = asyncio.run(_ceiling(config, events))
    result |= {"events": events, "models": arguments.models, "partitions": arguments.partitions}
    result["share_of_ceiling"] = round(result["events_per_second"] / result["ceiling_events_per_second"], 3)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:30} {value}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--predictions", type=int, default=600_000, help="predictions; outcomes are as many less the backlog"
    )
    parser.add_argument("--backlog", type=int, default=300_000, help="predictions between one and its outcome in the log")
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


async def _settings(config: Config, models: int) -> None:
    async with AIOKafkaProducer(acks="all", linger_ms=20, **kafka_client_options(config)) as producer:
        for number in range(models):
            edges = [number / models + (i - 4) / 4 for i in range(9)]
            profile = ReferenceProfile(features={name: BinProfile(counts=[1.0] * 10, edges=edges) for name in FEATURES})
            settings = ModelSettings(
                f"model-{number:04d}", task="binary", join_window="PT12H", profile=profile, effective_from=0
            )
            await producer.send(config.topic("models"), encode_changes([settings]), key=settings.model_id.encode())


def _produce(config: Config, arguments: argparse.Namespace) -> int:
    rng = random.Random(7)
    producer = Producer(
        {"bootstrap.servers": config.bootstrap, "partitioner": "murmur2_random", "linger.ms": 50, "compression.type": "lz4",
         "queue.buffering.max.messages": 500_000}
    )  # fmt: skip
    now = int(time.time() * 1000)
    n, backlog = arguments.predictions, arguments.backlog
    written = 0
    values = [[round(rng.gauss(0, 1), 4) for _ in FEATURES] for _ in range(1_000)]
    for i in range(n + backlog):
        if i < n:
            key = f"{i:032x}"
            event = {
                "prediction_id": key, "model_id": f"model-{i % arguments.models:04d}", "model_version": "7",
                "timestamp": now - 4 * HOUR + i // 100, "prediction": {"score": rng.random()},
                "features": dict(zip(FEATURES, values[i % 1_000], strict=True)),
            }  # fmt: skip
            send(producer, config.topic("predictions"), key, event)
            written += 1
        if backlog <= i:
            j = i - backlog
            key = f"{j:032x}"
            event = {"prediction_id": key, "actual_outcome": rng.random() < 0.5, "timestamp": now - HOUR + j // 100}
            send(producer, config.topic("outcomes"), key, event)
            written += 1
    producer.flush()
    return written


def _run_worker(config: Config, events: int) -> dict:
    environ = {**os.environ, "RUNWAY_HOME": str(config.home), "RUNWAY_BOOTSTRAP": config.bootstrap, "RUNWAY_WEB_PORT": "0"}
    config.home.mkdir(parents=True, exist_ok=True)
    with open(config.home / "worker.log", "wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "runway_streams.cli", "worker", "ground-truth"], env=environ, stdout=log, stderr=log
        )
        try:
            return asyncio.run(_watch(config, events, psutil.Process(worker.pid)))
        finally:
            worker.terminate()
            worker.wait(30)


async def _watch(config: Config, events: int, process: psutil.Process) -> dict:
    """Follows the marks: what has been committed and emitted, seen from outside the worker."""
    consumer = AIOKafkaConsumer(
        config.topic("metrics"),
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **kafka_client_options(config),
    )
    await consumer.start()
    seen: dict[int, dict] = {}
    timeline: list[tuple[float, int]] = []
    memory: dict[str, int] = {}
    began = time.monotonic()
    try:
        while time.monotonic() - began < LIMIT_S:
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    if record.key == mark_key():
                        seen[tp.partition] = unpack_mark(record.value).counters
            done = sum(c.get("predictions", 0) + c.get("outcomes", 0) for c in seen.values())
            timeline.append((time.monotonic(), done))
            memory.setdefault(f"{done / events:.1f}"[:3], process.memory_info().rss >> 20)
            if done >= events:
                break
            if not process.is_running():
                raise SystemExit("The worker ended.")
    finally:
        await consumer.stop()
    joined = sum(c.get("joined", 0) for c in seen.values())
    return {"events_per_second": _rate(timeline, events), "joined": joined, "worker_rss_mib_by_share_done": memory}


def _rate(timeline: list[tuple[float, int]], events: int) -> int:
    """Events a second between the first tenth and the end; the start of the process is not in it."""
    first = next((time, done) for time, done in timeline if done >= events / 10)
    last = timeline[-1]
    return round((last[1] - first[1]) / (last[0] - first[0]))


async def _ceiling(config: Config, events: int) -> int:
    """aiokafka and the same typed decoding, nothing else."""
    decode = {
        config.topic("predictions"): msgspec.json.Decoder(Prediction).decode,
        config.topic("outcomes"): msgspec.json.Decoder(Outcome).decode,
    }
    consumer = AIOKafkaConsumer(*decode, auto_offset_reset="earliest", **kafka_client_options(config))
    await consumer.start()
    done, began = 0, time.monotonic()
    while done < events:
        for tp, records in (await consumer.getmany(timeout_ms=200, max_records=4_000)).items():
            read = decode[tp.topic]
            for record in records:
                read(record.value)
            done += len(records)
    rate = round(done / (time.monotonic() - began))
    await consumer.stop()
    return rate


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    main()
