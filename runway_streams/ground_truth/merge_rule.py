"""The merge rule: which layer answers for a log hour, and windows of both layers in which nothing is counted twice.

A window = the batch's rows of the log hours that the batch owns + the speed layer's rows of all others. A prediction has one
log hour, so the two shares are disjoint, however late the batch is. Pure: arrays in, arrays out; a query costs a few
passes over a model's rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import CALIBRATION_BINS, CLASS_BINS, SCORE_BINS
from runway_streams.ground_truth.slim import INDEX, WIDTH, Rows
from runway_streams.times import HOUR, HOUR_CLOSES_AFTER
from schemas.metrics_record import Mark

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
View = Literal["merged", "speed", "batch"]
NOTHING: Ints = np.zeros(0, dtype=np.int64)

EXPECTED_FROM = 100
"""Predictions that closed hours must hold before they say which share of labels comes in the end."""


@dataclass(frozen=True)
class Ownership:
    """What the batch owns: log hours below `owned_before` (closed at its cutoff; None: there is no batch), or `everything`,
    where it has read at least as far as the speed layer."""

    owned_before: int | None = None
    everything: bool = False

    def owned(self, log_hours: Ints) -> Flags:
        """Which of the log hours are the batch's.

        >>> Ownership(owned_before=5).owned(np.array([3, 4, 5])).tolist()
        [True, True, False]
        """
        if self.everything:
            return np.ones(len(log_hours), dtype=bool)
        if self.owned_before is None:
            return np.zeros(len(log_hours), dtype=bool)
        return log_hours < self.owned_before


def owned_before(cutoff: int) -> int:
    """The first log hour that a batch with this cutoff (log time, ms) does not own: h is owned where h + 1 h + LIFE <= cutoff.

    >>> owned_before(30 * HOUR)
    5
    """
    return (cutoff - HOUR_CLOSES_AFTER) // HOUR + 1


def covers(covered: Mapping[str, Mapping[str, int]], marks: Mapping[int, Mark]) -> bool:
    """Whether a batch that read up to `covered` (topic -> partition -> next offset) has all that the marks speak of.

    >>> covers({"p": {"0": 7}}, {0: Mark({"p": 7}, 0, 0, {})}), covers({"p": {"0": 7}}, {0: Mark({"p": 8}, 0, 0, {})})
    (True, False)
    """
    return all(
        covered.get(topic, {}).get(str(partition), 0) >= offset
        for partition, mark in marks.items()
        for topic, offset in mark.offsets.items()
    )


@dataclass(frozen=True)
class Keys:
    """What every row of a column block is about: row i is of one five-minute bin and log hour of predictions."""

    bin: Ints
    log_hour: Ints

    def __len__(self) -> int:
        return len(self.bin)

    def where(self, mask: Flags) -> Self:
        """The rows that `mask` chooses."""
        if mask.all():
            return self
        return type(self)(*(column[mask] for column in vars(self).values()))


@dataclass(frozen=True)
class Block(Keys):
    """Additive rows: `values` is (n, width)."""

    values: NDArray

    @classmethod
    def empty(cls, width: int) -> Self:
        """A block without rows."""
        return cls(NOTHING, NOTHING, np.zeros((0, width)))

    def without_values(self) -> Self:
        """The same rows of width 0."""
        return replace(self, values=self.values[:, :0])


@dataclass(frozen=True)
class Counts(Keys):
    """Counts of pairs by numbered cell, of those joined on time and of late ones."""

    cell: Ints
    on_time: NDArray
    late: NDArray

    @classmethod
    def empty(cls) -> Self:
        """Nothing counted."""
        return cls(NOTHING, NOTHING, NOTHING, np.zeros(0), np.zeros(0))

    def renumbered(self, numbers: Ints) -> Self:
        """The same counts, cell i of them as cell `numbers[i]`."""
        return replace(self, cell=numbers[self.cell]) if len(self) else self


@dataclass(frozen=True)
class Layer:
    """One model and segment in one layer: slim rows, confusion counts, and counts by histogram cell.

    `late` has the quality of late pairs, which only the batch knows; the speed layer counts them. `partial` has a row (of
    width 0) where some values were not kept. Cell `p * len(labels) + a` of the confusion counts label p predicted and label
    a actual; the cells of the histograms are those of the `families` of `full.Layout`, one after the other.
    """

    labels: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    rows: Block = field(default_factory=lambda: Block.empty(WIDTH))
    late: Block = field(default_factory=lambda: Block.empty(WIDTH))
    confusion: Counts = field(default_factory=Counts.empty)
    histograms: Counts = field(default_factory=Counts.empty)
    partial: Block = field(default_factory=lambda: Block.empty(0))

    def where(self, choose: Callable[[Keys], Flags]) -> Self:
        """The rows of all columns that `choose` takes."""
        return replace(
            self,
            rows=self.rows.where(choose(self.rows)),
            late=self.late.where(choose(self.late)),
            confusion=self.confusion.where(choose(self.confusion)),
            histograms=self.histograms.where(choose(self.histograms)),
            partial=self.partial.where(choose(self.partial)),
        )

    def between(self, start: int, end: int) -> Self:
        """The rows of bins [start, end)."""
        return self.where(lambda keys: (keys.bin >= start) & (keys.bin < end))

    def owned(self, ownership: Ownership, *, by_batch: bool) -> Self:
        """The rows of the log hours that the batch owns, or of all others."""
        return self.where(lambda keys: ownership.owned(keys.log_hour) == by_batch)

    def renumbered(self, labels: tuple[str, ...], families: tuple[str, ...]) -> Self:
        """The same layer in the numbering of longer lists of labels and families."""
        layer = self
        if labels != self.labels:
            place = _places(self.labels, labels)
            cells = place[:, np.newaxis] * len(labels) + place
            layer = replace(layer, labels=labels, confusion=self.confusion.renumbered(cells.ravel()))
        if families != self.families:
            cells = family_cells(self.families, families)
            layer = replace(layer, families=families, histograms=self.histograms.renumbered(cells))
        return layer


class Merged(NamedTuple):
    """A model and segment in both layers, disjoint by log hour, in one numbering of labels and families."""

    speed: Layer
    batch: Layer


def merge_layers(speed: Layer, batch: Layer, ownership: Ownership, view: View = "merged") -> Merged:
    """Each layer's rows of the log hours that are its own; with `view` speed or batch, that layer alone and whole."""
    if view == "merged":
        speed, batch = speed.owned(ownership, by_batch=False), batch.owned(ownership, by_batch=True)
    else:
        speed, batch = (speed, Layer()) if view == "speed" else (Layer(), batch)
    labels = tuple(sorted({*speed.labels, *batch.labels}))
    families = tuple(sorted({*speed.families, *batch.families}))
    return Merged(speed.renumbered(labels, families), batch.renumbered(labels, families))


