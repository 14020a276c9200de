"""Accumulators of a partition -> runway.metrics: what changed, as absolute values, and the mark, in one transaction.

The producer's transactional id belongs to the partition: who begins to own it fences whoever owned it before.
"""

import logging
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from runway_streams.config import Config, kafka_client_options
from runway_streams.ground_truth.partition import Partition
from runway_streams.ground_truth.records import mark_key, pack_mark

BATCH_BYTES = 900 * 1024
TRANSACTION_RECORDS = 20_000
"""Records of one transaction; after a restart everything open is sent, in several of them, the mark in the last."""
TIMEOUT_MS = 30_000
_log = logging.getLogger(__name__)


class MetricsEmitter:
    """The writer of one partition of `runway.metrics`."""

    def __init__(self, config: Config, number: int):
        self.number, self._topic = number, config.topic("metrics")
        self._names = {topic: config.topic(topic) for topic in ("predictions", "outcomes")}
        self._producer = AIOKafkaProducer(
            **kafka_client_options(config),
            transactional_id=f"{config.topic_prefix}gt-{number}",
            transaction_timeout_ms=TIMEOUT_MS,
            request_timeout_ms=TIMEOUT_MS,
            acks="all",
            max_batch_size=BATCH_BYTES,
            max_request_size=1 << 20,
            compression_type="lz4",
        )

    async def start(self) -> None:
        """Begins to own the partition: `init_transactions` fences the former owner."""
        await self._producer.start()

    async def stop(self) -> None:
        """Ends."""
        await self._producer.stop()

    async def emit(self, partition: Partition, hourly: bool) -> int:
        """Sends what the last commits changed, with `hourly` the full records too, and closes the hours whose time has come.

        On an error everything is kept for the next time. Returns the number of records.
        """
        closes = partition.closable()
        hourly = hourly or closes > partition.state.closed_before
        slim, partition.outbox = partition.outbox, {}
        full: dict[bytes, bytes] = {}
        if hourly:
            full, partition.hourly_outbox = partition.hourly_outbox, {}
        mark = pack_mark(partition.mark(self._names))
        try:
            await self._send([*slim.items(), *full.items()], mark)
        except BaseException:
            partition.outbox = slim | partition.outbox
            partition.hourly_outbox = full | partition.hourly_outbox
            raise
        partition.close_hours(closes)
        return len(slim) + len(full)

    async def _send(self, records: list[tuple[bytes, bytes]], mark: bytes) -> None:
        for start in range(0, max(1, len(records)), TRANSACTION_RECORDS):
            part = records[start : start + TRANSACTION_RECORDS]
            if start + TRANSACTION_RECORDS >= len(records):
                part = [*part, (mark_key(), mark)]
            async with self._producer.transaction():
                for batch in self._batches(part):
                    await self._producer.send_batch(batch, self._topic, partition=self.number)

    def _batches(self, records: Iterable[tuple[bytes, bytes]]) -> Iterable[BatchBuilder]:
        """Whole batches are built here: a `send` a record would cost ten times as much."""
        batch = self._producer.create_batch()
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=None) is None:
                yield batch
                batch = self._producer.create_batch()
                if batch.append(key=key, value=value, timestamp=None) is None:
                    raise AssertionError(f"A metrics record of {len(value)} bytes does not fit into a batch.")
        batch.close()
        yield batch
