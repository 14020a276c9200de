"""Traffic for tests: seeded events of three kinds of models with copies, conflicts, disorder, early, late and bad ones, sent
by a foreign client (librdkafka) that keeps what Kafka has acknowledged."""

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from confluent_kafka import Producer

from runway_streams.config import Config

MINUTE = 60_000
WINDOW = 60 * MINUTE
"""The default join window, which the models here have."""
KINDS = ("binary", "multiclass", "regression")
CLASSES = ("cat", "dog", "fox")
BAD = [
    b"", b"{", b"[]", b'{"prediction_id": 7}', b'{"prediction_id":"x","timestamp":NaN}', b"\xff\xfe", b'"text"',
    b'{"prediction_id":"x","model_id":"m","timestamp":99999999999999,"prediction":1,"actual_outcome":1}',
]  # fmt: skip
SEND_LIMIT_S = 120


class Acknowledged(NamedTuple):
    """A record that Kafka says it has, by its delivery report; `digest` is that of key and value."""

    topic: str
    partition: int
    offset: int
    digest: int


@dataclass
class Traffic:
    """Events to send, in order, as (topic noun, key, value), and the counts that they must lead to.

    Model i is of kind i modulo three. An outcome comes before its prediction in a tenth of the pairs, or not at all in
    another; of ten events one comes twice and one in thirty once more with other bytes.
    """

    seed: int
    pairs: int = 2_000
    models: int = 3
    events: list[tuple[str, str, bytes]] = field(default_factory=list)
    expected: Counter = field(default_factory=Counter)
    acknowledged: list[Acknowledged] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        now = int(time.time() * 1000)
        placed: list[tuple[float, str, str, bytes]] = []
        for i in range(self.pairs):
            time_ = now - 2 * WINDOW - rng.randrange(3 * WINDOW)
            placed += self._pair(rng, f"{self.seed}-{i}", i % self.models, time_)
        for i in range(self.pairs // 50):
            noun = rng.choice(["predictions", "outcomes"])
            placed.append((rng.random(), noun, f"bad-{i}", rng.choice(BAD)))
            self.expected["bad"] += 1
        self.events = [(noun, key, value) for _, noun, key, value in sorted(placed)]

    def settings(self) -> dict[str, dict]:
        """What `runway.models` says of each model."""
        return {_name(i): _settings(i) for i in range(self.models)}

    def send(self, config: Config, start: int = 0, end: int | None = None, rate: float | None = None) -> None:
        """Sends a stretch of the events, the models' settings before the first, and returns when Kafka has acknowledged
        them; `rate` is in events a second."""
        producer = Producer(
            {
                "bootstrap.servers": config.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "socket.keepalive.enable": True,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 2,  # a broker that goes away is what the tests do; what is not acknowledged is told below
            }
        )
        if start == 0:
            for model, settings in self.settings().items():
                producer.produce(config.topic("models"), json.dumps([settings]).encode(), model)
            assert producer.flush(SEND_LIMIT_S) == 0
        failed: list = []
        began, sent = time.monotonic(), self.events[start:end]
        for i, (noun, key, value) in enumerate(sent):
            producer.produce(config.topic(noun), value, key, on_delivery=self._keep(failed))
            producer.poll(max(0.0, began + i / rate - time.monotonic()) if rate else 0)
        left = producer.flush(SEND_LIMIT_S)
        assert not failed, failed[:3]
        assert not left, f"{left} events were not acknowledged within {SEND_LIMIT_S} s."

    def _keep(self, failed: list):
        def report(error, message) -> None:
            if error:
                failed.append(error)
                return
            found = digest(message.key(), message.value())
            self.acknowledged.append(Acknowledged(message.topic(), message.partition(), message.offset(), found))

        return report

    def _pair(self, rng: random.Random, key: str, model: int, at: int) -> list[tuple[float, str, str, bytes]]:
        said, actual = _said(rng, KINDS[model % len(KINDS)])
        prediction = {
            "prediction_id": key, "model_id": _name(model), "model_version": rng.choice(["1", "2"]), "timestamp": at,
            "prediction": said, "segment": {"region": rng.choice(["eu", "us"])},
        }  # fmt: skip
        place = rng.random()
        found = self._with_copies(rng, place, "predictions", key, prediction)
        self.expected["predictions"] += 1
        if rng.random() < 0.1:
            return found
        kind = rng.choices(["joined", "late", "early"], [8, 1, 1])[0]
        delay = {"joined": rng.randrange(WINDOW + 1), "late": WINDOW + 1 + rng.randrange(MINUTE), "early": -1}[kind]
        self.expected[kind] += 1
        outcome = {"prediction_id": key, "actual_outcome": actual, "timestamp": at + delay}
        place = rng.uniform(0, place) if rng.random() < 0.1 else rng.uniform(place, 1)
        return found + self._with_copies(rng, place, "outcomes", key, outcome)

    def _with_copies(self, rng: random.Random, place: float, noun: str, key: str, event: dict) -> list:
        found = [(place, noun, key, json.dumps(event).encode())]
        if rng.random() < 0.1:
            found.append((rng.uniform(place, 1), *found[0][1:]))
            self.expected["duplicates"] += 1
        if rng.random() < 0.03:
            other = event | {"timestamp": event["timestamp"] + MINUTE}
            found.append((rng.uniform(place, 1), noun, key, json.dumps(other).encode()))
            self.expected["duplicates"] += 1
            self.expected["conflicts"] += 1
        return found


def digest(key: bytes | None, value: bytes | None) -> int:
    """Names a record by its bytes."""
    return crc32(value or b"", crc32(key or b""))


def _name(model: int) -> str:
    return f"{KINDS[model % len(KINDS)]}_{model // len(KINDS)}"


def _settings(model: int) -> dict:
    kind = KINDS[model % len(KINDS)]
    labels = {"labels": list(CLASSES)} if kind == "multiclass" else {}
    return {"model_id": _name(model), "task": kind, "segments": ["region"], "effective_from": 0} | labels


def _said(rng: random.Random, kind: str) -> tuple[dict, int | str | float]:
    """A prediction, and an outcome that it is right about now and then."""
    if kind == "binary":
        score = rng.betavariate(2, 2)
        return {"score": score}, int(rng.random() < score)
    if kind == "multiclass":
        weights = [rng.random() + 0.01 for _ in CLASSES]
        scores = {label: weight / sum(weights) for label, weight in zip(CLASSES, weights, strict=True)}
        return {"scores": scores}, rng.choices(CLASSES, weights)[0]
    value = rng.gauss(100, 20)
    interval = {"lower": value - 12, "upper": value + 12, "level": 0.8}
    return {"value": value, "interval": interval}, value + rng.gauss(1, 10)
