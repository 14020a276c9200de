"""Accumulators: both tiers of one partition's metrics, and who counts where.

Whole batches come in; each event finds its `Target`, the record that counts it, by one lookup, and the tables add the
batch up as columns. `pack` hands over what has changed since it was last called.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from runway_streams.ground_truth.events import PredictionEvent
from runway_streams.ground_truth.full_table import FullKey, FullTable, Histograms
from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.pairs import read_pairs
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.records import full_key, parse_key, slim_key
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.ground_truth.slim import INDEX
from runway_streams.ground_truth.slim_table import OTHER, Ints, SlimKey, SlimTable
from runway_streams.ground_truth.times import BIN, BINS_PER_HOUR, HOUR

MAX_OPEN = 50_000
"""Open hour records of a partition; what comes beyond is counted under `__other__`, loudly."""
MAX_SEGMENT_VALUES = 64
"""Undeclared segment values that a model keeps in a log hour; an overflow marks the model's hour partial."""
MAX_IN_MEMORY = 16_384
"""Slim records of a partition held in memory; the others wait in the store."""
MAX_CELLS = 8 << 20
"""The same of full records, in cells of 8 bytes: some 12,000 of ten features each."""

Records = list[tuple[bytes, bytes]]


class RecordStore(Protocol):
    """The part of a store that holds records."""

    def get_records(self, keys: list[bytes]) -> list[bytes | None]: ...
    def iter_records(self) -> Iterable[tuple[bytes, bytes]]: ...


class Target:
    """Where an event counts: its slim record's number, its histograms once something was counted there, and the
    settings that are in force for log times of [since, until)."""

    __slots__ = ("histograms", "key", "number", "own", "settings", "since", "until")

    def __init__(self, key: tuple, number: int, own: bool, span: tuple[Settings, int, int]):
        self.key, self.number, self.own = key, number, own
        self.settings, self.since, self.until = span
        self.histograms: Histograms | None = None

    @property
    def keeps_histograms(self) -> bool:
        """Totals and declared segments do; what has no record of its own does not."""
        return self.own and (not self.key[2] or self.key[2] in self.settings.segments)


class Entries(NamedTuple):
    """Who counts what: entry i adds prediction number `source[i]` to `targets[i]`, in bin `bins[i]`. `totals` has the target
    of each prediction's total; `partial` are the entries whose prediction has segment values that are not kept."""

    targets: list[Target]
    bins: Ints
    source: list[int]
    totals: list[Target]
    partial: list[int]

    @property
    def numbers(self) -> Ints:
        return np.array([target.number for target in self.targets])


