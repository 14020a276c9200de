"""A topic of OpenLineage's events, as its clients write them -> the lineage graph; what cannot be used -> runway.dead-letters."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from agents.dead_letters import DeadLetters
from runway_streams.config import Config, kafka_client_options
from runway_streams.dependency.openlineage.intake import OpenLineageIntake
from runway_streams.duty import Duty
from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.events import BadEvent
from runway_streams.kafka_down import kafka_errors
from runway_streams.registry.changes import Registry

GROUP = "openlineage"
"""Its offsets say what was taken; the group's name begins with the prefix of our topics."""
POLL_MS = 500
POLL_RECORDS = 500
"""Events that are taken at a time."""
REASON = "bad_lineage"


class OpenLineageTopic(Duty):
    """Takes a topic's events to the graph, in one process at a time.

    Offsets are committed once the events are in the graph or in its queue: one that was taken is taken again after a crash, and
    the same event twice is as one.
    """

    task_name = "OpenLineage topic"
    duty = "openlineage-topic"

    def __init__(self, registry: Registry, config: Config, topic: str, intake: OpenLineageIntake, holder: str):
        super().__init__(registry, holder)
        self._config, self._topic, self._intake = config, topic, intake

    async def _work(self) -> None:
        async with _open(self._config, self._topic) as (consumer, dead_letters):
            while True:
                polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
                for place, records in polled.items():
                    await take(records, self._intake, dead_letters)
                    await consumer.commit({place: records[-1].offset + 1})
                self._went_well()


async def take(records: Sequence[ConsumerRecord], intake: OpenLineageIntake, dead_letters: DeadLetters) -> None:
    """Takes records of one topic-partition. Raises DependencyDown, and QueueFull where the graph has been away for long."""
    told = [record for record in records if record.value is not None]
    taken = await intake.take([record.value for record in told])
    bad = [_bad_event(told[one.index], one.reason) for one in taken.refused]
    if bad:
        origins = {record.offset: (record.key, record.headers) for record in told}
        await dead_letters.send(told[0].topic, told[0].partition, bad, origins.__getitem__)


def _bad_event(record: ConsumerRecord, reason: str) -> BadEvent:
    return BadEvent(record.offset, record.timestamp, REASON, reason, record.value)


@asynccontextmanager
async def _open(config: Config, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, DeadLetters]]:
    options = kafka_client_options(config)
    consumer = AIOKafkaConsumer(
        group_id=config.topic_prefix + GROUP,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        **options,
    )
    producer = AIOKafkaProducer(acks="all", **options)
    async with kafka_errors(config):
        try:
            await consumer.start()
            await producer.start()
            # Asked of the broker's list of all topics: asking for one that is missing could create it.
            if topic not in await consumer.topics():
                raise DependencyDown(f"The topic {topic} does not exist.", "Create it, or unset RUNWAY_OPENLINEAGE_TOPIC.")
            consumer.subscribe([topic])
            yield consumer, DeadLetters(producer, config.topic("dead-letters"))
        finally:
            await consumer.stop()
            await producer.stop()
