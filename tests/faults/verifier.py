"""The verifier: what the stream must have counted, computed from Kafka's own log by `tests.oracle`, and how it differs from
what `runway.metrics` says. Nothing of the expected side comes from the product.

It reads both topics with librdkafka, checks that every acknowledged event is there, and judges each partition for itself.
Counts are compared exactly, sums and moments to 1e-9.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isclose

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from runway_streams.config import Config
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.records import mark_key, unpack_mark
from schemas.metrics_record import Mark
from tests import oracle
from tests.oracle import Judged, O, P
from tests.runway_streams.ground_truth.partition_log import Seen, seen
from tests.traffic import MINUTE, Acknowledged, digest

READ_LIMIT_S = 60
AGREE_LIMIT_S = 20.0
"""Histograms are emitted some seconds after the counts."""
AHEAD = 10 * MINUTE
TOLD = 8
"""Differences that are told at the most."""


@dataclass(frozen=True)
class Record:
    """A record as the log has it; `log_time` is the partition's running maximum, ms."""

    topic: str
    partition: int
    offset: int
    log_time: int
    key: bytes | None
    value: bytes


@dataclass
class Truth:
    """What must have been counted of one partition."""

    seen: Seen = field(default_factory=Seen)
    judged: list[Judged] = field(default_factory=list)
    counters: Counter = field(default_factory=Counter)
    bad: set[tuple[str, int, int]] = field(default_factory=set)


@dataclass
class Found:
    """What the product says of one partition."""

    seen: Seen = field(default_factory=Seen)
    mark: Mark | None = None


# -- reading ------------------------------------------------------------------------------------------------------------


def read_topic(config: Config, noun: str) -> list[Record]:
    """All committed records of a topic, partition by partition in the log's order."""
    return list(iter_topic(config, noun))