@dataclass(frozen=True)
class Tumbled:
    """The windows that hold predictions, of one range: `starts` in bins; the other arrays run parallel to it.

    `on_time` and `late` are merged slim rows; confusion is (window, predicted, actual); histograms are (window, cells of all
    `families`). `speed` and `batch` are the predictions from each layer.
    """

    starts: Ints
    width: int
    labels: tuple[str, ...]
    families: tuple[str, ...]
    on_time: Rows
    late: Rows
    confusion: NDArray
    late_confusion: NDArray
    histograms: NDArray
    late_histograms: NDArray
    speed: NDArray
    batch: NDArray
    partial: Flags

    @property
    def rows(self) -> Rows:
        """Slim rows of on-time and late pairs together."""
        if not self.late.any():
            return self.on_time
        count = len(self.starts)
        return slim.merge(np.concatenate([self.on_time, self.late]), np.tile(np.arange(count), 2), count)

    def renumbered(self, labels: tuple[str, ...], families: tuple[str, ...]) -> Self:
        """The same windows in the numbering of longer lists of labels and families."""
        windows, every = self, np.arange(len(self.starts))
        if labels != self.labels:
            place = _places(self.labels, labels)
            matrix, size = np.ix_(every, place, place), (len(labels), len(labels))
            confusion, late = _spread(self.confusion, matrix, size), _spread(self.late_confusion, matrix, size)
            windows = replace(windows, labels=labels, confusion=confusion, late_confusion=late)
        if families != self.families:
            cells, width = np.ix_(every, family_cells(self.families, families)), (sum(map(family_size, families)),)
            histograms, late = _spread(self.histograms, cells, width), _spread(self.late_histograms, cells, width)
            windows = replace(windows, families=families, histograms=histograms, late_histograms=late)
        return windows


