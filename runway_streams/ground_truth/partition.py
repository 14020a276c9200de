"""Partition: the join and the accumulators of one partition of both topics, a pure function of its log.

Batches go in; `commit` hands one `Changes` to the store, offsets included, and what it changed to the outbox. The same
code runs in the worker (over RocksDB), in a rebuild and in replay (over a dict).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from runway_streams import formats
from runway_streams.ground_truth.accumulators import Accumulators
from runway_streams.ground_truth.events import (
    NOT_KEPT,
    BadEvent,
    OutcomeEvent,
    PredictionEvent,
    read_outcomes,
    read_predictions,
)
from runway_streams.ground_truth.join import (
    MARGIN,
    OutcomeHead,
    PredictionHead,
    Row,
    prune,
    take_outcome,
    take_prediction,
)
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.settings import SettingsHistory
from runway_streams.times import HOUR, HOUR_CLOSES_AFTER, LIFE
from schemas.metrics_record import Mark

SWEEP_FACTOR = 2
"""Stored rows looked at for expiry per new one: rows outlive LIFE by at most two thirds of it."""
SWEEP_IDLE = 256

PREDICTIONS, OUTCOMES = "predictions", "outcomes"


class RawBatch(NamedTuple):
    """Consecutive records of one topic-partition. `next_offset` is where the next batch begins; `timestamps` are log
    append times in ms, 0 where they were not believed."""

    values: Sequence[bytes | None]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    next_offset: int


class Changes(NamedTuple):
    """One atomic write: rows and records to put, rows and records to delete, and the state."""

    rows: list[tuple[bytes, bytes]]
    records: list[tuple[bytes, bytes]]
    dead_rows: list[bytes]
    dead_records: list[bytes]
    state: bytes


class Store(Protocol):
    """Where a partition's state lies. A new store is a class with these six methods that passes
    tests/contracts/test_partition_store.py; `write` is atomic and survives the process."""

    def read_state(self) -> bytes | None: ...
    def get_rows(self, keys: list[bytes]) -> list[bytes | None]: ...
    def get_records(self, keys: list[bytes]) -> list[bytes | None]: ...
    def iter_records(self) -> Iterable[tuple[bytes, bytes]]: ...
    def scan_rows(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` rows with keys above `after`, in the order of keys."""
        ...

    def write(self, changes: Changes) -> None: ...


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(Row).decode
_STAMP = slice(1, 10)
"""Where a stored row has its last log time: MessagePack keeps the order of numbers, so the sweep need not decode it."""


