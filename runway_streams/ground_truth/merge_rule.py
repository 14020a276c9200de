"""The merge rule: which layer answers for a log hour, and windows of both layers in which nothing is counted twice.

A window = the batch's rows of the log hours that the batch owns + the speed layer's rows of all others. A prediction has one
log hour, so the two shares are disjoint, however late the batch is. Pure: arrays in, arrays out; a query costs a few
passes over a model's rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import CALIBRATION_BINS, CLASS_BINS, SCORE_BINS
from runway_streams.ground_truth.slim import INDEX, WIDTH, Rows
from runway_streams.ground_truth.times import BINS_PER_HOUR, HOUR, HOUR_CLOSES_AFTER
from schemas.metrics_record import Mark

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
View = Literal["merged", "speed", "batch"]

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
class Block:
    """Additive values by prediction: row i of `values` is of one version (a number), five-minute bin and log hour."""

    version: Ints
    bin: Ints
    log_hour: Ints
    values: NDArray

    @classmethod
    def of(cls, version: Sequence[int], bin: Sequence[int], log_hour: Sequence[int], values: NDArray) -> "Block":
        """A block of plain sequences."""
        versions, bins, hours = (np.asarray(part, dtype=np.int64) for part in (version, bin, log_hour))
        return cls(versions, bins, hours, values)

    @classmethod
    def empty(cls, width: int) -> "Block":
        """A block without rows."""
        return cls.of([], [], [], np.zeros((0, width)))

    def __len__(self) -> int:
        return len(self.bin)

    def where(self, mask: Flags) -> "Block":
        """The rows that `mask` chooses."""
        if mask.all():
            return self
        return Block(self.version[mask], self.bin[mask], self.log_hour[mask], self.values[mask])


def concat(blocks: Sequence[Block]) -> Block:
    """Blocks of one width, one after the other."""
    parts = zip(*((b.version, b.bin, b.log_hour, b.values) for b in blocks), strict=True)
    return Block(*(np.concatenate(part) for part in parts))


@dataclass(frozen=True)
class Share:
    """Rows of `slim.FIELDS`, confusion rows (predicted label, actual label, count), and by family of `full.Layout`
    histogram rows (cell, count)."""

    rows: Block = field(default_factory=lambda: Block.empty(WIDTH))
    confusion: Block = field(default_factory=lambda: Block.empty(3))
    histograms: Mapping[str, Block] = field(default_factory=dict)

    def where(self, choose: "Chooser") -> "Share":
        """The rows of all blocks that `choose` takes."""
        histograms = {name: block.where(choose(block)) for name, block in self.histograms.items()}
        return Share(
            self.rows.where(choose(self.rows)),
            self.confusion.where(choose(self.confusion)),
            {name: block for name, block in histograms.items() if len(block)},
        )


@dataclass(frozen=True)
class Layer:
    """One model and segment in one layer. `late` has the quality of late pairs, which only the batch knows; the speed
    layer counts them. `partial` has a row (of width 0) where some values were not kept. Versions and labels are
    numbers in `versions` and `labels`."""

    versions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    on_time: Share = field(default_factory=Share)
    late: Share = field(default_factory=Share)
    partial: Block = field(default_factory=lambda: Block.empty(0))

    def where(self, choose: "Chooser") -> "Layer":
        """The rows of all blocks that `choose` takes."""
        return replace(
            self,
            on_time=self.on_time.where(choose),
            late=self.late.where(choose),
            partial=self.partial.where(choose(self.partial)),
        )

    def renamed(self, versions: tuple[str, ...], labels: tuple[str, ...]) -> "Layer":
        """The same layer in the numbering of longer lists of versions and labels."""
        if (versions, labels) == (self.versions, self.labels):
            return self
        version = np.array([versions.index(name) for name in self.versions], dtype=np.int64)
        label = np.array([labels.index(name) for name in self.labels], dtype=np.int64)

        def renumber(block: Block) -> Block:
            return replace(block, version=version[block.version]) if len(block) else block

        def relabel(block: Block) -> Block:
            pairs = block.values.copy()
            if len(pairs):
                pairs[:, :2] = label[pairs[:, :2].astype(np.int64)]
            return replace(renumber(block), values=pairs)

        def share(old: Share) -> Share:
            histograms = {name: renumber(block) for name, block in old.histograms.items()}
            return Share(renumber(old.rows), relabel(old.confusion), histograms)

        return Layer(versions, labels, share(self.on_time), share(self.late), renumber(self.partial))


class Chooser:
    """Picks rows of any block by version, bins and log hours."""

    def __init__(
        self, version: int | None = None, bins: tuple[int, int] | None = None, owned: tuple[Ownership, bool] | None = None
    ):
        self.version, self.bins, self.owned = version, bins, owned

    def __call__(self, block: Block) -> Flags:
        mask = np.ones(len(block), dtype=bool)
        if self.owned is not None:
            ownership, batch = self.owned
            mask &= ownership.owned(block.log_hour) == batch
        if self.version is not None:
            mask &= block.version == self.version
        if self.bins is not None:
            mask &= (block.bin >= self.bins[0]) & (block.bin < self.bins[1])
        return mask


class Merged(NamedTuple):
    """A model and segment in both layers, disjoint by log hour, in one numbering of versions and labels."""

    speed: Layer
    batch: Layer


def merge_layers(speed: Layer, batch: Layer, ownership: Ownership, view: View = "merged") -> Merged:
    """Each layer's rows of the log hours that are its own; with `view` speed or batch, that layer alone and whole."""
    if view == "merged":
        speed = speed.where(Chooser(owned=(ownership, False)))
        batch = batch.where(Chooser(owned=(ownership, True)))
    else:
        speed, batch = (speed, Layer()) if view == "speed" else (Layer(), batch)
    versions = tuple(sorted({*speed.versions, *batch.versions}))
    labels = tuple(sorted({*speed.labels, *batch.labels}))
    return Merged(speed.renamed(versions, labels), batch.renamed(versions, labels))


