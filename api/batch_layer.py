"""The batch view's rows as a layer of the merge rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.view import Granularity, Keys, Segment, View
from runway_streams.ground_truth.merge_rule import Block, Layer, Share
from runway_streams.ground_truth.times import BIN


def batch_layer(
    view: View, model: str, segment: Segment, start: int, end: int, *, hourly: bool, version: str | None = None
) -> Layer:
    """One model and segment between `start` and `end` (epoch ms). Histograms come where the windows are whole hours."""
    granularity: Granularity = "hourly" if hourly else "five_minute"
    rows = view.rows(model, start, end, granularity, segment, version)
    pairs = view.confusion(model, start, end, granularity, segment, version)
    versions = tuple(dict.fromkeys([*rows.version_names, *pairs.version_names]))
    on_time, late = {}, {}
    if hourly:
        cells = view.histograms(model, start, end, segment, version)
        versions = tuple(dict.fromkeys([*versions, *cells.version_names]))
        values = np.stack([cells.cells, cells.joined, cells.late], axis=1)
        families: Any = cells.families
        for number, family in enumerate(cells.family_names):
            block = _block(cells, versions, values).where(families == number)
            on_time[family] = _counted(block, [0, 1])
            late[family] = _counted(block, [0, 2])
    counts = np.stack([pairs.predicted, pairs.actual, pairs.joined, pairs.late], axis=1)
    confusion = _block(pairs, versions, counts)
    flagged = _block(rows, versions, np.zeros((len(rows), 0))).where(rows.partial)
    late_rows = _block(rows, versions, rows.late)
    return Layer(
        versions,
        pairs.labels,
        Share(_block(rows, versions, rows.joined), _counted(confusion, [0, 1, 2]), on_time),
        Share(late_rows.where(np.asarray(late_rows.values.any(axis=1))), _counted(confusion, [0, 1, 3]), late),
        flagged,
    )


def label_layer(view: View, model: str, segment: Segment, start: int, end: int, version: str | None) -> Layer:
    """The hourly counts alone."""
    rows = view.rows(model, start, end, "hourly", segment, version)
    return Layer(rows.version_names, (), Share(_block(rows, rows.version_names, rows.joined)))


def _block(keys: Keys, versions: tuple[str, ...], values: NDArray) -> Block:
    places = np.array([versions.index(name) for name in keys.version_names], dtype=np.int64)
    numbers = places[keys.versions] if len(keys) else np.zeros(0, dtype=np.int64)
    return Block(numbers, keys.times // BIN, keys.log_hours, values)


def _counted(block: Block, columns: list[int]) -> Block:
    """The block with some columns of its values, the last of which is a count, and only the rows that count anything."""
    chosen = block.where(block.values[:, columns[-1]] != 0)
    return Block(chosen.version, chosen.bin, chosen.log_hour, np.asarray(chosen.values[:, columns], dtype=np.float64))
