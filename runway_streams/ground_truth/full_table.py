"""The full tier at work: the hourly histograms that a partition has in memory, in one flat arena of cells."""

from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from runway_streams.ground_truth.feature_bins import EdgeTable, FeaturePlan, numbers
from runway_streams.ground_truth.full import CALIBRATION_BINS, CLASS_BINS, SCORE_BINS, Layout
from runway_streams.ground_truth.join import PredictionHead
from runway_streams.ground_truth.pairs import JoinedPairs
from runway_streams.ground_truth.records import pack_full_many
from runway_streams.ground_truth.settings import Settings
from runway_streams.ground_truth.slim_table import SlimKey
from schemas.metrics_record import FullRecord
from schemas.model_settings import ReferenceProfile

Ints = NDArray[np.int64]

MAX_LAYOUTS = 100_000
"""Settings whose layouts are remembered."""

PACK_AT_ONCE = 256
"""Records packed at a time: some megabytes of cells, which the processor's cache can hold."""

_decode = msgspec.msgpack.Decoder(FullRecord).decode


class FullKey(NamedTuple):
    """Whose histograms, in which layout."""

    slim: SlimKey
    digest: str


class Histograms:
    """One record's place in the arena: `base` is its first cell, the others are first cells of its families."""

    __slots__ = ("base", "calibration", "joint", "key", "layout", "plan", "score", "score_class", "settings", "touched")

    def __init__(self, key: FullKey, settings: Settings, layout: Layout, plan: FeaturePlan, base: int):
        self.key, self.settings, self.layout, self.plan = key, settings, layout, plan
        self.touched = 0
        self.move(base)

    def move(self, base: int) -> None:
        """Puts the record elsewhere in the arena."""
        self.base = base
        self.score_class = self._cell("score_class")
        self.calibration = self._cell("calibration")
        self.score = self._cell("score")
        self.joint = self._cell("joint")

    def _cell(self, family: str) -> int:
        found = self.layout.families.get(family)
        return -1 if found is None else self.base + found[0]


