"""Traffic for end-to-end tests: seeded events with copies, disorder, late and early outcomes and bad ones, sent by a
foreign client (librdkafka), and what must come out, computed on its own from what was sent."""

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from confluent_kafka import Producer

from runway_streams.config import Config

MINUTE = 60_000
WINDOW = 60 * MINUTE
"""The default join window, which the models here have."""


@dataclass
class Traffic:
    """Events to send, in order, as (topic noun, key, value), and the counts that they must lead to."""

    seed: int
    pairs: int = 2_000
    models: int = 3
    events: list[tuple[str, str, bytes]] = field(default_factory=list)
    expected: Counter = field(default_factory=Counter)
    confusion: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        now = int(time.time() * 1000)
        predictions, outcomes = [], []
        for i in range(self.pairs):
            key = f"{self.seed}-{i}"
            self._pair(
                rng, key, f"model_{i % self.models}", now - 2 * WINDOW - rng.randrange(3 * WINDOW), predictions, outcomes
            )
        rng.shuffle(outcomes)
        self.events = self._interleave(rng, predictions, outcomes)
        for i in range(self.pairs // 50):
            noun = rng.choice(["predictions", "outcomes"])
            self.events.insert(rng.randrange(len(self.events)), (noun, f"bad-{i}", rng.choice(BAD)))
            self.expected["bad"] += 1

    def _pair(self, rng, key, model, time, predictions, outcomes) -> None:
        predicted, actual = rng.choice("01"), rng.choice("01")
        prediction = _json(prediction_id=key, model_id=model, timestamp=time, prediction=predicted)
        predictions.append(("predictions", key, prediction))
        self.expected["predictions"] += 1
        if rng.random() < 0.1:
            predictions.append(("predictions", key, prediction))
            self.expected["duplicates"] += 1
        if rng.random() < 0.1:
            return
        kind = rng.choices(["joined", "late", "early"], [8, 1, 1])[0]
        delay = {"joined": rng.randrange(WINDOW + 1), "late": WINDOW + 1 + rng.randrange(MINUTE), "early": -1}[kind]
        outcome = _json(prediction_id=key, actual_outcome=actual, timestamp=time + delay)
        outcomes.append(("outcomes", key, outcome))
        self.expected[kind] += 1
        if kind == "joined":
            self.confusion[model, predicted, actual] += 1
        if rng.random() < 0.1:
            outcomes.append(("outcomes", key, outcome))
            self.expected["duplicates"] += 1

    def _interleave(self, rng, *streams) -> list:
        merged, places = [], [0] * len(streams)
        while any(place < len(stream) for place, stream in zip(places, streams, strict=True)):
            which = rng.choice([i for i, stream in enumerate(streams) if places[i] < len(stream)])
            merged.append(streams[which][places[which]])
            places[which] += 1
        return merged

    def send(self, config: Config, start: int = 0, end: int | None = None) -> None:
        """Sends a stretch of the events, and returns when Kafka has acknowledged them."""
        producer = Producer({"bootstrap.servers": config.bootstrap, "partitioner": "murmur2_random", "acks": "all"})
        failed = []
        for noun, key, value in self.events[start:end]:
            producer.produce(config.topic(noun), value, key, on_delivery=lambda error, _: error and failed.append(error))
            producer.poll(0)
        producer.flush(30)
        assert not failed, failed[:3]


BAD = [
    b"", b"{", b"[]", b'{"prediction_id": 7}', b'{"prediction_id":"x","timestamp":NaN}', b"\xff\xfe", b'"text"',
    b'{"prediction_id":"x","model_id":"m","timestamp":99999999999999,"prediction":1,"actual_outcome":1}',
]  # fmt: skip


def _json(**fields) -> bytes:
    return json.dumps(fields).encode()
