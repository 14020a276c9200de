"""A million malformed events: none crashes, each bad one is a dead letter with its reason, and no good one is hurt.

MALFORMED_EVENTS says how many (1,000,000 takes about a minute), MALFORMED_SEED which; the seed is printed.
"""

import asyncio
import json
import os
import time
from collections import Counter, defaultdict

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as producer_module
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import Producer

from agents.dead_letters import dead_letter
from runway_streams.config import Config, kafka_client_options
from runway_streams.dead_letters import scan
from runway_streams.ground_truth.events import BadEvent
from runway_streams.ground_truth.partition import Partition, RawBatch
from runway_streams.ground_truth.settings import SettingsHistory
from schemas.dead_letter import DeadLetter
from tables.memory_store import MemoryStore
from tests.faults.malformed import Made, made
from tests.running import caught_up, counters, worker
from tests.runway_streams.test_lenient_records import NoText

EVENTS = int(os.environ.get("MALFORMED_EVENTS", "100000"))
SEED = int(os.environ.get("MALFORMED_SEED", "20261126"))
NOW = 1_790_000_000_000
BATCH = 4_000
OVER_KAFKA = 16_000


class Judged:
    """A partition that is given events by the batch, and what it made of each."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.partition = Partition(self.store, SettingsHistory())

    def apply(self, noun: str, events: list[tuple[int, Made]]) -> dict[int, BadEvent]:
        offsets = [offset for offset, _ in events]
        batch = RawBatch([event.raw for _, event in events], offsets, [NOW] * len(events), offsets[-1] + 1)
        return {event.offset: event for event in self.partition.apply(noun, batch)}

    def told(self) -> tuple:
        """All that it holds of good events."""
        self.partition.commit()
        kept = {"duplicates", "conflicts", "unmatched", "other", "segments_dropped"}
        counts = {name: n for name, n in self.partition.state.counters.items() if name in kept}
        return self.store.rows, self.store.records, counts


def test_each_bad_event_has_its_reason_and_no_good_one_is_hurt():
    print(f"MALFORMED_SEED={SEED} MALFORMED_EVENTS={EVENTS}")
    all_of_them, good_alone = Judged(), Judged()
    waiting: dict[str, list[tuple[int, Made]]] = defaultdict(list)
    reasons: Counter[str] = Counter()
    accepted: Counter[str | None] = Counter()
    last = EVENTS + EVENTS // 4 - 1
    for offset, event in enumerate(made(SEED, EVENTS, NOW)):
        waiting[event.noun].append((offset, event))
        if len(waiting[event.noun]) < BATCH and offset < last - BATCH:
            continue
        noun, events = event.noun, waiting.pop(event.noun)
        bad = all_of_them.apply(noun, events)
        for place, one in events:
            judge(one, bad.get(place))
        reasons.update(one.reason for one in bad.values())
        good = [(place, one) for place, one in events if place not in bad]
        accepted.update(one.expected for _, one in good)
        if good:
            good_alone.apply(noun, good)
    assert not waiting or all(not left for left in waiting.values())
    assert accepted[""] == EVENTS // 4
    assert set(reasons) == {"empty", "too_large", "not_json", "invalid", "not_finite", "ahead"}
    assert sum(reasons.values()) > 0.9 * EVENTS
    counted = {name: n for name, n in all_of_them.partition.state.counters.items() if name.startswith("dead_letters.")}
    assert counted == {f"dead_letters.{reason}": n for reason, n in reasons.items()}
    assert all_of_them.told() == good_alone.told()


def judge(event: Made, bad: BadEvent | None) -> None:
    """What is bad by construction is bad for that reason, what is good is good, and what is taken is JSON to others too."""
    said = None if event.raw is None else event.raw[:300]
    if event.expected is not None:
        assert (bad.reason if bad else "") in event.expected.split("|"), (event.noun, said, bad and bad.detail)
    if bad is not None:
        assert bad.raw is event.raw
        document = msgspec.json.encode(dead_letter(event.noun, 0, bad, None, []))
        assert len(document) < 1 << 20
        assert bad.detail
    elif event.expected is None:
        # Unknown fields are stepped over, whatever bytes their texts have.
        told = json.loads(event.raw.decode(errors="replace"), strict=False, parse_constant=no_number)
        assert 1 <= len(told["prediction_id"]) <= 256, said


def no_number(name: str) -> None:
    raise AssertionError(f"{name} was taken.")


@pytest.mark.kafka
@pytest.mark.fault
async def test_over_kafka_the_counts_are_exact_whatever_keys_and_headers_are(topics, monkeypatch: pytest.MonkeyPatch):
    print(f"MALFORMED_SEED={SEED}")
    config = await topics(partitions=1)
    events = list(made(SEED, OVER_KAFKA, time.time_ns() // 1_000_000))
    await asyncio.to_thread(send, config, events)
    await send_nameless_header(config, monkeypatch)
    with worker(config) as process:
        found = counters(await caught_up(config, process, limit=120))
    letters = [letter async for letter in scan(config)]
    assert all(isinstance(letter.letter, DeadLetter) for letter in letters)
    by_reason = Counter(letter.letter.reason for letter in letters)
    assert {f"dead_letters.{reason}": n for reason, n in by_reason.items()} == {
        name: n for name, n in found.items() if name.startswith("dead_letters.")
    }
    places = {(letter.letter.topic, letter.letter.offset): letter.letter for letter in letters}
    assert len(places) == len(letters)
    offsets: Counter[str] = Counter()
    for i, event in enumerate(events):
        letter = places.get((config.topic(event.noun), offsets[event.noun]))
        offsets[event.noun] += 1
        if event.expected is not None:
            assert (letter.reason if letter else "") in event.expected.split("|"), event.raw and event.raw[:300]
        if letter is not None and "raw" not in letter.cut:
            assert (letter.raw, letter.key) == (event.raw, key_of(i)), i
    nameless = places[config.topic("outcomes"), offsets["outcomes"]]
    assert (nameless.reason, nameless.headers) == ("not_json", [("\\xff\\xfe", b"1")])
    good = sum(event.expected == "" for event in events)
    taken = len(events) + 1 - len(letters)
    assert taken >= good
    assert found["predictions"] + found["outcomes"] == len(events) + 1


def key_of(number: int) -> bytes | None:
    """Keys of all kinds: none, empty, of no text, of any length."""
    return [b"a", b"", b"\xff\x00", b"k" * (number % 300), b"\xed\xa0\x80"][number % 5]


def send(config: Config, events: list[Made]) -> None:
    """Sends all, by a foreign client, with headers of all kinds."""
    producer = Producer({"bootstrap.servers": config.bootstrap, "acks": "all", "enable.idempotence": True})
    failed: list = []
    headers = [None, [("", b"")], [("a", None), ("a", b"\xff")], [("runway-replays", b"x")], [("ä\x00", b"1" * 500)]]
    for i, event in enumerate(events):
        producer.produce(
            config.topic(event.noun), event.raw, key_of(i), partition=0, headers=headers[i % 7 % 5],
            on_delivery=lambda error, _: error and failed.append(error),
        )  # fmt: skip
        producer.poll(0)
    producer.flush(60)
    assert not failed, failed[:3]


async def send_nameless_header(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """One record whose header's name is no UTF-8, and the last of the outcomes."""
    with monkeypatch.context() as patched:
        patched.setattr(producer_module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        patched.setattr(message_accumulator, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        async with AIOKafkaProducer(**kafka_client_options(config)) as producer:
            await producer.send_and_wait(config.topic("outcomes"), b"{", partition=0, headers=[(NoText("xx"), b"1")])
