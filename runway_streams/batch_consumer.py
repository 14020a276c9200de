"""Whole poll batches through Faust: the overrides of its Kafka consumer, each with a contract test.

Faust spends ~220 us on every message. For the bulk topics our consumer hands over one message per topic-partition and
poll; its value is a `TopicBatch`, its offset the last record's. These are private APIs of faust-streaming, pinned exactly:
tests/runway_streams/test_batch_consumer.py holds one test per override.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faust
from aiokafka.consumer.fetcher import FetchResult
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage

from runway_streams.bounded_batches import BatchRefused
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.ground_truth.partition import RawBatch
from runway_streams.kafka_down import DENIALS
from runway_streams.lenient_records import read_any_headers
from runway_streams.times import believed

_log = logging.getLogger(__name__)
FETCH_WAIT_MS = 200
"""How long a broker may wait to fill a fetch. aiokafka has one fetch a broker under way, so idle partitions would hold up
busy ones for Faust's 1,500 ms."""
CRASH_CHECK_S = 0.1
REJOIN_PAUSE_S = 1.0
KEYS = 64
"""Keys of a batch that are kept for the partitioner check."""


@dataclass(slots=True)
class TopicBatch:
    """One poll's records of a topic-partition; `start` is the position it was fetched from, `raw.next_offset` the one
    after. `keys` are some of the records' keys, at most KEYS; `records` are all, as they were fetched; `seeks` is the number
    of the last seek of `BatchConsumer.read_again` that had been made when the fetch began."""

    topic: str
    partition: int
    start: int
    raw: RawBatch
    keys: list[bytes | None]
    records: list[Any]
    seeks: int = 0

    def origin(self, offset: int) -> tuple[bytes | None, Sequence[tuple[str, bytes | None]]]:
        """The key and the headers of the record at an offset."""
        record = self.records[bisect_left(self.raw.offsets, offset)]
        return record.key, record.headers


@dataclass(slots=True)
class _Fetched:
    records: list[Any]
    start: int
    end: int
    seeks: int


class BatchConsumerThread(AIOKafkaConsumerThread):
    """Fetches with positions, so that a batch that was dropped on the way is noticed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._denied: BaseException | None = None
        self._rejoining: asyncio.Task[None] | None = None
        self.seeks = 0
        """Seeks back that were made; counted once they are."""
        self.refused: dict[TP, BatchRefused] = {}
        """What is not read beyond a batch that cannot be taken; the others go on."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        read_any_headers()
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None
    ) -> Any:
        refused = self.refused
        readable = active_partitions - refused.keys() if refused and active_partitions else active_partitions
        if refused and not readable:  # to aiokafka, none would mean all
            await asyncio.sleep(timeout or 0)
            return {}
        _keep_records_plain(consumer._fetcher)
        seeks, starts = self.seeks, self._positions(consumer)
        try:
            records = await super()._fetch_records(consumer, readable, timeout=timeout, max_records=max_records)
        except BatchRefused as error:
            # What was taken from others in the same breath is missed by `_batch_message`'s reader, and read again.
            refused[TP(*error.tp)] = error
            _log.error("%s", error)
            return {}
        except DENIALS as error:
            self._denied = error
            return {}
        ends = self._positions(consumer)
        # A seek while this waited makes the position of before stale: then the first record tells.
        return {
            tp: _Fetched(
                batch, min(starts.get(tp, batch[0].offset), batch[0].offset), ends.get(tp, batch[-1].offset + 1), seeks
            )
            for tp, batch in records.items()
        }

    def _positions(self, consumer: Any) -> dict[Any, int]:
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription else None
        if assignment is None:
            return {}
        states = {tp: assignment.state_value(tp) for tp in assignment.tps}
        return {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}

    def _stopped_set(self) -> None:
        try:
            super()._stopped_set()
        except RuntimeError:
            if not self.thread_loop.is_closed():
                raise
            # A thread that has crashed closes its loop itself; nobody waits there any more.

    def check_group(self) -> None:
        """Raises that this user has no right to its group, or to read. aiokafka tells the first to who polls, but Faust fetches
        past that, and a member that cannot join would wait for ever; the second would end the thread in disorder."""
        error = self._denied or getattr(getattr(self._consumer, "_coordinator", None), "_pending_exception", None)
        if isinstance(error, DENIALS):
            raise error

    async def rejoin_soon(self) -> None:
        """Joins the group again after a moment, with the topics as they are then, so that its partitions are shared out anew."""
        if self._rejoining is None or self._rejoining.done():
            self._rejoining = asyncio.create_task(self._rejoin())

    async def _rejoin(self) -> None:
        await asyncio.sleep(REJOIN_PAUSE_S)
        consumer = self._ensure_consumer()
        await consumer._client.force_metadata_update()
        consumer._coordinator.request_rejoin()

    def read_to_end_at(self, tp: TP) -> tuple[int, float] | None:
        """(position, wall time in ms of the last answer) where the position is the log's end; else None."""
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription else None
        state = assignment.state_value(tp) if assignment is not None and tp in assignment.tps else None
        if state is None or not state.has_valid_position or state.timestamp is None:
            return None
        # With an open transaction the stable end lies before the high watermark, and older records may still appear.
        at_end = state.position == state.highwater and (state.lso is None or state.lso == state.highwater)
        return (state.position, state.timestamp) if at_end else None


