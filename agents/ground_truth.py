"""runway.predictions + runway.outcomes -> rows and accumulators of the partition, and runway.dead-letters."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Protocol

from agents.dead_letters import DeadLetters, Headers
from runway_streams.ground_truth.partition import RawBatch
from runway_streams.partitioner_check import PartitionerCheck
from tables.open_partitions import OpenPartition, OpenPartitions, Sought, cut_to

COMMIT_EVENTS = 50_000
"""A partition commits twice a second, or after this many events: the bound of what it holds in memory and does again."""


class TopicBatch(Protocol):
    """A batch as the consumer yields it: `start` is the position from which it was fetched, `seeks` the number of the last
    seek back before that."""

    topic: str
    partition: int
    start: int
    raw: RawBatch
    keys: list[bytes | None]
    seeks: int

    def origin(self, offset: int) -> tuple[bytes | None, Headers]: ...


class Flow(Protocol):
    """The consumer's side: waiting while nothing may be read, reading again from an offset, and whether the log is still
    the same one."""

    async def may_process(self, log_time: int) -> bool: ...

    async def read_again(self, topic: str, partition: int, offset: int) -> int:
        """Seeks back to an offset, and numbers the seek; 0 where it does not, because a rebalance is under way that will."""
        ...

    async def refuse_new_log(self, topic: str, partition: int, reached: int) -> None: ...


async def ground_truth(
    batches: AsyncIterable[TopicBatch],
    partitions: OpenPartitions,
    dead_letters: DeadLetters,
    flow: Flow,
    short_name: Callable[[str], str],
    check: PartitionerCheck,
) -> None:
    """Applies every batch to its partition, in the log's order, each offset once."""
    async for batch in batches:
        opened = partitions.get(batch.partition)
        if opened is None or not batch.raw.timestamps:
            continue
        if not await flow.may_process(max(batch.raw.timestamps)):
            continue  # a rebalance is under way: the batch will be read again from the offsets in the state
        topic = short_name(batch.topic)
        check.add(topic, batch.keys, batch.partition)
        async with opened.lock:
            if not opened.whole:
                continue  # the worker is ending
            raw = await _next_part(opened, topic, batch, flow)
            if raw is not None:
                await _apply(opened, topic, batch, raw, dead_letters.send)
        await asyncio.sleep(0)


async def _next_part(opened: OpenPartition, topic: str, batch: TopicBatch, flow: Flow) -> RawBatch | None:
    """The part of the batch that comes next in the log, or None where something between was dropped on the way."""
    expected = opened.partition.next_offset(topic)
    if expected is None:
        return batch.raw
    if batch.start < expected:
        await flow.refuse_new_log(batch.topic, batch.partition, expected)
    if await comes_too_soon(batch, expected, opened.sought, topic, flow):
        return None
    if batch.start > expected:
        opened.partition.count_gap(batch.start - expected)
    return cut_to(batch.raw, expected)


async def comes_too_soon(batch: TopicBatch, expected: int, sought: dict[Any, Sought], place: Any, flow: Flow) -> bool:
    """Whether a batch is not the next one, and is to be dropped: what lies between is read again. False once that was sought and
    did not come: then the gap is the log's own (a transaction's marker, say)."""
    if batch.start <= expected:
        return False
    last = sought.get(place)
    if last and last.is_missing(expected, batch.start, batch.seeks):
        return False
    if seek := await flow.read_again(batch.topic, batch.partition, expected):
        sought[place] = Sought(expected, batch.start, seek)
    return True


async def _apply(
    opened: OpenPartition,
    topic: str,
    batch: TopicBatch,
    raw: RawBatch,
    send: Callable[..., Awaitable[None]],
) -> None:
    with opened.changing():
        bad = opened.partition.apply(topic, raw)
        opened.note_bad(len(raw.values), len(bad))
        if bad:
            await send(batch.topic, opened.number, bad, batch.origin)
        if opened.partition.uncommitted >= COMMIT_EVENTS:
            opened.partition.commit()
