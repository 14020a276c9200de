"""Reads a topic as a table is read: all partitions, committed records alone, from the beginning to the end, no group."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from runway_streams.config import Config, kafka_client_options
from runway_streams.errors import DependencyDown
from runway_streams.kafka_down import kafka_errors

POLL_MS = 200
POLL_RECORDS = 5_000
ASSIGN_LIMIT_S = 15.0
FETCH_WAIT_MS = 50
"""A broker answers a connection's requests in order: while a fetch waits for records, the question for the end waits too."""


@dataclass(frozen=True, slots=True)
class TopicReader:
    """One topic's partitions and where reading stands; see `open_topic`."""

    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]

    async def to_end(self) -> AsyncIterator[ConsumerRecord]:
        """The records from here to the ends as they are now."""
        ends = await self.consumer.end_offsets(self.partitions)
        while not await self.reached(ends):
            for record in await self.poll():
                yield record

    async def poll(self, timeout_ms: int = POLL_MS) -> list[ConsumerRecord]:
        """The next records, at most 5,000, in log order partition by partition; none after the time-out."""
        found = await self.consumer.getmany(timeout_ms=timeout_ms, max_records=POLL_RECORDS)
        return [record for records in found.values() for record in records]

    async def reached(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether all partitions were read up to these offsets."""
        for partition, end in ends.items():
            if await self.consumer.position(partition) < end:
                return False
        return True

    async def seek_to_time(self, ms: int) -> None:
        """Goes to the first record written at or after a time; where there is none, the partition is read whole."""
        found = await self.consumer.offsets_for_times(dict.fromkeys(self.partitions, ms))
        for partition, place in found.items():
            if place is not None:
                self.consumer.seek(partition, place.offset)


@asynccontextmanager
async def open_topic(config: Config, noun: str) -> AsyncIterator[TopicReader]:
    """A reader at the beginning of `runway.NOUN`. Raises DependencyDown where Kafka or the topic is missing."""
    topic = config.topic(noun)
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        **kafka_client_options(config),
    )
    async with kafka_errors(config):
        try:
            await consumer.start()
            partitions = await _partitions(consumer, topic)
            await consumer.seek_to_beginning(*partitions)
            yield TopicReader(consumer, partitions)
        finally:
            await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    # Asked of the broker's list of all topics: asking for one that is missing could create it.
    if topic not in await consumer.topics():
        raise DependencyDown(f"The topic {topic} does not exist.", "Run `runway topics create`.")
    consumer.subscribe([topic])
    async with asyncio.timeout(ASSIGN_LIMIT_S):
        while not consumer.assignment():
            await asyncio.sleep(0.02)
    return sorted(consumer.assignment())
