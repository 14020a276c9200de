"""The speed store: the last value of every key of `runway.metrics`, by partition, small enough to hold and fast to read.

Bound: 1,000 models x 48 h x 16 partitions stay within 1 GiB, because
- records are shelved (`api.shelf`) in a quarter of their size, without the histograms that no answer needs;
- `tidy` leaves of a closed hour the sum of its partitions, one record;
- log hours older than `KEEP_HOURS` that the batch owns are dropped. A batch that is days late costs one summed record an
  hour.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from api.shelf import Names, read_fulls, read_slims, shelve_full, shelve_slim, sum_fulls, sum_slims
from runway_streams.ground_truth.merge_rule import Block, Counts, Layer, family_cells
from runway_streams.ground_truth.records import Key, parse_key, unpack_mark
from runway_streams.times import BINS_PER_HOUR, HOUR
from schemas.metrics_record import Mark

KEEP_HOURS = 48
LAYERS = 128
"""Models, segments and versions whose layer is remembered until it changes, some 300 KB each for two days."""
SUMMED = -1
"""The place of an hour's sum among the partitions' records."""

Segment = tuple[str, str]
Hour = tuple[int, int]
"""(event hour, log hour)"""
Place = int | tuple[int, str]
"""A partition, or (partition, layout) of histograms."""
Records = dict[Hour, dict[Place, bytes]]
"""Shelved records by hour and place. The sum of an hour lies beside them until one changes: it is read hundreds of times."""
TOTAL: Segment = ("", "")


@dataclass(slots=True)
class Series:
    """One model, version and segment."""

    slim: Records = field(default_factory=dict)
    full: Records = field(default_factory=dict)


class SpeedStore:
    """What all partitions have emitted. Fed in log order, partition by partition."""

    def __init__(self) -> None:
        self.marks: dict[int, Mark] = {}
        self.ignored = 0
        self._series: dict[str, dict[Segment, dict[str, Series]]] = {}
        self._names: dict[str, Names] = defaultdict(Names)
        self._layers: dict[tuple[str, Segment, str | None], Layer] = {}
        self._places: dict[tuple[int, str], tuple[int, str]] = {}  # one object for all hours, not one each
        self._closed_before = 0
        self._owned_before = 0

    def apply(self, partition: int, raw_key: bytes | None, value: bytes | None) -> None:
        """Takes a record in; unknown kinds are skipped, a record without a value deletes its key."""
        key = parse_key(raw_key)
        if key is None:
            self.ignored += 1
        elif key.kind == "mark":
            self._take_mark(partition, value)
        elif key.log_hour < self._closed_before or self._is_dropped(key.log_hour):
            self.ignored += 1  # closed hours never change; after a rewind the same values come once more
        else:
            self._take(partition, key, value)

    def as_of(self) -> int | None:
        """The least clock of the partitions' marks (ms)."""
        return min((mark.clock for mark in self.marks.values()), default=None)

    def names(self) -> list[str]:
        """The models that have rows here."""
        return list(self._series)

    def versions(self, model: str) -> set[str]:
        """The versions of one model that have rows here."""
        return {version for series in self._series.get(model, {}).values() for version in series}

    def event_hours(self, model: str) -> tuple[int, int] | None:
        """The first and the last event hour of a model's totals."""
        hours = [hour for series in self._totals(model) for hour, _ in series.slim]
        return (min(hours), max(hours)) if hours else None

    def layer(self, model: str, segment: Segment = TOTAL, version: str | None = None) -> Layer:
        """One model and segment as the merge rule takes it, of one version or all."""
        found = self._layers.get((model, segment, version))
        if found is None:
            if len(self._layers) >= LAYERS:
                self._layers.clear()
            found = self._layers[model, segment, version] = self._make_layer(model, segment, version)
        return found

    def _make_layer(self, model: str, segment: Segment, version: str | None) -> Layer:
        every = self._series.get(model, {}).get(segment, {})
        chosen = [series for name, series in every.items() if version in (None, name)]
        return _layer(chosen, self._names[model]) if chosen else Layer()

    def tidy(self, now: int, owned_before: int | None) -> Iterator[None]:
        """Adds up and drops; yields now and then, for others that share the thread. `now` is in ms."""
        self._closed_before = min((mark.closed_before for mark in self.marks.values()), default=0)
        self._owned_before = min(owned_before or 0, now // HOUR - KEEP_HOURS)
        for model, segments in list(self._series.items()):
            for series in [series for every in segments.values() for series in every.values()]:
                yield from self._tidy_records(series.slim, sum_slims)
                yield from self._tidy_records(series.full, partial(sum_fulls, names=self._names[model]))
        self._layers.clear()
        self._forget_empty()

    def size(self) -> int:
        """Bytes of all packed records, without what Python adds to each."""
        return sum(
            len(record)
            for segments in self._series.values()
            for every in segments.values()
            for series in every.values()
            for hours in (series.slim, series.full)
            for records in hours.values()
            for record in records.values()
        )

    def _totals(self, model: str) -> Iterator[Series]:
        yield from self._series.get(model, {}).get(TOTAL, {}).values()

    def _is_dropped(self, log_hour: int) -> bool:
        return log_hour < self._owned_before

    def _take_mark(self, partition: int, value: bytes | None) -> None:
        if value is None:
            self.marks.pop(partition, None)
        else:
            self.marks[partition] = unpack_mark(value)

    def _take(self, partition: int, key: Key, value: bytes | None) -> None:
        segment, hour = (key.segment_key, key.segment_value), (key.event_hour, key.log_hour)
        every = self._series.setdefault(key.model, {}).setdefault(segment, {})
        series = every.get(key.version)
        if series is None:
            series = every[key.version] = Series()
        for version in (None, key.version):
            self._layers.pop((key.model, segment, version), None)
        names = self._names[key.model]
        if key.kind == "slim":
            _put(series.slim, hour, partition, value and shelve_slim(value, names))
        else:
            place = (partition, key.digest)
            _put(series.full, hour, self._places.setdefault(place, place), value and shelve_full(value, names))

    def _tidy_records(self, records: Records, add: Callable[[list[bytes]], bytes]) -> Iterator[None]:
        for hour in [hour for hour in records if self._is_dropped(hour[1])]:
            del records[hour]
        for hour, places in list(records.items()):
            if len(places) > 1:
                is_new = SUMMED not in places
                whole = _sum(places, add)  # now, so that no answer waits for it
                if hour[1] < self._closed_before:
                    records[hour] = {SUMMED: whole}
                if is_new:
                    yield
        yield

    def _forget_empty(self) -> None:
        for model, segments in list(self._series.items()):
            for segment, every in list(segments.items()):
                for version in [name for name, series in every.items() if not series.slim and not series.full]:
                    del every[version]
                if not every:
                    del segments[segment]
            if not segments:
                del self._series[model]
                del self._names[model]


def _put(records: Records, hour: Hour, place: Place, value: bytes | None) -> None:
    places = records.setdefault(hour, {})
    places.pop(SUMMED, None)
    if value is not None:
        places[place] = value
    else:
        places.pop(place, None)
    if not places:
        del records[hour]


def _sum(places: dict[Place, bytes], add: Callable[[list[bytes]], bytes]) -> bytes:
    """An hour's records as one, kept with them."""
    if len(places) == 1:
        return next(iter(places.values()))
    if SUMMED not in places:
        places[SUMMED] = add(list(places.values()))
    return places[SUMMED]


def _layer(chosen: Sequence[Series], names: Names) -> Layer:
    """Some versions of a model and segment together."""
    slims = [(hour, _sum(places, sum_slims)) for series in chosen for hour, places in series.slim.items()]
    add_fulls = partial(sum_fulls, names=names)
    fulls = [(hour, _sum(places, add_fulls)) for series in chosen for hour, places in series.full.items()]
    rows, confusion, flagged = _slim_columns(slims, len(names.labels))
    histograms = _full_columns(fulls, names)
    families = tuple(sorted(names.families))
    return Layer(tuple(names.labels), families, rows, confusion=confusion, histograms=histograms, partial=flagged)


def _slim_columns(slims: Sequence[tuple[Hour, bytes]], labels: int) -> tuple[Block, Counts, Block]:
    """Slim rows, confusion counts, and which of the rows are partial."""
    first, log_hour = _hours(slims)
    found = read_slims([record for _, record in slims])
    at, bins = np.nonzero(found.rows.any(axis=2))
    rows = Block(first[at] + bins, log_hour[at], found.rows[at, bins])
    hour, bin, predicted, actual, count = found.confusion.T
    confusion = Counts(first[hour] + bin, log_hour[hour], predicted * labels + actual, count, np.zeros(len(count)))
    return rows, confusion, rows.without_values().where(found.partial[at])


def _full_columns(fulls: Sequence[tuple[Hour, bytes]], names: Names) -> Counts:
    """Counts by histogram cell."""
    first, log_hour = _hours(fulls)
    found = read_fulls([record for _, record in fulls], names)
    hour, filled = np.nonzero(found)
    cells = family_cells(tuple(names.families), sorted(names.families))[filled]
    return Counts(first[hour], log_hour[hour], cells, found[hour, filled], np.zeros(len(cells)))


def _hours(records: Sequence[tuple[Hour, bytes]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first bins and the log hours of some hours' records."""
    hours = np.array([hour for hour, _ in records], dtype=np.int64).reshape(-1, 2)
    return hours[:, 0] * BINS_PER_HOUR, hours[:, 1]
