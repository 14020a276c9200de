"""OpenPartitions: the partitions that this worker owns, with their state, and how each came to be open.

State lies under <state folder>/<partition>. Bound: one RocksDB and one transactional producer a partition; the block cache
and write buffers are shared (`tables.partition_store.Memory`).
"""

import asyncio
import logging
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from runway_streams.errors import Refused, RunwayError
from runway_streams.ground_truth.events import OutcomeEvent, PredictionEvent
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.recovery import (
    Checkpoint,
    LogRange,
    Plan,
    check_reach,
    cut_topics,
    has_reached,
    plan_recovery,
)
from runway_streams.ground_truth.settings import SettingsHistory
from schemas.metrics_record import Mark
from tables.checkpoints import RESTORING, Checkpoints, remove_leftovers
from tables.partition_store import Memory, PartitionStore

BAD_SHARE = 0.05
"""Above this share of bad events among the last ones a partition says so and is not ready."""
BAD_WINDOW = 20
"""Batches over which the share of bad events is taken."""
LOOK_LIMIT_S = 60.0
"""How long a partition that could go on from a checkpoint waits for the lake to say which there are."""
REPLAY_COMMIT = 50_000
"""Events of the archive between two commits."""
_log = logging.getLogger(__name__)

Events = Sequence[PredictionEvent] | Sequence[OutcomeEvent]


class Log(Protocol):
    """What must be asked of Kafka to open a partition; see `runway_streams.kafka_log`."""

    cluster_id: str
    partitions: int

    async def ranges(self, partition: int) -> dict[str, LogRange]: ...
    async def offsets_at(self, partition: int, log_time: int, log: dict[str, LogRange]) -> dict[str, int]: ...


class Archive(Protocol):
    """What the archive has of a partition; see `batch.archived_log`. Its methods wait for the lake: call them in a thread."""

    def reach(self, number: int, log_time: int) -> dict[str, LogRange]:
        """By topic, the offsets that it has without a hole: from the first one at or after a log time up to its end. Topics
        of which it does not reach back that far are left out."""
        ...

    def read(self, number: int, ranges: dict[str, LogRange]) -> Iterator[tuple[str, Events, int]]:
        """The events in these offsets, oldest first, as (topic, some events in the order of the log, next offset)."""
        ...


class Sought(NamedTuple):
    """A seek back: the offset that was read again from, where the batch began that lay too far on, and the seek's number."""

    offset: int
    start: int
    number: int

    def is_missing(self, expected: int, start: int, seeks: int) -> bool:
        """Whether what lies between the next offset and a batch did not come though it was sought: the batch begins where the
        one before did, and was fetched after the seek. Several that were fetched before may begin there, too: amid a rebalance
        positions are those that Kafka holds, ahead of the state.

        >>> Sought(20, 50, 7).is_missing(20, 50, 7), Sought(20, 50, 7).is_missing(20, 50, 6)
        (True, False)
        """
        return (expected, start) == (self.offset, self.start) and seeks >= self.number


