"""runway.predictions + runway.outcomes -> Parquet segments of one topic-partition and log hour."""

import asyncio
from collections.abc import AsyncIterable, Callable, Collection
from typing import Any, Protocol

import msgspec
import numpy as np

from agents.ground_truth import Flow, TopicBatch, comes_too_soon
from batch.cutoff import FLUSH_REQUEST
from batch.lake import Lake, open_lake
from batch.segments import SegmentWriter, feature_key, read_progress, resume_whole
from runway_streams.config import Config
from runway_streams.full_disk import full_disk
from runway_streams.ground_truth.events import read_outcomes, read_predictions
from runway_streams.ground_truth.partition import PREDICTIONS, RawBatch
from runway_streams.ground_truth.settings import SettingsHistory
from tables.open_partitions import Sought, cut_to


class FlushRequest(msgspec.Struct):
    """A final batch asks for everything below these offsets (topic -> partition -> next offset) to be in closed segments."""

    id: str
    offsets: dict[str, dict[str, int]]


class ArchiveFlow(Flow, Protocol):
    """The consumer's side, and where the log begins."""

    async def log_begin(self, topic: str, partition: int) -> int: ...


async def archive(
    batches: AsyncIterable[TopicBatch],
    writers: "SegmentWriters",
    history: SettingsHistory,
    flow: ArchiveFlow,
    short_name: Callable[[str], str],
) -> None:
    """Appends every batch to the open segment of its topic-partition, each offset once."""
    async for batch in batches:
        topic = short_name(batch.topic)
        if not batch.raw.timestamps or not writers.is_open(topic, batch.partition):
            continue
        if not await flow.may_process(max(batch.raw.timestamps)):
            continue
        expected = writers.next_offset(topic, batch.partition)
        if await comes_too_soon(batch, expected, writers.sought, (topic, batch.partition), flow):
            continue
        if batch.start < expected:
            await flow.refuse_new_log(batch.topic, batch.partition, expected)
        first = batch.raw.offsets[0]
        # A transaction's marker is a gap, too; a fetch from before the log's begin goes on at its begin without a word.
        if first > expected and (begin := await flow.log_begin(topic, batch.partition)) > expected:
            writers.step_over(topic, batch.partition, min(begin, first))
        await writers.append(topic, batch.partition, cut_to(batch.raw, expected), history)


class SegmentWriters:
    """The open segments of this worker's topic-partitions. Files are written in a thread, one at a time."""

    def __init__(self, config: Config, now: Callable[[], int]):
        self._lake: Lake = open_lake(config.archive_url)
        self._key, self._now = feature_key(self._lake), now
        self._written_in = config.written_in
        self._spool = config.state_dir / "spool"
        self._writers: dict[tuple[str, int], SegmentWriter] = {}
        self._clocks: dict[tuple[str, int], int] = {}
        self._resumed_at: dict[tuple[str, int], int] = {}
        self._archived: dict[tuple[str, int], int] = {}
        self.sought: dict[tuple[str, int], Sought] = {}
        """The last seek back, by topic and partition."""
        self._lock = asyncio.Lock()
        self._answered = ""

    async def open(self, topic: str, partition: int) -> int:
        """Opens a topic-partition and tells where its first unclosed segment begins."""
        found = self._writers.get((topic, partition))
        if found is None:
            progress = await asyncio.to_thread(read_progress, self._lake, topic, partition)
            found = SegmentWriter(
                self._lake, topic, partition, progress.open_since if progress else 0,  # type: ignore[arg-type]
                spool=self._spool, key=self._key, now=self._now, whole_since=resume_whole(progress),
                written_in=self._written_in,
            )  # fmt: skip
            self._writers[topic, partition] = found
            self._resumed_at[topic, partition] = progress.clock if progress else 0
            self._archived[topic, partition] = progress.next_offset if progress else 0
        return found.next_offset

    def keep(self, partitions: Collection[int]) -> None:
        """Forgets the open segments of all other partitions: whoever owns them next begins where they began."""
        for place in [place for place in self._writers if place[1] not in partitions]:
            del self._writers[place]
            self._clocks.pop(place, None)
            self._resumed_at.pop(place, None)
            self._archived.pop(place, None)
            self.sought.pop(place, None)
        # Whoever owns others now has not flushed them yet.
        self._answered = ""

    def is_open(self, topic: str, partition: int) -> bool:
        """Whether this worker owns the topic-partition."""
        return (topic, partition) in self._writers

    def open_ones(self) -> list[tuple[str, int]]:
        """The topic-partitions that this worker owns."""
        return list(self._writers)

    def archived(self, topic: str, partition: int) -> int:
        """Up to which offset the archive had read, when the topic-partition was opened."""
        return self._archived[topic, partition]

    def next_offset(self, topic: str, partition: int) -> int:
        """The offset to be appended next."""
        return self._writers[topic, partition].next_offset

    def step_over(self, topic: str, partition: int, start: int) -> None:
        """Goes on at `start`: the log has nothing before it any more."""
        self._writers[topic, partition].step_over(start)

    async def append(self, topic: str, partition: int, raw: RawBatch, history: SettingsHistory) -> None:
        """Reads the events and appends the good ones; bad ones are the ground-truth worker's dead letters."""
        before = self._clocks.get((topic, partition), 0)
        if not before and raw.timestamps and not raw.timestamps[0]:
            before = self._resumed_at[topic, partition]  # not believed, and what came before was not read again
        log_times = np.maximum.accumulate(np.array([before, *raw.timestamps], dtype=np.int64))[1:].tolist()
        if topic == PREDICTIONS:
            events: Any = read_predictions(raw.values, raw.offsets, log_times, history)[0]
        else:
            events = read_outcomes(raw.values, raw.offsets, log_times)[0]
        if log_times:
            self._clocks[topic, partition] = log_times[-1]
        await self._append(topic, partition, events, raw.next_offset, self._clocks.get((topic, partition), 0))

    async def idle(self, topic: str, partition: int, until: int) -> None:
        """Tells that nothing before log time `until` can come any more."""
        writer = self._writers.get((topic, partition))
        if writer is not None:
            await self._append(topic, partition, [], writer.next_offset, until)

    async def answer_flush_request(self) -> None:
        """Flushes the open segments once they have reached the offsets that a final batch asked for."""
        # Whoever owns nothing yet has nothing to answer for; what it owns next has not been flushed.
        found = await asyncio.to_thread(self._lake.get_or_none, FLUSH_REQUEST) if self._writers else None
        if found is None:
            return
        request = msgspec.json.decode(found, type=FlushRequest)
        if request.id == self._answered or not self._reached(request):
            return
        async with self._lock:
            for writer in self._writers.values():
                await asyncio.to_thread(writer.flush_open, request.id)
        self._answered = request.id

    def _reached(self, request: FlushRequest) -> bool:
        return all(
            writer.next_offset >= request.offsets.get(topic, {}).get(str(partition), 0)
            for (topic, partition), writer in self._writers.items()
        )

    async def _append(self, topic: str, partition: int, events: Any, next_offset: int, clock: int) -> None:
        writer = self._writers.get((topic, partition))
        if writer is None:
            return
        async with self._lock:
            try:
                await asyncio.to_thread(writer.append, events, next_offset, clock)
            except OSError as error:
                raise full_disk(error, f"{topic}-{partition} into the archive, or {self._spool}") or error from error