def tumble(merged: Merged, start: int, end: int, width: int, extra: Iterable[int] = ()) -> Tumbled:
    """Windows of `width` bins over bins [start, end), only those with rows or partial, and those that start at `extra`."""
    speed, batch = layers = [layer.between(start, end) for layer in merged]
    filled = np.zeros((end - start + width - 1) // width, dtype=bool)
    blocks = [block for layer in layers for block in (layer.rows, layer.late, layer.partial)]
    for bins in [*(block.bin for block in blocks), np.fromiter(extra, np.int64)]:
        filled[(bins - start) // width] = True
    count = int(np.count_nonzero(filled))
    place = np.where(filled, np.cumsum(filled) - 1, count)  # what lies in no window goes behind the last, and is cut off

    def at(keys: Keys) -> Ints:
        return place[(keys.bin - start) // width]

    def rows(blocks: Sequence[Block]) -> Rows:
        return slim.merge(np.concatenate([b.values for b in blocks]), np.concatenate([at(b) for b in blocks]), count)

    def predictions(block: Block) -> NDArray:
        return _add(at(block), block.values[:, INDEX["predictions"]], count)

    def cells(parts: Sequence[Counts], size: int) -> tuple[NDArray, NDArray]:
        parts = [part for part in parts if len(part)] or parts[:1]
        flat = np.concatenate([at(part) * size + part.cell for part in parts])
        weights = (np.concatenate([p.on_time for p in parts]), np.concatenate([p.late for p in parts]))
        on_time, late = (_add(flat, some, (count + 1) * size).reshape(count + 1, size)[:count] for some in weights)
        return on_time, late

    labels = len(batch.labels)
    confusion, late_confusion = (
        some.reshape(count, labels, labels) for some in cells([layer.confusion for layer in layers], labels**2)
    )
    histograms, late_histograms = cells([layer.histograms for layer in layers], sum(map(family_size, batch.families)))
    partial = np.zeros(count + 1, dtype=bool)
    for layer in layers:
        partial[at(layer.partial)] = True
    return Tumbled(
        starts=start + np.flatnonzero(filled) * width,
        width=width,
        labels=batch.labels,
        families=batch.families,
        on_time=rows([speed.rows, batch.rows]),
        late=rows([speed.late, batch.late]),
        confusion=confusion,
        late_confusion=late_confusion,
        histograms=histograms,
        late_histograms=late_histograms,
        speed=predictions(speed.rows),
        batch=predictions(batch.rows),
        partial=partial[:count],
    )


ADDED = ("confusion", "late_confusion", "histograms", "late_histograms", "speed", "batch")
PARALLEL = ("starts", "on_time", "late", *ADDED, "partial")
"""The arrays of `Tumbled` that have a row for each window, and those of them that add up."""


def concat_windows(parts: Sequence[Tumbled]) -> Tumbled:
    """Windows of several ranges, one after the other, in one numbering of labels and families."""
    labels = tuple(sorted({label for part in parts for label in part.labels}))
    families = tuple(sorted({name for part in parts for name in part.families}))
    parts = [part.renumbered(labels, families) for part in parts]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in PARALLEL}
    return replace(parts[0], **arrays)


def whole_range(windows: Tumbled) -> Tumbled:
    """All windows as one."""
    added: dict[str, Any] = {name: getattr(windows, name).sum(axis=0, keepdims=True) for name in ADDED}
    return replace(
        windows,
        starts=windows.starts[:1] if len(windows.starts) else np.zeros(1, dtype=np.int64),
        on_time=slim.merge(windows.on_time),
        late=slim.merge(windows.late),
        partial=np.atleast_1d(windows.partial.any()),
        **added,
    )


def family_size(name: str) -> int:
    """The cells of a family whose bins do not depend on a profile."""
    if name == "score_class":
        return 2 * SCORE_BINS
    return 3 * CALIBRATION_BINS if name == "calibration" else 2 * CLASS_BINS


def first_cells(families: Iterable[str]) -> dict[str, int]:
    """Where the cells of each family begin, one after the other.

    >>> first_cells(["calibration", "score_class"])
    {'calibration': 0, 'score_class': 30}
    """
    firsts, first = {}, 0
    for name in families:
        firsts[name] = first
        first += family_size(name)
    return firsts


def family_cells(families: Sequence[str], among: Sequence[str]) -> Ints:
    """The places that the cells of all `families` have among those of a longer list.

    >>> family_cells(["score_class"], ["calibration", "score_class"])[:3].tolist()
    [30, 31, 32]
    """
    firsts = first_cells(among)
    cells = [firsts[name] + np.arange(family_size(name)) for name in families]
    return np.concatenate([NOTHING, *cells])


def _places(names: Sequence[str], among: Sequence[str]) -> Ints:
    return np.array([among.index(name) for name in names], dtype=np.int64)


def _spread(counts: NDArray, cells: tuple[Ints, ...], size: tuple[int, ...]) -> NDArray:
    wider = np.zeros((len(counts), *size))
    wider[cells] = counts
    return wider


def _add(cells: Ints, weights: NDArray, size: int) -> NDArray[np.float64]:
    # bincount of nothing is of integers.
    return np.bincount(cells, weights, size).astype(np.float64, copy=False)


def gap_hours(
    start: int, end: int, ownership: Ownership, speed_from: int | None, incomplete: Iterable[int] = ()
) -> list[int]:
    """Log hours in [start, end) that neither layer has: before the speed layer's first whole hour `speed_from` (None: it
    goes back to the beginning) but after the batch's last, and those that a worker calls incomplete.

    >>> gap_hours(0, 10, Ownership(owned_before=5), speed_from=7)
    [5, 6]
    """
    if ownership.everything:
        return []
    first = start if ownership.owned_before is None else max(start, ownership.owned_before)
    lost = set(range(first, min(end, speed_from))) if speed_from is not None else set()
    lost.update(hour for hour in incomplete if first <= hour < end)
    return sorted(lost)


def expected_label_rate(rows: Sequence[Block], closed_before: int) -> float | None:
    """The share of predictions that get a label in the end, by the model's delay curve: the labels of all delays over the
    predictions, in log hours below `closed_before`. None below `EXPECTED_FROM` predictions."""
    counts = np.zeros(3)
    for block in rows:
        closed = block.values[block.log_hour < closed_before]
        counts += closed[:, [INDEX[name] for name in ("predictions", "joined", "late")]].sum(axis=0)
    predictions, joined, late = counts
    return float((joined + late) / predictions) if predictions >= EXPECTED_FROM else None
