"""KafkaLog: questions to the log that belong to no consumer group: its ends, offsets of a time, the last mark."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runway_streams.config import Config, kafka_client_options
from runway_streams.ground_truth.records import glance_at_mark, mark_key
from runway_streams.ground_truth.recovery import TOPICS, LogRange
from runway_streams.kafka_down import kafka_errors
from schemas.metrics_record import Mark

LIMIT_S = 60.0
FIRST_LOOK = 4_000
"""Records from the end of `runway.metrics` in which the mark is looked for first; each further look is eight times deeper."""


class KafkaLog:
    """Reads without a group; every question is answered within 60 s or raises DependencyDown."""

    def __init__(self, config: Config):
        self._config = config
        self._consumer: AIOKafkaConsumer | None = None
        self.cluster_id = ""
        self.partitions = 0
        """How many partitions the predictions have."""

    async def start(self) -> None:
        """Connects."""
        self._consumer = AIOKafkaConsumer(
            **kafka_client_options(self._config), enable_auto_commit=False, isolation_level="read_committed"
        )
        await self._ask(self._consumer.start())
        await self.describe()

    async def stop(self) -> None:
        """Disconnects."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def ranges(self, partition: int) -> dict[str, LogRange]:
        """What the logs of both topics have."""
        assert self._consumer is not None
        tps = {topic: TopicPartition(self._config.topic(topic), partition) for topic in TOPICS}
        begins = await self._ask(self._consumer.beginning_offsets(list(tps.values())))
        ends = await self._ask(self._consumer.end_offsets(list(tps.values())))
        return {topic: LogRange(begins[tp], ends[tp]) for topic, tp in tps.items()}

    async def offsets_at(self, partition: int, log_time: int, log: dict[str, LogRange]) -> dict[str, int]:
        """The first offset of each topic at or after a log time; the end where nothing is that young."""
        assert self._consumer is not None
        tps = {topic: TopicPartition(self._config.topic(topic), partition) for topic in TOPICS}
        found = await self._ask(self._consumer.offsets_for_times(dict.fromkeys(tps.values(), log_time)))
        return {topic: found[tp].offset if found.get(tp) else log[topic].end for topic, tp in tps.items()}

    async def marks(self, partitions: set[int]) -> dict[int, Mark]:
        """The last mark of each partition in `runway.metrics`; those that never had one are left out."""
        assert self._consumer is not None
        topic = self._config.topic("metrics")
        tps = [TopicPartition(topic, partition) for partition in sorted(partitions)]
        begins = await self._ask(self._consumer.beginning_offsets(tps))
        ends = await self._ask(self._consumer.end_offsets(tps))
        found: dict[int, Mark] = {}
        starts = dict(ends)
        depth = FIRST_LOOK
        while wanted := [tp for tp in tps if tp.partition not in found and starts[tp] > begins[tp]]:
            starts |= {tp: max(begins[tp], ends[tp] - depth) for tp in wanted}
            found |= await self._last_marks({tp: (starts[tp], ends[tp]) for tp in wanted})
            depth *= 8
        return found

    async def _last_marks(self, ranges: dict[TopicPartition, tuple[int, int]]) -> dict[int, Mark]:
        consumer = AIOKafkaConsumer(
            **kafka_client_options(self._config),
            enable_auto_commit=False,
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
        )
        raw: dict[int, bytes] = {}
        await self._ask(consumer.start())
        try:
            consumer.assign(list(ranges))
            for tp, (start, _) in ranges.items():
                consumer.seek(tp, start)
            unread = set(ranges)
            while unread:
                for tp, records in (await self._ask(consumer.getmany(timeout_ms=100))).items():
                    for record in records:
                        if record.key == mark_key() and record.value is not None:
                            raw[tp.partition] = record.value
                unread = {tp for tp in unread if await self._ask(consumer.position(tp)) < ranges[tp][1]}
        finally:
            await consumer.stop()
        return {partition: glance_at_mark(value) for partition, value in raw.items()}

    async def describe(self) -> None:
        """Asks for the cluster's id and the number of partitions."""
        await self._ask(self._describe())

    async def _describe(self) -> None:
        admin = AIOKafkaAdminClient(**kafka_client_options(self._config))
        await admin.start()
        try:
            self.cluster_id = str((await admin.describe_cluster())["cluster_id"] or "")
            predictions = self._config.topic("predictions")
            described = [topic for topic in await admin.describe_topics() if topic["topic"] == predictions]
            self.partitions = len(described[0]["partitions"]) if described else 0
        finally:
            await admin.close()

    async def _ask(self, question):
        async with kafka_errors(self._config, "The worker will try again when it is started again."):
            async with asyncio.timeout(LIMIT_S):
                return await question