class FullTable:
    """Hourly histograms by key. Adding is additive and vectorised; a batch hands in lists and they meet in one `add.at`."""

    def __init__(self) -> None:
        self.index: dict[FullKey, Histograms] = {}
        self._arena = np.zeros(1 << 14)
        self._end = 0
        self._wasted = 0
        self._edges = EdgeTable()
        self._plans: dict[str, tuple[Layout, FeaturePlan]] = {}
        self._layouts: dict[int, tuple[Settings, Layout]] = {}

    @property
    def size(self) -> int:
        """Cells of all histograms in memory."""
        return self._end - self._wasted

    def digest_of(self, settings: Settings) -> str:
        """The digest of the layout that the settings ask for."""
        return self._layout(settings).digest

    def create(self, key: FullKey, settings: Settings, record: bytes | None = None) -> Histograms:
        """Takes histograms in, empty or as they were saved."""
        layout, plan = self._plan(settings)
        base = self._allocate(layout.size)
        found = self.index[key] = Histograms(key, settings, layout, plan, base)
        if record is not None:
            saved = _decode(record)
            cells = np.frombuffer(saved.cells, dtype="<u4")
            self._arena[base + cells] = np.frombuffer(saved.values, dtype="<f8")
        return found

    def drop(self, histograms: Histograms) -> None:
        """Forgets histograms; their cells are reclaimed when the arena is packed."""
        del self.index[histograms.key]
        self._wasted += histograms.layout.size

    def add_features(self, records: Sequence[Histograms], features: Sequence[dict[str, Any] | None]) -> None:
        """Counts every feature of events that belong to records with a feature plan."""
        if not records:
            return
        plans = [record.plan for record in records]
        given = [event or {} for event in features]
        values = numbers(list(chain.from_iterable([p.get_numeric(f) for p, f in zip(plans, given, strict=True)])))
        if len(values):
            rows, first, nulls = np.concatenate([plan.columns for plan in plans], axis=1)
            bases = np.repeat([record.base for record in records], [len(plan.numeric) for plan in plans])
            cells = first + self._edges.search(values, rows)
            if not np.isfinite(values).all():
                cells = np.where(np.isnan(values), nulls, np.where(np.isinf(values), nulls + 1, cells))
            self._count(bases + cells)
        counted = [
            record.base + cell
            for record, plan, event in zip(records, plans, given, strict=True)
            if plan.categorical
            for cell in plan.category_cells(event)
        ]
        if counted:
            self._count(counted)

    def add_profile_scores(self, records: Sequence[Histograms], heads: Sequence[PredictionHead]) -> None:
        """Counts the scores (or values) of predictions in the bins of their reference profile."""
        if all(record.score < 0 for record in records):
            return
        given = [
            (record.score, record.plan.score_row, signal)
            for record, head in zip(records, heads, strict=True)
            if record.score >= 0 and (signal := head.value if head.score is None else head.score) is not None
        ]
        if given:
            first, rows, values = (np.array(column) for column in zip(*given, strict=True))
            self._count(first + self._edges.search(values, rows))

    def add_pairs(self, records: Sequence[Histograms], source: Ints, pairs: JoinedPairs) -> None:
        """Adds joined pairs to what their records keep: scores by class, calibration, score by outcome. Record i counts
        pair number `source[i]`."""
        scored = np.array([record.score_class for record in records])
        binary = (scored >= 0) & ~np.isnan(pairs.measures.truth[source])
        if binary.any():
            counted = source[binary]
            scores, positive = pairs.score[counted], pairs.positive[counted]
            calibration = np.array([record.calibration for record in records])
            self._add_scores(scored[binary], scores, positive)
            self._add_calibration(calibration[binary], scores, positive)
        if pairs.is_multiclass.any():
            self._add_classes(records, source, pairs)
        if any(record.joint >= 0 for record in records):
            self._add_joint(records, source, pairs)

    def _count(self, cells: Ints | list[int]) -> None:
        # Not 1: numpy casts an integer for every entry, which takes thirty times as long.
        np.add.at(self._arena, cells, 1.0)

    def _add_scores(self, first: Ints, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> None:
        bins = np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        self._count(first + bins + SCORE_BINS * positive)

    def _add_calibration(self, first: Ints, scores: NDArray[np.float64], right: NDArray[np.bool_]) -> None:
        cells = first + 3 * np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        self._count(cells)
        np.add.at(self._arena, cells + 1, scores)
        np.add.at(self._arena, cells + 2, right.astype(np.float64))

    def _add_classes(self, records: Sequence[Histograms], source: Ints, pairs: JoinedPairs) -> None:
        """Multiclass: every declared label's score one against the rest, and the predicted label's for calibration."""
        cells: list[int] = []
        told: list[tuple[int, float, bool]] = []
        for record, i in zip(records, source.tolist(), strict=True):
            scores = pairs.predictions[i].scores
            if not scores or not pairs.is_multiclass[i]:
                continue
            actual, predicted = pairs.outcomes[i].label, pairs.predictions[i].label
            cells += _class_cells(record, scores, actual)
            if predicted is not None and predicted in scores:
                told.append((record.calibration, scores[predicted], predicted == actual))
        if cells:
            self._count(cells)
        if told:
            first, given, right = (np.array(column) for column in zip(*told, strict=True))
            self._add_calibration(first, given, right)

    def _add_joint(self, records: Sequence[Histograms], source: Ints, pairs: JoinedPairs) -> None:
        """Score bin x outcome bin, where the pair has both."""
        first, score_rows, signals, widths, outcomes = [], [], [], [], []
        for record, i in zip(records, source.tolist(), strict=True):
            if record.joint < 0:
                continue
            prediction, plan = pairs.predictions[i], record.plan
            signal = prediction.value if prediction.score is None else prediction.score
            outcome = plan.outcome_bin(pairs.outcomes[i].label, pairs.measures.outcome[i])
            if signal is not None and outcome is not None:
                first.append(record.joint)
                score_rows.append(plan.score_row)
                signals.append(signal)
                widths.append(plan.outcome_bins)
                outcomes.append(outcome)
        if first:
            scores = self._edges.search(np.array(signals), np.array(score_rows))
            self._count(np.array(first) + scores * widths + outcomes)

    def pack(self, histograms: Sequence[Histograms], written_in: int = 1) -> list[bytes]:
        """The records as they are written to RocksDB and to `runway.metrics`, in a format."""
        packed: dict[Histograms, bytes] = {}
        for size, those in groupby(sorted(histograms, key=_size), key=_size):
            same = list(those)
            for first in range(0, len(same), PACK_AT_ONCE):
                part = same[first : first + PACK_AT_ONCE]
                cells = np.concatenate([self._arena[one.base : one.base + size] for one in part]).reshape(len(part), size)
                records = pack_full_many([one.layout for one in part], cells, written_in=written_in)
                packed.update(zip(part, records, strict=True))
        return [packed[one] for one in histograms]

    def cells(self, histograms: Histograms) -> NDArray[np.float64]:
        """A copy of the record's cells."""
        return self._arena[histograms.base : histograms.base + histograms.layout.size].copy()

    def _layout(self, settings: Settings) -> Layout:
        """Remembered by identity: it is asked for with every new record, and takes a hash over all families."""
        found = self._layouts.get(id(settings))
        if found is None or found[0] is not settings:
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.clear()
            found = self._layouts[id(settings)] = (settings, Layout.of(settings))
        return found[1]

    def _plan(self, settings: Settings) -> tuple[Layout, FeaturePlan]:
        layout = self._layout(settings)
        found = self._plans.get(layout.digest)
        if found is None:
            plan = FeaturePlan(settings.profile or ReferenceProfile(), layout, self._edges)
            found = self._plans[layout.digest] = (layout, plan)
        return found

    def _allocate(self, size: int) -> int:
        if self._end + size > len(self._arena):
            self._pack_arena(size)
        base = self._end
        self._end += size
        return base

    def _pack_arena(self, wanted: int) -> None:
        used = self._end - self._wasted + wanted
        arena = np.zeros(max(len(self._arena), 1 << (2 * used - 1).bit_length()))
        end = 0
        for record in self.index.values():
            size = record.layout.size
            arena[end : end + size] = self._arena[record.base : record.base + size]
            record.move(end)
            end += size
        self._arena, self._end, self._wasted = arena, end, 0


def _size(histograms: Histograms) -> int:
    return histograms.layout.size


def _class_cells(record: Histograms, scores: dict[str, float], actual: str) -> list[int]:
    found = []
    for label in record.settings.labels:
        first, _ = record.layout.families[f"class:{label}"]
        bin = min(int(scores.get(label, 0.0) * CLASS_BINS), CLASS_BINS - 1)
        found.append(record.base + first + bin + (CLASS_BINS if actual == label else 0))
    return found
