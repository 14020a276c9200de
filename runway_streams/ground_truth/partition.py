"""Partition: the join and the accumulators of one partition of both topics, a pure function of its log.

Batches go in; `commit` hands one `Changes` to the store, offsets included, and what it changed to the outbox. The same
code runs in the worker (over RocksDB), in a rebuild and in replay (over a dict).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Struct

from runway_streams.ground_truth.events import BadEvent, OutcomeEvent, PredictionEvent, read_outcomes, read_predictions
from runway_streams.ground_truth.full_table import FullKey, FullTable, Histograms
from runway_streams.ground_truth.join import (
    MARGIN,
    OutcomeHead,
    PredictionHead,
    Row,
    Status,
    prune,
    status_of,
    take_outcome,
    take_prediction,
)
from runway_streams.ground_truth.pairs import JoinedPair, columns, truth_of
from runway_streams.ground_truth.records import full_key, parse_key, slim_key
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.ground_truth.slim import INDEX
from runway_streams.ground_truth.slim_table import OTHER, Ints, SlimKey, SlimTable
from runway_streams.ground_truth.times import BIN, BINS_PER_HOUR, HOUR, HOUR_CLOSES_AFTER, LIFE
from schemas.metrics_record import Mark

FORMAT = 1
MAX_OPEN = 50_000
"""Open hour records of a partition; what comes beyond is counted under `__other__`, loudly."""
MAX_SEGMENT_VALUES = 64
"""Undeclared segment values that a model keeps in a log hour; an overflow marks the model's hour partial."""
MAX_IN_MEMORY = 16_384
"""Hour records of a partition held in memory; the others wait in the store."""
SWEEP_FACTOR = 2
"""Stored rows looked at for expiry per new one: rows outlive LIFE by at most two thirds of it."""
SWEEP_IDLE = 256

PREDICTIONS, OUTCOMES = "predictions", "outcomes"
_STATUS_FIELD: dict[Status, int] = {"joined": INDEX["joined"], "late": INDEX["late"], "early": INDEX["early"]}


class RawBatch(NamedTuple):
    """Consecutive records of one topic-partition. `next_offset` is where the next batch begins; `timestamps` are log
    append times in ms."""

    values: Sequence[bytes | None]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    next_offset: int


class PartitionState(Struct):
    """What a partition knows besides rows and records; written with them in one batch."""

    format: int = FORMAT
    cluster_id: str = ""
    partitions: int = 0
    offsets: dict[str, int] = {}
    log_times: dict[str, int] = {}
    counters: dict[str, int] = {}
    closed_before: int = 0
    incomplete_hours: list[int] = []


class Entries(NamedTuple):
    """Who counts what: entry i adds prediction number `source[i]` to the record of `keys[i]`, in bin `bins[i]`; `partial`
    are the entries whose prediction has segment values that are not kept."""

    keys: list[tuple]
    bins: Ints
    source: list[int]
    partial: list[int]


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
_decode_state = msgspec.msgpack.Decoder(PartitionState).decode
_STAMP = slice(1, 10)
"""Where a stored row has its last log time: MessagePack keeps the order of numbers, so the sweep need not decode it."""