def by_hour(layer: Layer) -> Layer:
    """The layer with its bins and log hours merged into event hours: a twelfth of the rows, for queries by the hour."""
    return replace(
        layer, on_time=_share_by_hour(layer.on_time), late=_share_by_hour(layer.late), partial=_hours(layer.partial)
    )


def _share_by_hour(share: Share) -> Share:
    confusion = share.confusion
    if len(confusion):
        pairs = confusion.values[:, :2].astype(np.int64)
        confusion = _add_rows(_hours(confusion), (pairs[:, 0], pairs[:, 1]), _add_confusion)
    return Share(_add_rows(_hours(share.rows), (), slim.merge), confusion, share.histograms)


def _hours(block: Block) -> Block:
    return replace(block, bin=block.bin // BINS_PER_HOUR * BINS_PER_HOUR)


def _add_rows(block: Block, also: tuple[Ints, ...], add) -> Block:
    """Merges the rows of one version and bin (and of what else is given), whatever their log hours."""
    if not len(block):
        return block
    keys, first, groups = np.unique(
        np.stack([block.version, block.bin, *also]), axis=1, return_index=True, return_inverse=True
    )
    values = add(block.values, groups.ravel(), keys.shape[1])
    return Block(keys[0], keys[1], block.log_hour[first], values)


def _add_confusion(values: NDArray, groups: NDArray[np.intp], count: int) -> NDArray:
    added = np.empty((count, 3))
    added[groups, :2] = values[:, :2]
    added[:, 2] = _count(groups, values[:, 2], count)
    return added


@dataclass(frozen=True)
class Tumbled:
    """The windows that hold predictions, of one range: `starts` in bins; the other arrays run parallel to it.

    `on_time` and `late` are merged slim rows; confusion is (window, predicted, actual); histograms by family. `speed` and
    `batch` are the predictions from each layer.
    """

    starts: Ints
    width: int
    labels: tuple[str, ...]
    on_time: Rows
    late: Rows
    confusion: NDArray
    late_confusion: NDArray
    histograms: Mapping[str, NDArray]
    late_histograms: Mapping[str, NDArray]
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


def tumble(merged: Merged, start: int, end: int, width: int, extra: Iterable[int] = ()) -> Tumbled:
    """Windows of `width` bins over bins [start, end), all versions of `merged` together; only those with rows, and those
    that start at `extra`."""
    chooser = Chooser(bins=(start, end))
    speed, batch = (layer.where(chooser) for layer in merged)
    bins = [share.rows.bin for layer in (speed, batch) for share in (layer.on_time, layer.late)]
    numbers = np.unique(np.concatenate([*[(b - start) // width for b in bins], _numbers(extra, start, width)]))
    place = np.full((end - start + width - 1) // width, -1, dtype=np.intp)
    place[numbers] = np.arange(len(numbers))
    count, labels = len(numbers), len(batch.labels)

    def at(block: Block) -> NDArray[np.intp]:
        return place[(block.bin - start) // width]

    def rows(blocks: Sequence[Block]) -> Rows:
        return slim.merge(np.concatenate([b.values for b in blocks]), np.concatenate([at(b) for b in blocks]), count)

    def counts(block: Block) -> NDArray:
        return _count(at(block), block.values[:, INDEX["predictions"]], count)

    def matrix(blocks: Sequence[Block]) -> NDArray:
        whole = concat(blocks)
        places = at(whole)
        predicted, actual = whole.values[:, :2].astype(np.intp).T
        cells = (places * labels + predicted) * labels + actual
        known = places >= 0
        return _count(cells[known], whole.values[known, 2], count * labels**2).reshape(count, labels, labels)

    def cells(shares: Sequence[Share]) -> dict[str, NDArray]:
        names = {name for share in shares for name in share.histograms}
        return {
            name: family([s.histograms[name] for s in shares if name in s.histograms], family_size(name)) for name in names
        }

    def family(blocks: Sequence[Block], size: int) -> NDArray:
        whole = concat(blocks)
        places = at(whole)
        known = (places >= 0) & (whole.values[:, 0] < size)
        flat = places[known] * size + whole.values[known, 0].astype(np.intp)
        return _count(flat, whole.values[known, 1], count * size).reshape(count, size)

    partial = np.zeros(count, dtype=bool)
    flagged = concat([speed.partial, batch.partial])
    marked = at(flagged)
    partial[marked[marked >= 0]] = True
    return Tumbled(
        starts=start + numbers * width,
        width=width,
        labels=batch.labels,
        on_time=rows([speed.on_time.rows, batch.on_time.rows]),
        late=rows([speed.late.rows, batch.late.rows]),
        confusion=matrix([speed.on_time.confusion, batch.on_time.confusion]),
        late_confusion=matrix([speed.late.confusion, batch.late.confusion]),
        histograms=cells([speed.on_time, batch.on_time]),
        late_histograms=cells([speed.late, batch.late]),
        speed=counts(speed.on_time.rows),
        batch=counts(batch.on_time.rows),
        partial=partial,
    )


def relabelled(windows: Tumbled, labels: tuple[str, ...]) -> Tumbled:
    """The same windows in the numbering of a longer list of labels."""
    if windows.labels == labels:
        return windows
    places = np.array([labels.index(name) for name in windows.labels], dtype=np.intp)

    def spread(confusion: NDArray) -> NDArray:
        wider = np.zeros((len(confusion), len(labels), len(labels)))
        wider[:, places[:, np.newaxis], places] = confusion
        return wider

    wider, wider_late = spread(windows.confusion), spread(windows.late_confusion)
    return replace(windows, labels=labels, confusion=wider, late_confusion=wider_late)


def concat_windows(parts: Sequence[Tumbled]) -> Tumbled:
    """Windows of several ranges, one after the other, in one numbering of labels."""
    labels = tuple(sorted({label for part in parts for label in part.labels}))
    parts = [relabelled(part, labels) for part in parts]

    def families(every: Sequence[Mapping[str, NDArray]]) -> dict[str, NDArray]:
        names = {name for histograms in every for name in histograms}
        return {
            name: np.concatenate(
                [
                    histograms.get(name, np.zeros((len(part.starts), family_size(name))))
                    for part, histograms in zip(parts, every, strict=True)
                ]
            )
            for name in names
        }

    return Tumbled(
        starts=np.concatenate([part.starts for part in parts]),
        width=parts[0].width,
        labels=labels,
        on_time=np.concatenate([part.on_time for part in parts]),
        late=np.concatenate([part.late for part in parts]),
        confusion=np.concatenate([part.confusion for part in parts]),
        late_confusion=np.concatenate([part.late_confusion for part in parts]),
        histograms=families([part.histograms for part in parts]),
        late_histograms=families([part.late_histograms for part in parts]),
        speed=np.concatenate([part.speed for part in parts]),
        batch=np.concatenate([part.batch for part in parts]),
        partial=np.concatenate([part.partial for part in parts]),
    )


def whole_range(windows: Tumbled) -> Tumbled:
    """All windows as one."""

    def added(cells: NDArray) -> NDArray:
        return cells.sum(axis=0, keepdims=True)

    return Tumbled(
        starts=windows.starts[:1] if len(windows.starts) else np.zeros(1, dtype=np.int64),
        width=windows.width,
        labels=windows.labels,
        on_time=slim.merge(windows.on_time),
        late=slim.merge(windows.late),
        confusion=added(windows.confusion),
        late_confusion=added(windows.late_confusion),
        histograms={name: added(cells) for name, cells in windows.histograms.items()},
        late_histograms={name: added(cells) for name, cells in windows.late_histograms.items()},
        speed=added(windows.speed),
        batch=added(windows.batch),
        partial=np.atleast_1d(windows.partial.any()),
    )


def family_size(name: str) -> int:
    """The cells of a family whose bins do not depend on a profile."""
    if name == "score_class":
        return 2 * SCORE_BINS
    return 3 * CALIBRATION_BINS if name == "calibration" else 2 * CLASS_BINS


def _numbers(starts: Iterable[int], start: int, width: int) -> Ints:
    return (np.array(list(starts), dtype=np.int64) - start) // width


def _count(cells: NDArray[np.intp], weights: NDArray, size: int) -> NDArray[np.float64]:
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