class Partition:
    """One partition at work. Feed it batches in offset order, each topic in its own; commit; take the outbox."""

    def __init__(
        self,
        store: Store,
        history: SettingsHistory,
        cluster_id: str = "",
        partitions: int = 0,
        written_in: int | None = None,
    ):
        self.store, self.history = store, history
        saved = store.read_state()
        self.is_new = saved is None
        new = PartitionState(cluster_id=cluster_id, partitions=partitions)
        self.state = PartitionState.decode(saved) if saved else new
        # Never back: what has been written anew is not written as it was.
        self.state.format = max(self.state.format, written_in or formats.WRITTEN) if saved else written_in or formats.WRITTEN
        self.accumulators = Accumulators(store, history, self.state)
        slim, full = self.accumulators.load()
        self.outbox: dict[bytes, bytes] = dict(slim)
        """Records changed since they were last taken: slim ones; after a restart everything open."""
        self.hourly_outbox: dict[bytes, bytes] = dict(full)
        """The same of full ones, which are sent once a minute and when their hour closes."""
        self._rows: dict[bytes, bytes] = {}
        self._new_rows = 0
        self._unreachable = 0
        """Log time before which no event to come can reach a head."""
        self._dead_records: list[bytes] = []
        self._idle_until: dict[str, int] = {}
        self._cursor = b""
        self.uncommitted = 0
        """Events applied since the last commit."""

    # -- the log -------------------------------------------------------------------------------------------------

    def next_offset(self, topic: str) -> int | None:
        """Where this topic goes on; None before its first record."""
        return self.state.offsets.get(topic)

    @property
    def clock(self) -> int:
        """The partition's log time: the lesser of both topics'; 0 until both have spoken or are known to be idle."""
        return min(self._topic_clock(PREDICTIONS), self._topic_clock(OUTCOMES))

    def idle(self, topic: str, until: int) -> None:
        """Tells that a topic was read to its end, so that nothing before log time `until` can come any more."""
        self._idle_until[topic] = max(until, self._idle_until.get(topic, 0))

    def apply(self, topic: str, batch: RawBatch) -> list[BadEvent]:
        """Processes a batch of `predictions` or `outcomes` and returns what could not be used."""
        self._unreachable = self.clock - LIFE - MARGIN
        log_times = self._log_times(topic, batch.timestamps)
        if topic == PREDICTIONS:
            predictions, bad = read_predictions(batch.values, batch.offsets, log_times, self.history)
            self._take_predictions(predictions)
        else:
            outcomes, bad = read_outcomes(batch.values, batch.offsets, log_times)
            self._take_outcomes(outcomes)
        self.state.count(topic, len(batch.values))
        for event in bad:
            self.state.count(f"dead_letters.{event.reason}")
        self.state.offsets[topic] = batch.next_offset
        self.uncommitted += len(batch.values)
        return bad

    def apply_read(self, topic: str, events: Sequence[PredictionEvent] | Sequence[OutcomeEvent], next_offset: int) -> None:
        """Processes events that were read before, as the archive has them. Log hours whose features were not kept are
        incomplete from now on."""
        self._unreachable = self.clock - LIFE - MARGIN
        taken: Any = events
        if taken:
            self.state.log_times[topic] = max(taken[-1].head.log_time, self.state.log_times.get(topic, 0))
        if topic == PREDICTIONS:
            self._take_predictions(taken)
            self.state.mark_incomplete({event.head.log_time // HOUR for event in taken if event.source.features is NOT_KEPT})
        else:
            self._take_outcomes(taken)
        self.state.count(topic, len(taken))
        self.state.offsets[topic] = next_offset
        self.uncommitted += len(taken)

    def count_gap(self, offsets: int) -> None:
        """Counts offsets that the log itself does not have."""
        self.state.count("gaps", offsets)

    # -- the join ------------------------------------------------------------------------------------------------

    def _take_predictions(self, events: list[PredictionEvent]) -> None:
        keys = [event.id.encode() for event in events]
        rows = self._load_rows(keys)
        new: list[PredictionEvent] = []
        predictions: list[PredictionHead] = []
        outcomes: list[OutcomeHead] = []
        conflicts = 0
        for event, key in zip(events, keys, strict=True):
            head = event.head
            verdict, outcome = take_prediction(rows[key], head)
            if outcome is not None:
                new.append(event)
                predictions.append(head)
                outcomes.append(outcome)
            elif verdict == "new":
                new.append(event)
            elif verdict == "conflict":
                conflicts += 1
        self._save_rows(rows)
        self.state.count("duplicates", len(events) - len(new))
        self.state.count("conflicts", conflicts)
        self.accumulators.count_predictions(new)
        self.accumulators.count_pairs(predictions, outcomes)

    def _take_outcomes(self, events: list[OutcomeEvent]) -> None:
        keys = [event.id.encode() for event in events]
        rows = self._load_rows(keys)
        predictions: list[PredictionHead] = []
        outcomes: list[OutcomeHead] = []
        copies = conflicts = 0
        for event, key in zip(events, keys, strict=True):
            head = event.head
            verdict, prediction = take_outcome(rows[key], head)
            if prediction is not None:
                predictions.append(prediction)
                outcomes.append(head)
            elif verdict != "new":
                copies += 1
                conflicts += verdict == "conflict"
        self._save_rows(rows)
        self.state.count("duplicates", copies)
        self.state.count("conflicts", conflicts)
        self.accumulators.count_pairs(predictions, outcomes)

    def _load_rows(self, keys: list[bytes]) -> dict[bytes, Row]:
        """The rows of the keys: what this commit has already touched, else the store's, else new ones."""
        touched = self._rows
        found = {key: touched.get(key) for key in keys}
        missing = [key for key, value in found.items() if value is None]
        if missing:
            found.update(zip(missing, self.store.get_rows(missing), strict=True))
        rows = {key: Row() if value is None else _decode_row(value) for key, value in found.items()}
        for row in rows.values():
            if row.last == 0:
                self._new_rows += 1
            elif len(row.predictions) + len(row.outcomes) > 2:
                self.state.count("unmatched", prune(row, self._unreachable))
        return rows

    def _save_rows(self, rows: dict[bytes, Row]) -> None:
        # As bytes: a commit's worth of objects would take ten times the memory, and the caches with it.
        self._rows.update({key: _encode(row) for key, row in rows.items()})

    # -- committing ----------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Writes all that has changed, offsets included, as one batch, and puts the changed records into the outbox."""
        slim, full = self.accumulators.pack()
        dead_rows = self._sweep(SWEEP_IDLE + SWEEP_FACTOR * self._new_rows)
        self.store.write(Changes(list(self._rows.items()), slim + full, dead_rows, self._dead_records, self.state.encode()))
        self.outbox.update(slim)
        self.hourly_outbox.update(full)
        self._rows.clear()
        self._new_rows = 0
        self._dead_records = []
        self.uncommitted = 0
        self.accumulators.evict()

    def mark(self, topic_names: dict[str, str]) -> Mark:
        """How far the committed state reaches; `topic_names` maps predictions and outcomes to the topics' full names."""
        state = self.state
        offsets = {topic_names[topic]: offset for topic, offset in state.offsets.items()}
        return Mark(
            offsets, self.clock, state.closed_before, dict(state.counters), state.incomplete_hours, state.cluster_id, state.format
        )  # fmt: skip

    def closable(self) -> int:
        """The first log hour that is still open by the clock; those before it can be closed."""
        return max(self.state.closed_before, (self.clock - HOUR_CLOSES_AFTER) // HOUR + 1)

    def close_hours(self, before: int) -> None:
        """Forgets the records of log hours below `before`, once their last values have been emitted."""
        if before > self.state.closed_before:
            self._dead_records += self.accumulators.close(before)

    def _sweep(self, budget: int) -> list[bytes]:
        """Rows whose time has come, from the next stretch of the key space; outcomes that nobody claimed are counted."""
        limit = self.clock - LIFE - MARGIN
        if limit <= 0:
            return []
        found = self.store.scan_rows(self._cursor, budget)
        self._cursor = found[-1][0] if len(found) == budget else b""
        bound = _encode(limit)
        dead = [(key, value) for key, value in found if value[_STAMP] < bound and key not in self._rows]
        for _, value in dead:
            self.state.count("unmatched", sum(not outcome.settled for outcome in _decode_row(value).outcomes))
        self.state.count("expired", len(dead))
        return [key for key, _ in dead]

    # -- small things --------------------------------------------------------------------------------------------

    def _log_times(self, topic: str, timestamps: Sequence[int]) -> list[int]:
        """Log times never run backwards: a leader's clock that steps back is taken at its highest."""
        if not timestamps:
            return []
        before = self.state.log_times.get(topic, 0)
        self.state.count("unbelieved", timestamps.count(0))
        times = np.maximum.accumulate(np.array([before, *timestamps], dtype=np.int64))[1:].tolist()
        self.state.log_times[topic] = times[-1]
        return times

    def _topic_clock(self, topic: str) -> int:
        return max(self.state.log_times.get(topic, 0), self._idle_until.get(topic, 0))
