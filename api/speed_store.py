"""The speed store: the last value of every key of `runway.metrics`, by partition, small enough to hold and fast to read.

Bound: 1,000 models x 48 h x 16 partitions stay within 1 GiB, because
- records are shelved (`api.shelf`) in a quarter of their size, without the histograms that no answer needs;
- `tidy` adds the partitions of a closed hour up into one record;
- log hours older than `KEEP_HOURS` that the batch owns are dropped. A batch that is days late costs one summed record an
  hour.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from api.shelf import Names, read_fulls, read_slims, shelve_full, shelve_slim, sum_fulls, sum_slims
from runway_streams.ground_truth.merge_rule import Block, Layer, Share, family_size
from runway_streams.ground_truth.records import Key, parse_key, unpack_mark
from runway_streams.ground_truth.times import BINS_PER_HOUR, HOUR
from schemas.metrics_record import Mark

KEEP_HOURS = 48
LAYERS = 128
"""Models and segments whose layer is remembered until it changes, some 300 KB each for two days."""
SUMMED = -1
"""The place of a closed hour's sum among the partitions' records."""

Segment = tuple[str, str]
Hour = tuple[int, int]
"""(event hour, log hour)"""
TOTAL: Segment = ("", "")


@dataclass(slots=True)
class Series:
    """One model, version and segment: shelved records by hour and, below it, by partition, or (partition, layout)."""

    slim: dict[Hour, dict[int, bytes]] = field(default_factory=dict)
    full: dict[Hour, dict[tuple[int, str], bytes]] = field(default_factory=dict)


class SpeedStore:
    """What all partitions have emitted. Fed in log order, partition by partition."""

    def __init__(self) -> None:
        self.marks: dict[int, Mark] = {}
        self.ignored = 0
        self._series: dict[str, dict[Segment, dict[str, Series]]] = {}
        self._names: dict[str, Names] = defaultdict(Names)
        self._layers: dict[tuple[str, Segment], Layer] = {}
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

    def models(self) -> dict[str, set[str]]:
        """The versions of every model that has rows here."""
        return {model: self.versions(model) for model in self._series}

    def versions(self, model: str) -> set[str]:
        """The versions of one model that have rows here."""
        return {version for series in self._series.get(model, {}).values() for version in series}

    def event_hours(self, model: str) -> tuple[int, int] | None:
        """The first and the last event hour of a model's totals."""
        hours = [hour for series in self._totals(model) for hour, _ in series.slim]
        return (min(hours), max(hours)) if hours else None

    def layer(self, model: str, segment: Segment = TOTAL) -> Layer:
        """One model and segment as the merge rule takes it."""
        found = self._layers.get((model, segment))
        if found is None:
            if len(self._layers) >= LAYERS:
                self._layers.clear()
            found = self._layers[model, segment] = self._make_layer(model, segment)
        return found

    def _make_layer(self, model: str, segment: Segment) -> Layer:
        every = self._series.get(model, {}).get(segment, {})
        versions = tuple(sorted(every))
        hours = [(number, hour) for number, version in enumerate(versions) for hour in every[version].slim]
        if not hours:
            return Layer(versions)
        slims = [every[versions[number]].slim[hour].values() for number, hour in hours]
        fulls = [every[versions[number]].full.get(hour, {}).values() for number, hour in hours]
        return _layer(versions, hours, slims, fulls, self._names[model])

    def tidy(self, now: int, owned_before: int | None) -> Iterator[None]:
        """Adds up and drops; yields now and then, for others that share the thread. `now` is in ms."""
        self._closed_before = min((mark.closed_before for mark in self.marks.values()), default=0)
        self._owned_before = min(owned_before or 0, now // HOUR - KEEP_HOURS)
        for model, segments in list(self._series.items()):
            for series in [series for every in segments.values() for series in every.values()]:
                self._tidy_series(series, self._names[model])
                yield
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
        self._layers.pop((key.model, segment), None)
        names = self._names[key.model]
        if key.kind == "slim":
            _put(series.slim, hour, partition, value and shelve_slim(value, names))
        else:
            place = (partition, key.digest)
            _put(series.full, hour, self._places.setdefault(place, place), value and shelve_full(value, names))

    def _tidy_series(self, series: Series, names: Names) -> None:
        for tier in (series.slim, series.full):
            for hour in [hour for hour in tier if self._is_dropped(hour[1])]:
                del tier[hour]
        for hour, records in series.slim.items():
            if hour[1] < self._closed_before and SUMMED not in records:
                series.slim[hour] = {SUMMED: sum_slims(list(records.values()))}
        for hour, parts in series.full.items():
            if hour[1] < self._closed_before and (SUMMED, "") not in parts:
                series.full[hour] = {(SUMMED, ""): sum_fulls(list(parts.values()), names)}

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


def _put(records: dict, hour: Hour, place: object, value: bytes | None) -> None:
    if value is not None:
        records.setdefault(hour, {})[place] = value
    elif hour in records:
        records[hour].pop(place, None)
        if not records[hour]:
            del records[hour]


def _layer(
    versions: tuple[str, ...], hours: Sequence[tuple[int, Hour]], slims: Sequence, fulls: Sequence, names: Names
) -> Layer:
    """All hours of a model and segment; `slims` and `fulls` are each hour's records."""
    number = np.array([version for version, _ in hours], dtype=np.int64)
    first = np.array([event for _, (event, _) in hours], dtype=np.int64) * BINS_PER_HOUR
    log_hour = np.array([log for _, (_, log) in hours], dtype=np.int64)

    def block(at: NDArray, bins: NDArray | int, values: NDArray) -> Block:
        return Block(number[at], first[at] + bins, log_hour[at], values)

    places = np.arange(len(hours))
    found = read_slims(list(chain(*slims)), np.repeat(places, [len(records) for records in slims]), len(hours))
    at, bins = np.divmod(np.flatnonzero(found.rows.any(axis=1)), BINS_PER_HOUR)
    rows = block(at, bins, found.rows[at * BINS_PER_HOUR + bins])
    confusion = block(found.confusion[:, 0], found.confusion[:, 1], found.confusion[:, 2:].astype(np.float64))
    cells = read_fulls(list(chain(*fulls)), np.repeat(places, [len(records) for records in fulls]), len(hours), names)
    histograms = {}
    for name, start in names.families.items():
        family = cells[:, start : start + family_size(name)]
        at, filled = np.nonzero(family)
        if len(at):
            histograms[name] = block(at, 0, np.stack([filled, family[at, filled]], axis=1))
    flagged = np.flatnonzero(found.partial)
    share = Share(rows, confusion, histograms)
    return Layer(versions, tuple(names.labels), share, Share(), block(flagged, 0, np.zeros((len(flagged), 0))))