def _keep_records_plain(fetcher: Any) -> None:
    """Takes what was fetched as it was decoded: wrapping each record in a ConsumerRecord would cost more than decoding it."""
    for result in fetcher._records.values():
        if isinstance(result, FetchResult) and result.has_more():
            result._partition_records._consumer_record = _plain


def _plain(_tp: Any, record: Any) -> Any:
    return record


class BatchConsumer(Consumer):
    """Delivers whole polls, and goes on from the offsets that the app keeps with its state."""

    app: "BatchApp"
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.delivered: dict[TP, int] = {}

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Seeks to the offsets in the app's state; Kafka's committed ones serve lag monitoring alone."""
        await super().perform_seek()
        self._thread.refused.clear()
        positions = await self.app.positions({TP(*tp) for tp in self.assignment()})
        for tp in positions:
            self.delivered.pop(tp, None)
        await self._thread.seek_wait(positions)
        for tp in positions:
            self._read_offset[tp] = None
            self._committed_offset[tp] = None

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message a topic-partition and poll; what a rebalance overtakes is dropped here and read again."""
        polled, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if polled is None or self.should_stop:
            return
        fetched: Mapping[TP, Any] = polled
        for tp, batch in fetched.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            if active is None or tp in active or tp in self._buffered_partitions:
                self.delivered[TP(*tp)] = batch.end
                yield TP(*tp), self._batch_message(TP(*tp), batch)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        return await super()._getmany(self.app.even(active_partitions), timeout)

    def _batch_message(self, tp: TP, batch: _Fetched) -> ConsumerMessage:
        records = batch.records
        value: Any = TopicBatch(
            tp.topic,
            tp.partition,
            batch.start,
            RawBatch(
                [record.value for record in records],
                [record.offset for record in records],
                believed([record.timestamp for record in records], self.app.now()),
                batch.end,
            ),
            [record.key for record in records[:: len(records) // KEYS + 1]],
            records,
            batch.seeks,
        )
        last = records[-1]
        return ConsumerMessage(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type, None, None, value, None,
            tp=tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def _new_offset(self, tp: TP) -> int | None:
        """Batches of a partition are acked in order, and their offsets have gaps by nature."""
        acked = self._acked[tp]
        if not acked:
            return None
        newest = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return newest + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps between the last records of batches mean nothing."""

    async def wait_empty(self) -> None:
        """As Faust's, for as long as the app lives: who would have taken the batches of one that has crashed is gone."""
        waiting = asyncio.ensure_future(super().wait_empty())
        crashed = asyncio.ensure_future(self._until_crashed())
        try:
            await asyncio.wait({waiting, crashed}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            waiting.cancel()
            crashed.cancel()

    async def _until_crashed(self) -> None:
        while not self.app.crashed:
            await asyncio.sleep(CRASH_CHECK_S)

    async def ask_for_partitions_again(self) -> None:
        """Has the group share out its partitions once more."""
        await self._thread.call_thread(self._thread.rejoin_soon)

    async def read_again(self, tp: TP, offset: int) -> int:
        """Seeks back, for a batch that was dropped on the way; returns the number of the seek, which batches that are fetched
        from then on have, or a higher one."""
        self.delivered.pop(tp, None)
        await self._thread.seek_wait({tp: offset})
        self._read_offset[tp] = None
        self._thread.seeks += 1
        return self._thread.seeks


class BatchTransport(Transport):
    """Faust's Kafka transport with our consumer."""

    Consumer = BatchConsumer


class PassThrough(faust.Schema):
    """The batch is the value; decoding is the agent's work."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        return message.value


class BatchApp(faust.App):
    """A Faust app, one consumer group, that reads its topics in whole batches.

    `positions(tps)` gives the offsets to go on from; `even(tps)` may leave out those that are too far ahead of others; `now`
    is the clock, in ms.
    """

    now: Callable[[], int] = staticmethod(wall_clock)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The seek that follows a rebalance has a request's time; opening state may take longer, so it is done before.
        self.on_rebalance_complete.connect(self._open_assigned)  # type: ignore[arg-type]

    async def _open_assigned(self, _app: faust.App, **_: Any) -> None:
        await self.positions({TP(*tp) for tp in self.consumer.assignment()})

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    async def positions(self, tps: set[TP]) -> Mapping[TP, int]:
        raise NotImplementedError

    def even(self, tps: set[TP] | None) -> set[TP] | None:
        return tps
