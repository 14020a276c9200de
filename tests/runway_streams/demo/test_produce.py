"""Against the real Kafka: every event arrives once, in its partition's order."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from runway_streams.config import Config, kafka_client_options
from runway_streams.demo.events import OUTCOMES, PREDICTIONS, Event
from runway_streams.demo.produce import UNACKNOWLEDGED, count_dead_letters, produce
from runway_streams.errors import DependencyDown

EVENTS = UNACKNOWLEDGED + 100


@pytest.mark.kafka
async def test_pairs_arrive_in_order_in_one_partition(topics):
    config = await topics(partitions=2)
    told = []
    await produce(config, (_event(number) for number in range(EVENTS)), told.append)
    assert told == [UNACKNOWLEDGED, EVENTS]
    predictions, outcomes = await _read(config, PREDICTIONS), await _read(config, OUTCOMES)
    assert sum(map(len, predictions.values())) + sum(map(len, outcomes.values())) == EVENTS
    for partition, keys in predictions.items():
        assert keys == outcomes[partition] == sorted(keys)


@pytest.mark.kafka
async def test_dead_letters_are_counted(topics):
    config = await topics()
    assert await count_dead_letters(config) == 0
    async with AIOKafkaProducer(**kafka_client_options(config)) as producer:
        for _ in range(3):
            await producer.send_and_wait(config.topic("dead-letters"), b"{}")
    assert await count_dead_letters(config) == 3


async def test_a_kafka_that_is_down_is_said(tmp_path):
    with pytest.raises(DependencyDown, match=r"127\.0\.0\.1:9 "):
        await produce(Config(home=tmp_path, bootstrap="127.0.0.1:9"), [_event(0)], lambda _: None)


def _event(number: int) -> Event:
    """Predictions 0, 2, 4 ... and the outcome of each right after it."""
    return Event(OUTCOMES if number % 2 else PREDICTIONS, f"{number // 2:06}".encode(), b"{}")


async def _read(config: Config, noun: str) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    options = kafka_client_options(config) | {"auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer(config.topic(noun), **options) as consumer:
        while batch := await consumer.getmany(timeout_ms=1_000):
            for partition, records in batch.items():
                found.setdefault(partition.partition, []).extend(record.key for record in records)
    return found