@dataclass
class OpenPartition:
    """One partition at work. `lock` keeps a commit from covering bad events whose dead letters are not yet written."""

    number: int
    partition: Partition
    store: PartitionStore
    wait_for: dict[str, int]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sought: dict[str, Sought] = field(default_factory=dict)
    """The last seek back, by topic."""
    bad: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=BAD_WINDOW))
    last_emitted: float = 0.0
    last_full: float = 0.0
    whole: bool = True
    """False while a batch or commit is under way, and for good once an error has cut one short: what lies in memory then is
    neither before nor after it, so nothing more is written from here. What is on disk is whole, and the log is read again."""

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around every batch and commit, under `lock`."""
        self.whole = False
        yield
        self.whole = True

    def may_emit(self) -> bool:
        """False until the committed offsets have reached the last mark: before that, values would run backwards."""
        offsets = self.partition.state.offsets
        if any(offsets.get(topic, 0) < offset for topic, offset in self.wait_for.items()):
            return False
        self.wait_for = {}
        return True

    def note_bad(self, events: int, bad: int) -> None:
        """Remembers how many events of a batch were bad."""
        self.bad.append((events, bad))

    def mean_batch(self) -> float:
        """Events of the last batches, mean."""
        return sum(n for n, _ in self.bad) / len(self.bad) if self.bad else 0.0

    def bad_share(self) -> float:
        """The share of bad events among the last ones; 0 below 100 events."""
        events = sum(n for n, _ in self.bad)
        return sum(n for _, n in self.bad) / events if events >= 100 else 0.0


class OpenPartitions:
    """Opens partitions on assignment, closes them on revocation; a partition that is refused alone stays closed, with why.

    `checkpoints` is where uploaded states lie and `archive` what can be read again when the log is cut; None where there
    are none.
    """

    checkpoints: Checkpoints | None = None
    archive: Archive | None = None
    written_in: int | None = None
    """The format that new states are written in, and older ones from now on; None for `formats.WRITTEN`."""

    def __init__(self, folder: Path, history: SettingsHistory, topic_names: dict[str, str], memory: Memory | None = None):
        self.folder, self.history, self.topic_names = folder, history, topic_names
        self.memory = memory or Memory()
        self.refused: dict[int, Refused] = {}
        self._open: dict[int, OpenPartition] = {}
        self._claimed: dict[int, PartitionStore] = {}

    def __iter__(self):
        return iter(list(self._open.values()))

    def get(self, number: int) -> OpenPartition | None:
        """The partition if it is open."""
        return self._open.get(number)

    def claim(self, number: int) -> bool:
        """Takes a partition's state, which no other process may hold; False where it is refused.

        This comes before the former owner is fenced: who cannot have the state, or cannot read it, must not end whoever has
        it.
        """
        if number in self._open or number in self._claimed:
            return True
        try:
            store = PartitionStore.open(self.folder / str(number), self.memory)
            _check_readable(store)
            self._claimed[number] = store
            remove_leftovers(self.folder / str(number))
        except Refused as refused:
            self._refuse(number, refused)
        return number in self._claimed

    async def open(self, number: int, log: Log, mark: Mark | None, accept_gap: bool, now: int) -> OpenPartition | None:
        """Opens a claimed partition where its state is good, rebuilds where it is not; None where it is refused."""
        if number in self._open:
            return self._open[number]
        try:
            opened = await self._open_or_rebuild(number, log, mark, accept_gap, now)
        except Refused as refused:
            self._refuse(number, refused)
            return None
        self.refused.pop(number, None)
        self._open[number] = opened
        return opened

    def forget_refused(self, numbers: set[int]) -> None:
        """Says no more of refused partitions than of these: the others are no longer this worker's."""
        self.refused = {number: why for number, why in self.refused.items() if number in numbers}

    def _refuse(self, number: int, why: Refused) -> None:
        _log.error("Partition %d is refused. %s", number, why)
        self.refused[number] = why

    def close(self, number: int) -> None:
        """Commits what has been applied, unless it is only half there, and lets go of the state."""
        found = self._open.pop(number, None)
        if found is None:
            return
        try:
            # Where a write has failed, what was applied since the last commit is read again.
            if found.store.broken is None and found.whole:
                found.partition.commit()
            elif not found.whole:
                _log.warning("Partition %d: a batch was cut short; it will be read again.", number)
        finally:
            found.store.close()

    async def _open_or_rebuild(self, number: int, log: Log, mark: Mark | None, accept_gap: bool, now: int) -> OpenPartition:
        store = self._claimed.pop(number)
        try:
            plan = await self._plan(number, store, log, mark, accept_gap, now)
        except BaseException:
            store.close()
            raise
        if plan.checkpoint:
            store = self._replace(store, store.path.with_name(store.path.name + RESTORING))
        elif plan.rebuild_from is not None:
            _log.warning("Partition %d: the state is lost or too old; rebuilding from offsets %s.", number, plan.offsets)
            store = self._replace(store)
        partition = Partition(store, self.history, log.cluster_id, log.partitions, self.written_in)
        if plan.rebuild_from is not None:
            partition.state.closed_before = plan.closed_before
            partition.state.incomplete_hours = list(plan.incomplete_hours)
        if plan.replay:
            try:
                await self._replay(number, partition, plan)
            except BaseException:
                store.close()
                raise
        partition.state.offsets.update(plan.offsets)
        return OpenPartition(number, partition, store, plan.wait_for)

    async def _replay(self, number: int, partition: Partition, plan: Plan) -> None:
        """Feeds the partition what the archive has. Until it is done its offsets lie before the log's begin: whoever is
        killed here begins anew."""
        assert self.archive is not None
        _log.warning("Partition %d: the log is cut; replaying the archive, offsets %s.", number, plan.replay)
        partition.state.offsets.update({topic: offsets.begin for topic, offsets in plan.replay.items()})
        parts = self.archive.read(number, plan.replay)
        try:
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                partition.apply_read(*part)
                if partition.uncommitted >= REPLAY_COMMIT:
                    partition.commit()
        except (RunwayError, OSError) as error:
            raise Refused(
                f"The archive of partition {number} could not be replayed: {error}", "Bring back the lake, and start again."
            ) from error
        partition.state.offsets.update(plan.offsets)
        partition.commit()

    def _replace(self, store: PartitionStore, by: Path | None = None) -> PartitionStore:
        """Opens an empty state in place of one, or what lies in the folder `by`."""
        store.close()
        shutil.rmtree(store.path)
        if by is not None:
            by.rename(store.path)
        return PartitionStore.open(store.path, self.memory)

    async def _plan(
        self, number: int, store: PartitionStore, log: Log, mark: Mark | None, accept_gap: bool, now: int
    ) -> Plan:
        saved = store.read_state()
        state = PartitionState.decode(saved) if saved else None
        names = {full: topic for topic, full in self.topic_names.items()}
        mark_offsets = {names[full]: offset for full, offset in mark.offsets.items() if full in names} if mark else {}
        ranges = await log.ranges(number)
        uploaded = [] if has_reached(state, mark_offsets, ranges) else await self._uploaded(number, ranges)
        while True:
            plan = plan_recovery(state, mark, ranges, log.cluster_id, log.partitions, mark_offsets, uploaded)
            if not plan.checkpoint or await self._downloaded(number, plan.checkpoint):
                break
            uploaded = [one for one in uploaded if one.name != plan.checkpoint]
        if plan.rebuild_from is None:
            return plan
        offsets = await log.offsets_at(number, plan.rebuild_from, ranges)
        archive = await self._archived(number, plan.rebuild_from) if cut_topics(offsets, ranges) else {}
        return check_reach(plan, offsets, ranges, accept_gap, now, archive)

    async def _uploaded(self, number: int, log: dict[str, LogRange]) -> list[Checkpoint]:
        """The partition's checkpoints in the lake; none where it does not answer."""
        if self.checkpoints is None:
            return []
        ends = {topic: one.end for topic, one in log.items()}
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                return await asyncio.to_thread(self.checkpoints.candidates, number, ends)
        except (RunwayError, OSError, TimeoutError) as error:
            _log.warning("Partition %d: the lake does not tell its checkpoints; going on without: %r", number, error)
            return []

    async def _archived(self, number: int, log_time: int) -> dict[str, LogRange]:
        """What the archive has from a log time on; nothing where it does not answer."""
        if self.archive is None:
            return {}
        try:
            return await asyncio.to_thread(self.archive.reach, number, log_time)
        except (RunwayError, OSError) as error:
            _log.warning("Partition %d: the lake does not tell what it has archived: %s", number, error)
            return {}

    async def _downloaded(self, number: int, name: str) -> bool:
        """Downloads a checkpoint beside the partition's folder; False where it is not whole."""
        assert self.checkpoints is not None
        _log.warning("Partition %d: going on from the checkpoint %s.", number, name)
        try:
            await asyncio.to_thread(self.checkpoints.restore, number, name, self.folder / f"{number}{RESTORING}")
        except (RunwayError, OSError) as error:
            _log.warning("Partition %d: the checkpoint %s is passed over: %s", number, name, error)
            return False
        return True

    def positions(self, number: int) -> dict[str, int]:
        """Where the partition's topics go on, by short name."""
        found = self._open[number]
        return {topic: found.partition.next_offset(topic) or 0 for topic in (PREDICTIONS, OUTCOMES)}


def _check_readable(store: PartitionStore) -> None:
    """Lets go of a state that this version does not read, as it is."""
    try:
        if saved := store.read_state():
            PartitionState.decode(saved)
    except Refused:
        store.close()
        raise


def cut_to(batch: RawBatch, expected: int) -> RawBatch:
    """The part of a batch from an offset on: what lies below was already applied.

    >>> cut_to(RawBatch([b"a", b"b"], [3, 4], [0, 0], 5), 4).values
    [b'b']
    """
    if not batch.offsets or batch.offsets[0] >= expected:
        return batch
    first = next((i for i, offset in enumerate(batch.offsets) if offset >= expected), len(batch.offsets))
    return RawBatch(batch.values[first:], batch.offsets[first:], batch.timestamps[first:], batch.next_offset)