class Partition:
    """One partition at work. Feed it batches in offset order, each topic in its own; commit; take the outbox."""

    def __init__(self, store: Store, history: SettingsHistory, cluster_id: str = "", partitions: int = 0):
        self.store, self.history = store, history
        saved = store.read_state()
        self.is_new = saved is None
        self.state = _decode_state(saved) if saved else PartitionState(cluster_id=cluster_id, partitions=partitions)
        self.outbox: dict[bytes, bytes] = {}
        """Records changed since they were last taken: slim ones."""
        self.hourly_outbox: dict[bytes, bytes] = {}
        """The same of full ones, which are sent once a minute and when their hour closes."""
        self._slim, self._full = SlimTable(), FullTable()
        self._void = self._slim.create(SlimKey("", "", "", "", 0, -1))
        """Takes what belongs to closed hours; never written."""
        self._open: set[SlimKey] = set()
        self._open_full: set[FullKey] = set()
        self._segments: dict[tuple[str, int], set[tuple[str, str]]] = {}
        self._rows: dict[bytes, Row] = {}
        self._new_rows = 0
        self._unreachable = 0
        """Log time before which no event to come can reach a head."""
        self._changed_slim: set[int] = set()
        self._changed_full: set[Histograms] = set()
        self._latest: dict[int, Histograms] = {}
        """The histograms last used beside each slim record, since the last commit."""
        self._dead_records: list[bytes] = []
        self._idle_until: dict[str, int] = {}
        self._cursor = b""
        self._tick = 0
        self.uncommitted = 0
        """Events applied since the last commit."""
        self._load_open()

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
        self._count(topic, len(batch.values))
        for event in bad:
            self._count(f"dead_letters.{event.reason}")
        self.state.offsets[topic] = batch.next_offset
        self.uncommitted += len(batch.values)
        return bad

    def count_gap(self, offsets: int) -> None:
        """Counts offsets that the log itself does not have."""
        self._count("gaps", offsets)

    # -- the join ------------------------------------------------------------------------------------------------

    def _take_predictions(self, events: list[PredictionEvent]) -> None:
        rows = self._load_rows([event.id.encode() for event in events])
        new: list[PredictionEvent] = []
        pairs: list[tuple[PredictionHead, OutcomeHead]] = []
        conflicts = 0
        for event, row in zip(events, rows, strict=True):
            head = _prediction_head(event)
            verdict, outcome = take_prediction(row, head)
            if verdict == "new":
                new.append(event)
            elif outcome is not None:
                new.append(event)
                pairs.append((head, outcome))
            elif verdict == "conflict":
                conflicts += 1
        self._count("duplicates", len(events) - len(new))
        self._count("conflicts", conflicts)
        self._count_predictions(new)
        self._count_pairs(pairs)

    def _take_outcomes(self, events: list[OutcomeEvent]) -> None:
        rows = self._load_rows([event.id.encode() for event in events])
        pairs: list[tuple[PredictionHead, OutcomeHead]] = []
        new = conflicts = 0
        for event, row in zip(events, rows, strict=True):
            head = OutcomeHead(event.log_time, event.digest, False, event.time, event.label, event.value)
            verdict, prediction = take_outcome(row, head)
            if prediction is not None:
                new += 1
                pairs.append((prediction, head))
            elif verdict == "new":
                new += 1
            elif verdict == "conflict":
                conflicts += 1
        self._count("duplicates", len(events) - new)
        self._count("conflicts", conflicts)
        self._count_pairs(pairs)

    def _load_rows(self, keys: list[bytes]) -> list[Row]:
        """The rows of the keys, the overlay of what this commit has already touched before the store."""
        rows = self._rows
        missing = list({key for key in keys if key not in rows})
        if missing:
            for key, value in zip(missing, self.store.get_rows(missing), strict=True):
                if value is None:
                    rows[key] = Row()
                    self._new_rows += 1
                else:
                    rows[key] = row = _decode_row(value)
                    if len(row.predictions) + len(row.outcomes) > 2:
                        self._count("unmatched", prune(row, self._unreachable))
        return [rows[key] for key in keys]

    # -- the accumulators ----------------------------------------------------------------------------------------

    def _count_predictions(self, events: list[PredictionEvent]) -> None:
        if not events:
            return
        settings = [event.settings for event in events]
        entries = self._entries(events, settings, admit=True)
        numbers = self._slim_numbers(entries.keys, create=True)
        self._slim.add_predictions(numbers, entries.bins)
        for i in entries.partial:
            self._slim.partial[numbers[i]] = True
        profiled = [own.profile is not None for own in settings]
        if any(profiled):
            records, sources = self._histograms_of(entries, numbers, settings, profiled)
            counted = [events[i] for i in sources]
            self._full.add_features(records, [event.source.features for event in counted])
            self._full.add_profile_scores(records, [_signal(event.score, event.value) for event in counted])

    def _count_pairs(self, matched: list[tuple[PredictionHead, OutcomeHead]]) -> None:
        if not matched:
            return
        heads = [prediction for prediction, _ in matched]
        settings = [self.history.at(head.model, head.log_time) for head in heads]
        delays = [outcome.time - prediction.time for prediction, outcome in matched]
        statuses = [status_of(delay, own.window) for delay, own in zip(delays, settings, strict=True)]
        for status in _STATUS_FIELD:
            self._count(status, statuses.count(status))
        entries = self._entries(heads, settings, admit=False)
        source = np.array(entries.source)
        numbers = self._slim_numbers(entries.keys, create=False)
        fields = np.array([_STATUS_FIELD[status] for status in statuses])[source]
        self._slim.add_outcomes(numbers, entries.bins, fields, np.array(delays)[source])
        pairs = [
            truth_of(*pair, own) if status == "joined" else None
            for pair, own, status in zip(matched, settings, statuses, strict=True)
        ]
        self._add_pairs(pairs, entries, settings, numbers)

    def _add_pairs(self, pairs: list[JoinedPair | None], entries: Entries, settings: list[Settings], numbers: Ints) -> None:
        """Adds what the joined pairs say to both tiers; a pair that is None was late or early, and says nothing."""
        joined = [pair for pair in pairs if pair is not None]
        if not joined:
            return
        is_joined = np.array([pair is not None for pair in pairs])
        source = np.array(entries.source)
        at = np.flatnonzero(is_joined[source])
        place = np.cumsum(is_joined) - 1
        pair_of = place[source[at]]
        self._slim.add_pairs(numbers[at], entries.bins[at], columns(joined).take(pair_of))
        told = [(i, labels) for i, j in zip(at, pair_of, strict=True) if (labels := joined[j].labels) is not None]
        if told:
            labelled = [i for i, _ in told]
            self._slim.add_confusion(
                numbers[labelled].tolist(), entries.bins[labelled].tolist(), [labels for _, labels in told]
            )
        wanted = [pair is not None and pair.has_histograms for pair in pairs]
        records, sources = self._histograms_of(entries, numbers, settings, wanted)
        self._full.add_pairs(records, [joined[place[i]] for i in sources])

    def _entries(
        self, heads: Sequence[PredictionEvent | PredictionHead], settings: Sequence[Settings], admit: bool
    ) -> Entries:
        """Which records count each prediction: its total's, and those of its segments that are kept."""
        keys: list[tuple] = []
        bins: list[int] = []
        source: list[int] = []
        partial: list[int] = []
        for i, head in enumerate(heads):
            time = head.time
            hour, log_hour = time // HOUR, head.log_time // HOUR
            bin = time // BIN % BINS_PER_HOUR
            keys.append((head.model, head.version, "", "", hour, log_hour))
            bins.append(bin)
            source.append(i)
            if head.segment:
                kept = self._admitted(head.segment, settings[i], log_hour, admit)
                if len(kept) < len(head.segment):
                    partial.append(len(keys) - 1)
                keys += [(head.model, head.version, name, value, hour, log_hour) for name, value in kept]
                bins += [bin] * len(kept)
                source += [i] * len(kept)
        return Entries(keys, np.array(bins), source, partial)

    def _admitted(self, segment: Iterable, settings: Settings, log_hour: int, admit: bool) -> list[tuple[str, str]]:
        """The (key, value) pairs of a segment that are kept: declared keys, and the first undeclared values of an hour."""
        kept = []
        seen: set[tuple[str, str]] | None = None
        for name, value in segment:
            if name in settings.segments:
                kept.append((name, value))
                continue
            if seen is None:
                seen = self._segments.setdefault((settings.model_id, log_hour), set())
            pair = (name, value)
            if pair not in seen:
                if not admit or len(seen) >= MAX_SEGMENT_VALUES:
                    self._count("segments_dropped")
                    continue
                seen.add(pair)
            kept.append(pair)
        return kept

    def _slim_numbers(self, keys: list[tuple], create: bool) -> np.ndarray:
        """The records' numbers; those that wait in the store are loaded, new ones created where `create` and room are."""
        index = self._slim.index
        found = [index.get(key, -1) for key in keys]
        if -1 in found:
            closed = self.state.closed_before
            missing = dict.fromkeys(key for key, number in zip(keys, found, strict=True) if number < 0)
            self._bring([key for key in missing if key[5] >= closed], create)
            found = [self._number(key, closed) for key in keys]
        self._changed_slim.update(found)
        self._changed_slim.discard(self._void)
        return np.array(found)

    def _number(self, key: tuple, closed: int) -> int:
        if key[5] < closed:
            # In a rebuild the hours before it were emitted by an earlier owner, and stay as they are.
            return self._void
        number = self._slim.index.get(key)
        return self._other(key) if number is None else number

    def _bring(self, keys: Iterable[tuple], create: bool) -> None:
        known = [SlimKey(*key) for key in keys if key in self._open]
        if known:
            for key, record in zip(known, self.store.get_records([slim_key(*key) for key in known]), strict=True):
                self._slim.create(key, record)
        if not create:
            return
        for raw in keys:
            if raw not in self._open and len(self._open) < MAX_OPEN:
                key = SlimKey(*raw)
                self._open.add(key)
                self._slim.create(key)

    def _other(self, key: tuple) -> int:
        """The record that counts what has no room of its own: one a log hour, for event hours have no bound."""
        self._count("other")
        other = SlimKey(OTHER, "", "", "", key[5], key[5])
        number = self._slim.index.get(other)
        if number is None:
            record = self.store.get_records([slim_key(*other)])[0] if other in self._open else None
            self._open.add(other)
            number = self._slim.create(other, record)
        return number

    def _histograms_of(
        self, entries: Entries, numbers: Ints, settings: Sequence[Settings], wanted: Sequence[bool]
    ) -> tuple[list[Histograms], list[int]]:
        """The histograms of the wanted predictions' totals and declared segments, and which prediction each counts."""
        latest = self._latest
        records: list[Histograms] = []
        sources: list[int] = []
        for key, number, i in zip(entries.keys, numbers.tolist(), entries.source, strict=True):
            if not wanted[i] or (key[2] and key[2] not in settings[i].segments):
                continue
            record = latest.get(number)
            if record is None or record.settings is not settings[i]:
                record = self._histograms(key, settings[i])
                if record is None:
                    continue
                latest[number] = record
            records.append(record)
            sources.append(i)
        self._changed_full.update(records)
        return records, sources

    def _histograms(self, slim: tuple, settings: Settings) -> Histograms | None:
        """Those of one slim record; None where that has no room of its own or its hour is closed."""
        if slim not in self._slim.index:
            return None
        key = FullKey(SlimKey(*slim), self._full.digest_of(settings))
        record = self._full.index.get(key)
        if record is None:
            saved = self.store.get_records([full_key(*key.slim, key.digest)])[0] if key in self._open_full else None
            self._open_full.add(key)
            record = self._full.create(key, settings, saved)
        return record

    # -- committing ----------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Writes all that has changed, offsets included, as one batch, and puts the changed records into the outbox."""
        slim, full = self._pack_slim(), self._pack_full()
        rows = [(key, _encode(row)) for key, row in self._rows.items()]
        dead_rows = self._sweep(SWEEP_IDLE + SWEEP_FACTOR * self._new_rows)
        self.store.write(Changes(rows, slim + full, dead_rows, self._dead_records, _encode(self.state)))
        self.outbox.update(slim)
        self.hourly_outbox.update(full)
        self._rows.clear()
        self._new_rows = 0
        self._latest.clear()
        self._dead_records = []
        self.uncommitted = 0
        self._evict()

    def mark(self, topic_names: dict[str, str]) -> Mark:
        """How far the committed state reaches; `topic_names` maps predictions and outcomes to the topics' full names."""
        state = self.state
        offsets = {topic_names[topic]: offset for topic, offset in state.offsets.items()}
        return Mark(offsets, self.clock, state.closed_before, dict(state.counters), state.incomplete_hours, state.cluster_id)

    def closable(self) -> int:
        """The first log hour that is still open by the clock; those before it can be closed."""
        return max(self.state.closed_before, (self.clock - HOUR_CLOSES_AFTER) // HOUR + 1)

    def close_hours(self, before: int) -> None:
        """Forgets the records of log hours below `before`, once their last values have been emitted."""
        if before <= self.state.closed_before:
            return
        for key in [key for key in self._open if key.log_hour < before]:
            self._open.discard(key)
            self._dead_records.append(slim_key(*key))
            number = self._slim.index.get(key)
            if number is not None:
                self._slim.drop(number)
                self._changed_slim.discard(number)
        for named in [named for named in self._open_full if named.slim.log_hour < before]:
            self._open_full.discard(named)
            self._dead_records.append(full_key(*named.slim, named.digest))
            record = self._full.index.get(named)
            if record is not None:
                self._full.drop(record)
                self._changed_full.discard(record)
        self._latest.clear()
        self._segments = {key: seen for key, seen in self._segments.items() if key[1] >= before}
        self.state.closed_before = before

    def _pack_slim(self) -> list[tuple[bytes, bytes]]:
        numbers = np.array(sorted(self._changed_slim), dtype=np.int64)
        if not len(numbers):
            return []
        self._tick += 1
        self._slim.touched[numbers] = self._tick
        self._changed_slim = set()
        keys = [slim_key(*self._slim.keys[number]) for number in numbers]  # type: ignore[misc]
        return list(zip(keys, self._slim.pack(numbers), strict=True))

    def _pack_full(self) -> list[tuple[bytes, bytes]]:
        changed = list(self._changed_full)
        self._changed_full = set()
        for record in changed:
            record.touched = self._tick
        keys = [full_key(*record.key.slim, record.key.digest) for record in changed]
        return list(zip(keys, self._full.pack(changed), strict=True))

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
            self._count("unmatched", sum(not outcome.settled for outcome in _decode_row(value).outcomes))
        self._count("expired", len(dead))
        return [key for key, _ in dead]

    def _evict(self) -> None:
        """Lets go of the records that were touched longest ago; all are saved at this point."""
        surplus = len(self._slim) - MAX_IN_MEMORY
        if surplus > 0:
            numbers = np.fromiter(self._slim.index.values(), dtype=np.int64, count=len(self._slim))
            oldest = numbers[np.argpartition(self._slim.touched[numbers], surplus)[:surplus]]
            for number in oldest.tolist():
                if number != self._void:
                    self._slim.drop(number)
        surplus = len(self._full.index) - MAX_IN_MEMORY // 4
        if surplus > 0:
            for record in sorted(self._full.index.values(), key=lambda record: record.touched)[:surplus]:
                self._full.drop(record)

    # -- small things --------------------------------------------------------------------------------------------

    def _load_open(self) -> None:
        """After a restart everything open is sent again, straight from the store."""
        for key, value in self.store.iter_records():
            found = parse_key(key)
            assert found is not None, f"The store holds a record with the key {key!r}."
            slim = SlimKey(
                found.model, found.version, found.segment_key, found.segment_value, found.event_hour, found.log_hour
            )
            if found.kind == "slim":
                self._open.add(slim)
                self.outbox[key] = value
                self._remember_segment(slim)
            else:
                self._open_full.add(FullKey(slim, found.digest))
                self.hourly_outbox[key] = value

    def _remember_segment(self, key: SlimKey) -> None:
        """Undeclared at either end of its hour: it may have taken one of the places of undeclared values."""
        hour = key.log_hour * HOUR
        ends = [self.history.at(key.model, at) for at in (hour, hour + HOUR - 1)]
        if key.segment_key and any(key.segment_key not in settings.segments for settings in ends):
            self._segments.setdefault((key.model, key.log_hour), set()).add((key.segment_key, key.segment_value))

    def _log_times(self, topic: str, timestamps: Sequence[int]) -> list[int]:
        """Log times never run backwards: a leader's clock that steps back is taken at its highest."""
        if not timestamps:
            return []
        before = self.state.log_times.get(topic, 0)
        times = np.maximum.accumulate(np.array([before, *timestamps], dtype=np.int64))[1:].tolist()
        self.state.log_times[topic] = times[-1]
        return times

    def _topic_clock(self, topic: str) -> int:
        return max(self.state.log_times.get(topic, 0), self._idle_until.get(topic, 0))

    def _count(self, name: str, n: int = 1) -> None:
        if n:
            self.state.counters[name] = self.state.counters.get(name, 0) + n


def _prediction_head(event: PredictionEvent) -> PredictionHead:
    interval = None if event.lower is None or event.upper is None else (event.lower, event.upper)
    return PredictionHead(
        event.log_time, event.digest, False, event.time, event.model, event.version,
        event.label, event.score, event.value, event.segment, interval, event.scores,
    )  # fmt: skip


def _signal(score: float | None, value: float | None) -> float | None:
    return value if score is None else score