def iter_topic(config: Config, noun: str) -> Iterator[Record]:
    """The same, one by one."""
    topic = config.topic(noun)
    consumer = Consumer(
        {
            "bootstrap.servers": config.bootstrap,
            "group.id": "verifier",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
        yield from _read_to_end(consumer, topic, set(numbers))
    finally:
        consumer.close()


def _read_to_end(consumer: Consumer, topic: str, left: set[int]) -> Iterator[Record]:
    latest: dict[int, int] = {}
    deadline = time.monotonic() + READ_LIMIT_S
    while left:
        assert time.monotonic() < deadline, f"{topic} could not be read to its end within {READ_LIMIT_S} s."
        for message in consumer.consume(1_000, 0.2):
            number = message.partition()
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                left.discard(number)
                continue
            latest[number] = max(latest.get(number, 0), message.timestamp()[1])
            value = message.value() or b""
            yield Record(topic, number, message.offset(), latest[number], message.key(), value)


def read_found(config: Config) -> dict[int, Found]:
    """The newest values in `runway.metrics`."""
    newest = {(record.partition, record.key): record.value for record in iter_topic(config, "metrics")}
    return found_in(newest)


def found_in(newest: dict[tuple[int, bytes | None], bytes]) -> dict[int, Found]:
    """By partition, from values by partition and key."""
    found: dict[int, Found] = {}
    for number in {number for number, _ in newest}:
        values = {key: value for (whose, key), value in newest.items() if whose == number and value}
        mark = values.pop(mark_key(), None)
        found[number] = Found(seen(values.items()), unpack_mark(mark) if mark else None)
    return found


def read_settings(config: Config) -> dict[str, dict]:
    """The models' settings, which do not change while the tests run."""
    return {record.key.decode(): json.loads(record.value)[-1] for record in read_topic(config, "models") if record.key}


# -- what must be -------------------------------------------------------------------------------------------------------


def truth_of(predictions: list[Record], outcomes: list[Record], settings: dict[str, dict]) -> dict[int, Truth]:
    """What must have been counted, by partition."""
    numbers = {record.partition for record in [*predictions, *outcomes]}
    found = {}
    for number in numbers:
        ps = [record for record in predictions if record.partition == number]
        os = [record for record in outcomes if record.partition == number]
        found[number] = _truth_of_partition(ps, os, settings)
    return found


def _truth_of_partition(predictions: list[Record], outcomes: list[Record], settings: dict[str, dict]) -> Truth:
    truth = Truth()
    ps = _usable(truth, "predictions", predictions, lambda record, told: _prediction(record, told, settings))
    os = _usable(truth, "outcomes", outcomes, _outcome)
    _count_copies(truth, ps)
    _count_copies(truth, os)
    truth.judged = oracle.judge([p for p, _ in ps], [o for o, _ in os], far=False)
    truth.seen = Seen(
        {key: {name: row[name] for name in slim.FIELDS} for key, row in oracle.rows(truth.judged).items()},
        {key: joined for key, (joined, _) in oracle.confusion(truth.judged).items() if joined},
        {key: joined for key, (joined, _) in oracle.histograms(truth.judged).items() if joined},
    )
    return truth


def _usable(truth: Truth, noun: str, records: list[Record], read) -> list:
    good = []
    for record in records:
        truth.counters[noun] += 1
        told = _told(record)
        if told is None:
            truth.bad.add((record.topic, record.partition, record.offset))
            truth.counters["dead_letters"] += 1
        else:
            good.append((read(record, told), record.value))
    return good


def _told(record: Record) -> dict | None:
    """What an event says; None where it cannot be used."""
    try:
        told = json.loads(record.value)
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("prediction_id"), str):
        return None
    at = told.get("timestamp")
    return told if isinstance(at, int) and at <= record.log_time + AHEAD else None


def _prediction(record: Record, told: dict, settings: dict[str, dict]) -> P:
    said, of = told["prediction"], settings.get(told["model_id"], {})
    score, scores, value = said.get("score"), said.get("scores"), said.get("value")
    label = None
    if score is not None:
        label = "1" if score >= 0.5 else "0"
    elif scores is not None:
        label = max(sorted(scores), key=scores.__getitem__)
    interval = said.get("interval", {})
    return P(
        told["prediction_id"], record.log_time, told["timestamp"], (0, record.offset), told["model_id"],
        told.get("model_version", ""), label, score, scores, value, interval.get("lower"), interval.get("upper"),
        tuple(sorted(told.get("segment", {}).items())), of.get("task"), labels=tuple(of.get("labels", ())),
        declared=frozenset(of.get("segments", ())),
    )  # fmt: skip


def _outcome(record: Record, told: dict) -> O:
    actual = told["actual_outcome"]
    value = None if isinstance(actual, str) else float(actual)
    return O(told["prediction_id"], record.log_time, told["timestamp"], (1, record.offset), str(actual), value)


def _count_copies(truth: Truth, events: list) -> None:
    by_id = defaultdict(list)
    for event, raw in events:
        by_id[event.id].append((event, raw))
    for all_of_one in by_id.values():
        kept = set(map(id, oracle.heads([event for event, _ in all_of_one])))
        first = b""
        for event, raw in all_of_one:
            if id(event) in kept:
                first = raw
                continue
            truth.counters["duplicates"] += 1
            truth.counters["conflicts"] += raw != first


# -- comparing ----------------------------------------------------------------------------------------------------------


def lost(acknowledged: Iterable[Acknowledged], records: Iterable[Record]) -> list[str]:
    """Acknowledged events that the log does not have where Kafka said that it has them."""
    there = {(record.topic, record.partition, record.offset): digest(record.key, record.value) for record in records}
    bytes_there = Counter((topic, found) for (topic, _, _), found in there.items())
    found = []
    for one in acknowledged:
        # The report of a repeat that the broker already had names no offset.
        if one.offset < 0 and bytes_there[one.topic, one.digest]:
            continue
        if there.get((one.topic, one.partition, one.offset)) != one.digest:
            found.append(f"acknowledged but not there: {one}")
    return found


def differences(truth: dict[int, Truth], found: dict[int, Found], counters: bool = True) -> list[str]:
    """How what was found differs from what must be, as sentences. `counters` are the worker's own: a replay of the archive
    does not bring them back."""
    told = [f"partition {number} has counted what is not in the log" for number in found.keys() - truth.keys()
            if found[number].seen.rows]  # fmt: skip
    for number, wanted in sorted(truth.items()):
        there = found.get(number, Found())
        parts = [
            *_different_rows(there.seen.rows, wanted.seen.rows),
            *_different("confusion", there.seen.confusion, wanted.seen.confusion),
            *_different("histogram", there.seen.histograms, wanted.seen.histograms),
            *(_different_counters(there.mark, wanted.counters) if counters else ()),
        ]
        if there.seen.partial or (there.mark and there.mark.incomplete_hours):
            parts.append(f"marked as not whole: {there.seen.partial or there.mark}")
        told += [f"partition {number}: {part}" for part in parts]
    return told


def _different_rows(found: dict, wanted: dict) -> list[str]:
    flat = [{(*key, name): value for key, row in rows.items() for name, value in row.items()} for rows in (found, wanted)]
    return _different("row", *flat)


def _different(what: str, found: dict, wanted: dict) -> list[str]:
    told = [f"{what} {key} must not be: {found[key]}" for key in found.keys() - wanted.keys()]
    told += [f"{what} {key} is missing: {wanted[key]}" for key in wanted.keys() - found.keys()]
    return told + [
        f"{what} {key} is {found[key]!r}, must be {wanted[key]!r}"
        for key in found.keys() & wanted.keys()
        if not isclose(found[key], wanted[key], rel_tol=1e-9, abs_tol=1e-9)
    ]


def _different_counters(mark: Mark | None, wanted: Counter) -> list[str]:
    if mark is None:
        return ["there is no mark"]
    told = Counter(mark.counters)
    told["dead_letters"] = sum(n for name, n in mark.counters.items() if name.startswith("dead_letters."))
    names = ("predictions", "outcomes", "duplicates", "conflicts", "dead_letters")
    return _different("counter", {name: told[name] for name in names}, {name: wanted[name] for name in names})


def different_dead_letters(truth: dict[int, Truth], records: Iterable[Record]) -> list[str]:
    """Each bad event has a dead letter, once or more often, and no other has."""
    letters = [json.loads(record.value) for record in records]
    found = {(letter["topic"], letter["partition"], letter["offset"]) for letter in letters}
    wanted = {place for of in truth.values() for place in of.bad}
    return [f"no dead letter of {place}" for place in wanted - found] + [
        f"a dead letter of a good event {place}" for place in found - wanted
    ]


def look(config: Config, acknowledged: Iterable[Acknowledged]) -> tuple[dict[int, Truth], list[str]]:
    """What must be, by partition, and what of it is lost or has no dead letter."""
    predictions, outcomes = read_topic(config, "predictions"), read_topic(config, "outcomes")
    truth = truth_of(predictions, outcomes, read_settings(config))
    told = lost(acknowledged, [*predictions, *outcomes])
    return truth, told + different_dead_letters(truth, read_topic(config, "dead-letters"))


async def verify(config: Config, *acknowledged: Iterable[Acknowledged], counters: bool = True) -> dict[int, Truth]:
    """Raises AssertionError with the first differences where the stream does not agree with the log; call it once the
    marks have reached the log's end. Returns what must be."""
    everything = [one for part in acknowledged for one in part]
    truth, told = await asyncio.to_thread(look, config, everything)
    assert not told, _tell(told)
    assert everything, "Nothing was sent: nothing was verified."
    deadline = time.monotonic() + AGREE_LIMIT_S
    while told := differences(truth, await asyncio.to_thread(read_found, config), counters):
        # Counts are due at once; histograms may take their seconds.
        late = all("histogram" in one for one in told) and time.monotonic() < deadline
        assert late, _tell(told)
        await asyncio.sleep(0.5)
    return truth


def _tell(told: list[str]) -> str:
    return "\n".join([f"{len(told)} differences:", *told[:TOLD]])
