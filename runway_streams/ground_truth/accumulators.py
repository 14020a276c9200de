"""Accumulators: both tiers of one partition's metrics, and who counts where.

Whole batches come in; each event finds its `Target`, the record that counts it, by one lookup, and the tables add the
batch up as columns. `pack` hands over what has changed since it was last called.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from runway_streams.ground_truth.events import NOT_KEPT, PredictionEvent
from runway_streams.ground_truth.full_table import FullKey, FullTable, Histograms
from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.pairs import Bools, JoinedPairs, read_pairs
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.records import full_key, parse_key, slim_key
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.ground_truth.slim import INDEX
from runway_streams.ground_truth.slim_table import OTHER, Ints, SlimKey, SlimTable
from runway_streams.times import BIN, BINS_PER_HOUR, HOUR

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
    def holds_all_hour(self) -> bool:
        """Whether it is the one for each log time of its log hour."""
        first = self.key[5] * HOUR
        return self.own and self.since <= first and first + HOUR <= self.until

    @property
    def keeps_histograms(self) -> bool:
        """Totals and declared segments do; what has no record of its own does not."""
        return self.own and (not self.key[2] or self.key[2] in self.settings.segments)


class Entries(NamedTuple):
    """Who counts what: entry i adds prediction number `source[i]` to `targets[i]`, in bin `bins[i]`. The first entries are
    the predictions' totals, in their order; `partial` are those whose prediction has segment values that are not kept."""

    targets: list[Target]
    totals: list[Target]
    bins: Ints
    source: Ints
    partial: list[int]

    @property
    def numbers(self) -> Ints:
        """The slim record of each entry."""
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
        """By the record's key; totals also by (model, version, event hour, log hour), where one holds for the whole hour."""
        self._kept: dict[tuple[Target, tuple], list[Target]] = {}
        """By a total and a whole segment: the targets of its values, where all are kept and hold for the whole hour."""
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
        heads = [event.head for event in events]
        entries = self._entries(heads, admit=True)
        self._slim.add_predictions(entries.numbers, entries.bins)
        for i in entries.partial:
            self._slim.partial[entries.targets[i].number] = True
        profiled = np.array([target.settings.profile is not None for target in entries.totals])
        records, source = self._histograms(entries, profiled)
        if records:
            counted = source.tolist()
            self._full.add_features(*_known(records, [events[i].source.features for i in counted]))
            self._full.add_profile_scores(records, [heads[i] for i in counted])

    def count_pairs(self, predictions: Sequence[PredictionHead], outcomes: Sequence[OutcomeHead]) -> None:
        """Counts matched pairs by their delay: joined ones with all that they say, late and early ones as such."""
        if not predictions:
            return
        entries = self._entries(predictions, admit=False)
        delays = np.array([o.time - p.time for p, o in zip(predictions, outcomes, strict=True)])
        windows = np.array([target.settings.window for target in entries.totals])
        early, late = delays < 0, delays > windows
        joined = ~(early | late)
        for status, those in (("joined", joined), ("late", late), ("early", early)):
            self._state.count(status, int(np.count_nonzero(those)))
        fields = np.where(joined, INDEX["joined"], np.where(late, INDEX["late"], INDEX["early"]))
        source = entries.source
        numbers = entries.numbers
        self._slim.add_outcomes(numbers, entries.bins, fields[source], delays[source])
        if joined.any():
            pairs = read_pairs(predictions, outcomes, [target.settings for target in entries.totals])
            self._add_joined(pairs, joined, entries, numbers)

    def _add_joined(self, pairs: JoinedPairs, joined: Bools, entries: Entries, numbers: Ints) -> None:
        """Adds what joined pairs say to both tiers; late and early ones say nothing."""
        at = np.flatnonzero(joined[entries.source])
        source, numbers, bins = entries.source[at], numbers[at], entries.bins[at]
        self._slim.add_pairs(numbers, bins, pairs.measures.take(source))
        labels = pairs.labels
        self._slim.add_confusion(numbers.tolist(), bins.tolist(), [labels[i] for i in source.tolist()])
        records, source = self._histograms(entries, joined & pairs.has_histograms)
        if records:
            self._full.add_pairs(records, source, pairs)

    def _entries(self, heads: Sequence[PredictionHead], admit: bool) -> Entries:
        """Which records count each prediction: its total's, and those of its segments that are kept."""
        if self._revision != self._history.revision:
            self._forget_targets()
            self._revision = self._history.revision
        times = np.array([head.time for head in heads])
        log_hours = np.array([head.log_time for head in heads]) // HOUR
        models, versions = [head.model for head in heads], [head.version for head in heads]
        keys = zip(models, versions, (times // HOUR).tolist(), log_hours.tolist(), strict=True)
        found = list(map(self._targets.get, keys))
        totals = [target or self._total(head, admit) for target, head in zip(found, heads, strict=True)]
        segmented = [i for i, head in enumerate(heads) if head.segment]
        bins = times // BIN % BINS_PER_HOUR
        source = np.arange(len(heads))
        if not segmented:
            return Entries(totals, totals, bins, source, [])
        targets, of, partial = self._segments_of(heads, totals, segmented, admit)
        source = np.concatenate([source, np.array(of, dtype=np.int64)])
        return Entries([*totals, *targets], totals, bins[source], source, partial)

    def _segments_of(
        self, heads: Sequence[PredictionHead], totals: list[Target], segmented: list[int], admit: bool
    ) -> tuple[list[Target], list[int], list[int]]:
        """The targets of predictions' segments, which prediction each counts, and which have values that are not kept."""
        targets: list[Target] = []
        source: list[int] = []
        partial: list[int] = []
        for i in segmented:
            head, total = heads[i], totals[i]
            found = self._kept.get((total, head.segment))
            if found is None:
                found = self._segment_targets(head, total, admit)
                if len(found) < len(head.segment):
                    partial.append(i)
            targets += found
            source += [i] * len(found)
        return targets, source, partial

    def _segment_targets(self, head: PredictionHead, total: Target, admit: bool) -> list[Target]:
        """The targets of one prediction's segment values, those that are kept; remembered where they are all of them."""
        found = []
        for name, value in self._admitted(head.segment, total.settings, total.key[5], admit):
            key = (head.model, head.version, name, value, *total.key[4:])
            target = self._targets.get(key)
            if target is None or not target.since <= head.log_time < target.until:
                target = self._target(key, head.log_time, admit)
            found.append(target)
        if len(found) == len(head.segment) and all(target.holds_all_hour for target in found):
            self._kept[total, head.segment] = found
        return found

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

    def _total(self, head: PredictionHead, admit: bool) -> Target:
        """The target of a prediction's total."""
        key = (head.model, head.version, "", "", head.time // HOUR, head.log_time // HOUR)
        target = self._targets.get(key)
        if target is None or not target.since <= head.log_time < target.until:
            target = self._target(key, head.log_time, admit)
        if target.holds_all_hour:
            self._targets[head.model, head.version, *key[4:]] = target
        return target

    def _forget_targets(self) -> None:
        self._targets.clear()
        self._kept.clear()

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

    def _histograms(self, entries: Entries, wanted: Bools) -> tuple[list[Histograms], Ints]:
        """The histograms of the wanted predictions' totals and declared segments, and which prediction each counts."""
        at = np.flatnonzero(wanted[entries.source])
        targets = entries.targets if len(at) == len(entries.targets) else [entries.targets[i] for i in at.tolist()]
        found = [target.histograms or self._histograms_of(target) for target in targets]
        source = entries.source[at]
        records = [record for record in found if record is not None]
        if len(records) < len(found):
            source = source[[record is not None for record in found]]
        return records, source

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
        self._forget_targets()
        return self._pack_slim(np.array(sorted(numbers), dtype=np.int64)), self._pack_full(list(histograms))

    def _pack_slim(self, numbers: Ints) -> Records:
        if not len(numbers):
            return []
        self._slim.touched[numbers] = self._tick
        keys = [slim_key(*self._slim.keys[number]) for number in numbers]  # type: ignore[misc]
        return list(zip(keys, self._slim.pack(numbers, self._state.format), strict=True))

    def _pack_full(self, changed: list[Histograms]) -> Records:
        for record in changed:
            record.touched = self._tick
        keys = [full_key(*record.key.slim, record.key.digest) for record in changed]
        return list(zip(keys, self._full.pack(changed, self._state.format), strict=True))

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
        self._forget_targets()
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


def _known(records: Sequence[Histograms], features: list) -> tuple[Sequence[Histograms], list]:
    """Without those whose features the archive did not keep: they are not missing, but cannot be counted again."""
    if not any(given is NOT_KEPT for given in features):
        return records, features
    known = [i for i, given in enumerate(features) if given is not NOT_KEPT]
    return [records[i] for i in known], [features[i] for i in known]
