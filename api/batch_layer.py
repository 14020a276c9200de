"""The batch view's rows as a layer of the merge rule."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from batch.view import Confusion, Granularity, Histograms, Keys, Segment, View
from runway_streams.ground_truth.merge_rule import Block, Counts, Layer, first_cells
from runway_streams.times import BIN


def batch_layer(
    view: View, model: str, segment: Segment, start: int, end: int, *, hourly: bool, version: str | None = None
) -> Layer:
    """One model and segment between `start` and `end` (epoch ms). Histograms come where the windows are whole hours."""
    granularity: Granularity = "hourly" if hourly else "five_minute"
    rows = view.rows(model, start, end, granularity, segment, version)
    pairs = view.confusion(model, start, end, granularity, segment, version)
    layer = Layer(
        labels=pairs.labels,
        rows=_block(rows, rows.joined),
        late=_block(rows, rows.late).where(np.asarray(rows.late.any(axis=1))),
        confusion=_counts(pairs, pairs.predicted.astype(np.int64) * len(pairs.labels) + pairs.actual),
        partial=_block(rows, rows.joined).without_values().where(rows.partial),
    )
    return _with_histograms(layer, view.histograms(model, start, end, segment, version)) if hourly else layer


def label_layer(view: View, model: str, segment: Segment, start: int, end: int, version: str | None) -> Layer:
    """The hourly counts alone."""
    rows = view.rows(model, start, end, "hourly", segment, version)
    return Layer(rows=_block(rows, rows.joined))


def _block(keys: Keys, values: NDArray) -> Block:
    return Block(keys.times // BIN, keys.log_hours, values)


def _counts(pairs: Confusion | Histograms, cells: NDArray[np.int64]) -> Counts:
    return Counts(pairs.times // BIN, pairs.log_hours, cells, pairs.joined, pairs.late)


def _with_histograms(layer: Layer, found: Histograms) -> Layer:
    families = tuple(sorted(found.family_names))
    firsts = first_cells(families)
    first = np.array([firsts[name] for name in found.family_names], dtype=np.int64)
    return replace(layer, families=families, histograms=_counts(found, first[found.families] + found.cells))
