"""Accumulators of a partition -> runway.metrics: what changed, as absolute values, and the mark, in one transaction.

The producer's transactional id belongs to the partition: who begins to own it fences whoever owned it before.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from runway_streams.config import Config, kafka_client_options
from runway_streams.ground_truth.partition import Partition
from runway_streams.ground_truth.records import mark_key, pack_mark

BATCH_BYTES = 900 * 1024
TRANSACTION_RECORDS = 20_000
"""Records of one transaction; after a restart everything open is sent, in several of them, the mark in the last."""
TIMEOUT_MS = 30_000
ENDS_WITHIN_S = 5.0
"""How long an emission under way may take to end once the partition is no longer ours; then it is given up."""
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
        self._work: asyncio.Future[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begins to own the partition: `init_transactions` fences the former owner. Raises TimeoutError where it is stopped
        meanwhile."""
        await self._unless_stopped(self._producer.start())

    async def stop(self) -> None:
        """Ends, within a quarter of a minute: an emission that does not end is given up, nobody reads anything of it."""
        # A producer that is stopped under a transaction leaves whoever waits for its end waiting for ever.
        self._stopping = True
        work = self._work
        if work is not None and not work.done():
            await asyncio.wait([work], timeout=ENDS_WITHIN_S)
        # A first cancellation aborts the transaction, a second gives up on that, too.
        for _ in range(2):
            if work is not None and not work.done():
                work.cancel()
                await asyncio.wait([work], timeout=1.0)
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await self._producer.stop()
        except TimeoutError:
            _log.warning("Partition %d: the producer of runway.metrics did not end; it is left behind.", self.number)
            await self._producer.client.close()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Does what `stop` may give up, and then raises TimeoutError."""
        if self._stopping:
            work.close()
            raise TimeoutError(f"The writer of partition {self.number} was stopped.")
        self._work = asyncio.ensure_future(work)
        try:
            await self._work
        except asyncio.CancelledError:
            if self._stopping:
                raise TimeoutError(f"The writer of partition {self.number} was stopped.") from None
            raise

    async def emit(self, partition: Partition, hourly: bool) -> int:
        """Sends what the last commits changed, with `hourly` the full records too, and closes the hours whose time has come.

        On an error everything is kept for the next time; it is TimeoutError where the writer was stopped meanwhile. Returns
        the number of records.
        """
        closes = partition.closable()
        hourly = hourly or closes > partition.state.closed_before
        slim, partition.outbox = partition.outbox, {}
        full: dict[bytes, bytes] = {}
        if hourly:
            full, partition.hourly_outbox = partition.hourly_outbox, {}
        mark = pack_mark(partition.mark(self._names))
        try:
            await self._unless_stopped(self._send([*slim.items(), *full.items()], mark))
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
