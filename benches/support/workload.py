"""Events in a real Kafka, and the right answer: how many pairs each model version has, and how many were right.

Predictions and outcomes as Runway Streams reads them, with ten features each. Half of all predictions lie in the log
before the first outcome. One outcome in twenty comes later than the model's join window: no pair.
"""

import asyncio
import random
import time
from collections import Counter
from typing import NamedTuple

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import Producer

from runway_streams.config import Config, kafka_client_options
from runway_streams.ground_truth.model_settings_store import encode_changes
from runway_streams.topics import create_topics
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile

HOUR = 3_600_000
WINDOW = 12 * HOUR
LIFE = 25 * HOUR
LATE = 0.05
VERSION = "7"
FEATURES = [f"feature_{i}" for i in range(10)]
SEED = 7

Totals = dict[str, tuple[int, int]]
"""By "model|version": (joined, correct)."""


class Workload(NamedTuple):
    """What was written: `truth` is the answer that every peer must give."""

    events: int
    truth: Totals


def prepare(config: Config, events: int, partitions: int, models: int = 3, profiles: bool = False) -> Workload:
    """Creates the topics, declares the models (with `profiles`, each with ten binned features) and writes `events` events."""
    asyncio.run(create_topics(config, partitions))
    asyncio.run(_declare(config, models, profiles))
    return produce(config, events, models)


def produce(config: Config, events: int, models: int = 3, seed: int = SEED) -> Workload:
    """Writes `events` events, half predictions and half outcomes; another seed writes other ids."""
    rng = random.Random(seed)
    producer = Producer(
        {"bootstrap.servers": config.bootstrap, "partitioner": "murmur2_random", "linger.ms": 50, "compression.type": "lz4",
         "queue.buffering.max.messages": 500_000}
    )  # fmt: skip
    predictions, outcomes = config.topic("predictions"), config.topic("outcomes")
    values = [[round(rng.gauss(0, 1), 4) for _ in FEATURES] for _ in range(1_000)]
    pairs = events // 2
    backlog = pairs // 2
    start = int(time.time() * 1000) - 14 * HOUR
    joined: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    waiting: dict[int, tuple[str, str, bool, int]] = {}
    for i in range(pairs + backlog):
        if i < pairs:
            key, model, label = f"{rng.getrandbits(128):032x}", model_name(i % models), rng.random() < 0.5
            at = start + i * HOUR // (2 * pairs)
            prediction = {"label": label, "score": round(rng.random(), 4)}
            event = {"prediction_id": key, "model_id": model, "model_version": VERSION, "timestamp": at,
                     "prediction": prediction, "features": dict(zip(FEATURES, values[i % 1_000], strict=True))}  # fmt: skip
            send(producer, predictions, key, event)
            waiting[i] = key, model, label, at
        if i >= backlog:
            key, model, label, at = waiting.pop(i - backlog)
            actual, late = rng.random() < 0.5, rng.random() < LATE
            at += WINDOW + HOUR if late else rng.randrange(WINDOW)
            send(producer, outcomes, key, {"prediction_id": key, "actual_outcome": actual, "timestamp": at})
            joined[f"{model}|{VERSION}"] += not late
            correct[f"{model}|{VERSION}"] += not late and actual == label
    producer.flush()
    return Workload(2 * pairs, {name: (joined[name], correct[name]) for name in joined})


def model_name(number: int) -> str:
    """The id of the model with this number."""
    return f"model-{number:04d}"


async def create_outputs(config: Config, names: list[str], partitions: int) -> None:
    """A topic for the answer of each peer."""
    admin = AIOKafkaAdminClient(**kafka_client_options(config))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def _declare(config: Config, models: int, profiles: bool) -> None:
    async with AIOKafkaProducer(acks="all", linger_ms=20, **kafka_client_options(config)) as producer:
        for number in range(models):
            edges = [number / models + (i - 4) / 4 for i in range(9)]
            bins = {name: BinProfile(counts=[1.0] * 10, edges=edges) for name in FEATURES}
            settings = ModelSettings(
                model_name(number),
                task="binary",
                join_window="PT12H",
                profile=ReferenceProfile(features=bins) if profiles else None,
                effective_from=0,
            )
            await producer.send(config.topic("models"), encode_changes([settings]), key=settings.model_id.encode())


def send(producer: Producer, topic: str, key: str, event: dict) -> None:
    """Hands one event to a producer, which may have to write others first."""
    while True:
        try:
            producer.produce(topic, orjson.dumps(event), key)
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.1)