class Accumulators:
    """The open records of a partition; below its state's `closed_before` nothing counts any more."""

    def __init__(self, store: RecordStore, history: SettingsHistory, state: PartitionState):
        self._store, self._history, self._state = store, history, state
        self._slim, self._full = SlimTable(), FullTable()
        self._void = self._slim.create(SlimKey("", "", "", "", 0, -1))
        """Takes what belongs to closed hours; never written."""
        self._open: set[tuple] = set()
        self._open_full: set[FullKey] = set()
        self._segments: dict[tuple[str, int], set[tuple[str, str]]] = {}
        self._targets: dict[tuple, Target] = {}
        self._touched: list[Target] = []
        """All targets since the last pack: also those that a change of settings has replaced."""
        self._revision = history.revision
        self._tick = 0

    def __len__(self) -> int:
        return len(self._slim)

    # -- counting ------------------------------------------------------------------------------------------------

    def count_predictions(self, events: Sequence[PredictionEvent]) -> None:
        """Counts new predictions, and their features and scores where their model has a reference profile."""
        if not events:
            return
        entries = self._entries(events, admit=True)
        self._slim.add_predictions(entries.numbers, entries.bins)
        for i in entries.partial:
            self._slim.partial[entries.targets[i].number] = True
        records, sources = self._histograms(entries, [target.settings.profile is not None for target in entries.totals])
        if records:
            counted = [events[i] for i in sources]
            self._full.add_features(records, [event.source.features for event in counted])
            self._full.add_profile_scores(records, [e.value if e.score is None else e.score for e in counted])

    def count_pairs(self, predictions: Sequence[PredictionHead], outcomes: Sequence[OutcomeHead]) -> None:
        """Counts matched pairs by their delay: joined ones with all that they say, late and early ones as such."""
        if not predictions:
            return
        entries = self._entries(predictions, admit=False)
        source = np.array(entries.source)
        delays = np.array([o.time - p.time for p, o in zip(predictions, outcomes, strict=True)])
        windows = np.array([target.settings.window for target in entries.totals])
        early, late = delays < 0, delays > windows
        joined = ~(early | late)
        for status, those in (("joined", joined), ("late", late), ("early", early)):
            self._state.count(status, int(np.count_nonzero(those)))
        fields = np.where(joined, INDEX["joined"], np.where(late, INDEX["late"], INDEX["early"]))
        numbers = entries.numbers
        self._slim.add_outcomes(numbers, entries.bins, fields[source], delays[source])
        self._add_joined(predictions, outcomes, entries, numbers, joined)

    def _add_joined(
        self,
        predictions: Sequence[PredictionHead],
        outcomes: Sequence[OutcomeHead],
        entries: Entries,
        numbers: Ints,
        joined: np.ndarray,
    ) -> None:
        """Adds what joined pairs say to both tiers; late and early ones say nothing."""
        if not joined.any():
            return
        pairs = read_pairs(predictions, outcomes, [target.settings for target in entries.totals])
        source = np.array(entries.source)
        at = np.flatnonzero(joined[source])
        counted = source[at]
        self._slim.add_pairs(numbers[at], entries.bins[at], pairs.measures.take(counted))
        predicted, actual = pairs.labels
        self._slim.add_confusion(
            numbers[at].tolist(),
            entries.bins[at].tolist(),
            [(predicted[i], actual[i]) for i in counted.tolist()],
        )
        records, sources = self._histograms(entries, (joined & pairs.has_histograms).tolist())
        if records:
            self._full.add_pairs(records, np.array(sources), pairs)

    def _entries(self, heads: Sequence[PredictionEvent | PredictionHead], admit: bool) -> Entries:
        """Which records count each prediction: its total's, and those of its segments that are kept."""
        if self._revision != self._history.revision:
            self._targets.clear()
            self._revision = self._history.revision
        targets: list[Target] = []
        bins: list[int] = []
        source: list[int] = []
        totals: list[Target] = []
        partial: list[int] = []
        find = self._targets.get
        for i, head in enumerate(heads):
            time, log_time = head.time, head.log_time
            bin = time // BIN
            key = (head.model, head.version, "", "", bin // BINS_PER_HOUR, log_time // HOUR)
            target = find(key)
            if target is None or not target.since <= log_time < target.until:
                target = self._target(key, log_time, admit)
            totals.append(target)
            targets.append(target)
            bins.append(bin % BINS_PER_HOUR)
            source.append(i)
            if head.segment:
                kept = self._admitted(head.segment, target.settings, key[5], admit)
                if len(kept) < len(head.segment):
                    partial.append(len(targets) - 1)
                for name, value in kept:
                    segment = (head.model, head.version, name, value, *key[4:])
                    found = find(segment)
                    if found is None or not found.since <= log_time < found.until:
                        found = self._target(segment, log_time, admit)
                    targets.append(found)
                bins += [bin % BINS_PER_HOUR] * len(kept)
                source += [i] * len(kept)
        return Entries(targets, np.array(bins), source, totals, partial)

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
                    self._state.count("segments_dropped")
                    continue
                seen.add(pair)
            kept.append(pair)
        return kept

    # -- targets -------------------------------------------------------------------------------------------------

    def _target(self, key: tuple, log_time: int, create: bool) -> Target:
        """The record of a key: in memory, waiting in the store, or new where `create` and room are."""
        own = key[5] >= self._state.closed_before
        number: int | None
        if not own:
            # In a rebuild the hours before it were emitted by an earlier owner, and stay as they are.
            number = self._void
        elif (number := self._own_number(key, create)) is None:
            number, own = self._other(key[5]), False
        target = Target(key, number, own, self._history.span(key[0], log_time))
        self._touched.append(target)
        if own:
            self._targets[key] = target
        return target

    def _own_number(self, key: tuple, create: bool) -> int | None:
        number = self._slim.index.get(key)
        if number is not None:
            return number
        if key in self._open:
            return self._slim.create(SlimKey(*key), self._store.get_records([slim_key(*key)])[0])
        if not create or len(self._open) >= MAX_OPEN:
            return None
        self._open.add(key)
        return self._slim.create(SlimKey(*key))

    def _other(self, log_hour: int) -> int:
        """The record that counts what has no room of its own: one a log hour, for event hours have no bound."""
        self._state.count("other")
        key = SlimKey(OTHER, "", "", "", log_hour, log_hour)
        number = self._slim.index.get(key)
        if number is None:
            record = self._store.get_records([slim_key(*key)])[0] if key in self._open else None
            self._open.add(key)
            number = self._slim.create(key, record)
        return number

    def _histograms(self, entries: Entries, wanted: Sequence[bool]) -> tuple[list[Histograms], list[int]]:
        """The histograms of the wanted predictions' totals and declared segments, and which prediction each counts."""
        records: list[Histograms] = []
        sources: list[int] = []
        for target, i in zip(entries.targets, entries.source, strict=True):
            if wanted[i]:
                record = target.histograms or self._histograms_of(target)
                if record is not None:
                    records.append(record)
                    sources.append(i)
        return records, sources

    def _histograms_of(self, target: Target) -> Histograms | None:
        if not target.keeps_histograms:
            return None
        key = FullKey(SlimKey(*target.key), self._full.digest_of(target.settings))
        record = self._full.index.get(key)
        if record is None:
            saved = self._store.get_records([full_key(*key.slim, key.digest)])[0] if key in self._open_full else None
            self._open_full.add(key)
            record = self._full.create(key, target.settings, saved)
        target.histograms = record
        return record

    # -- what has changed ----------------------------------------------------------------------------------------

    def pack(self) -> tuple[Records, Records]:
        """The slim and the full records that have changed since the last time, as they are stored and sent."""
        self._tick += 1
        numbers = {target.number for target in self._touched}
        numbers.discard(self._void)
        histograms = {target.histograms for target in self._touched if target.histograms is not None}
        self._touched = []
        self._targets.clear()
        return self._pack_slim(np.array(sorted(numbers), dtype=np.int64)), self._pack_full(list(histograms))

    def _pack_slim(self, numbers: Ints) -> Records:
        if not len(numbers):
            return []
        self._slim.touched[numbers] = self._tick
        keys = [slim_key(*self._slim.keys[number]) for number in numbers]  # type: ignore[misc]
        return list(zip(keys, self._slim.pack(numbers), strict=True))

    def _pack_full(self, changed: list[Histograms]) -> Records:
        for record in changed:
            record.touched = self._tick
        keys = [full_key(*record.key.slim, record.key.digest) for record in changed]
        return list(zip(keys, self._full.pack(changed), strict=True))

    def evict(self) -> None:
        """Lets go of the records that were touched longest ago. All must have been packed and stored."""
        assert not self._touched, "Records may leave memory only when all that changed is in the store."
        surplus = len(self._slim) - MAX_IN_MEMORY
        if surplus > 0:
            numbers = np.fromiter(self._slim.index.values(), dtype=np.int64, count=len(self._slim))
            oldest = numbers[np.argpartition(self._slim.touched[numbers], surplus)[:surplus]]
            for number in oldest.tolist():
                if number != self._void:
                    self._slim.drop(number)
        if self._full.size > MAX_CELLS:
            for record in sorted(self._full.index.values(), key=lambda record: record.touched):
                if self._full.size <= MAX_CELLS:
                    break
                self._full.drop(record)

    def close(self, before: int) -> list[bytes]:
        """Forgets the records of log hours below `before`; returns their keys, which are to be deleted."""
        dead = []
        for key in [key for key in self._open if key[5] < before]:
            self._open.discard(key)
            dead.append(slim_key(*key))
            number = self._slim.index.get(key)
            if number is not None:
                self._slim.drop(number)
        for named in [named for named in self._open_full if named.slim.log_hour < before]:
            self._open_full.discard(named)
            dead.append(full_key(*named.slim, named.digest))
            record = self._full.index.get(named)
            if record is not None:
                self._full.drop(record)
        self._touched = [target for target in self._touched if target.key[5] >= before]
        self._targets.clear()
        self._segments = {key: seen for key, seen in self._segments.items() if key[1] >= before}
        self._state.closed_before = before
        return dead

    def load(self) -> tuple[Records, Records]:
        """Learns which records are open from the store, and returns them all: after a restart they are sent again."""
        slim: Records = []
        full: Records = []
        for raw, value in self._store.iter_records():
            found = parse_key(raw)
            assert found is not None, f"The store holds a record with the key {raw!r}."
            key = SlimKey(
                found.model, found.version, found.segment_key, found.segment_value, found.event_hour, found.log_hour
            )
            if found.kind == "slim":
                self._open.add(key)
                self._remember_segment(key)
                slim.append((raw, value))
            else:
                self._open_full.add(FullKey(key, found.digest))
                full.append((raw, value))
        return slim, full

    def _remember_segment(self, key: SlimKey) -> None:
        """Undeclared at either end of its hour: it may have taken one of the places of undeclared values."""
        hour = key.log_hour * HOUR
        ends = [self._history.at(key.model, at) for at in (hour, hour + HOUR - 1)]
        if key.segment_key and any(key.segment_key not in settings.segments for settings in ends):
            self._segments.setdefault((key.model, key.log_hour), set()).add((key.segment_key, key.segment_value))
