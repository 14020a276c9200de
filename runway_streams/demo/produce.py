"""Sends the events to Kafka in the order given, and counts what came back as dead letters."""

import asyncio
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from runway_streams.config import Config, kafka_client_options
from runway_streams.demo.events import Event
from runway_streams.kafka_down import kafka_errors

UNACKNOWLEDGED = 5_000
"""Events that may be under way: bounds memory, and what is lost when Kafka goes away."""
LINGER_MS = 20
BATCH_BYTES = 128 * 1024
POLL_MS = 200


async def produce(config: Config, records: Iterable[Event], sent: Callable[[int], None]) -> None:
    """Sends every record; `sent` is told how many Kafka has by now. The idempotent producer keeps a partition's order."""
    producer = AIOKafkaProducer(
        **kafka_client_options(config), enable_idempotence=True, linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES
    )
    async with kafka_errors(config), producer:
        done, pending = 0, []
        for event in records:
            pending.append(await producer.send(config.topic(event.noun), event.value, key=event.key))
            if len(pending) == UNACKNOWLEDGED:
                done += len(await asyncio.gather(*pending))
                pending.clear()
                sent(done)
        sent(done + len(await asyncio.gather(*pending)))


async def count_dead_letters(config: Config) -> int:
    """How many dead letters there are now. They are read, for offsets also count the marks of transactions."""
    options = kafka_client_options(config) | {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    count = 0
    async with AIOKafkaConsumer(config.topic("dead-letters"), **options) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            count += sum(map(len, (await consumer.getmany(timeout_ms=POLL_MS)).values()))
    return count
