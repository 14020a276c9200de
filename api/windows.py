"""Windows as documents: counts, honesty fields, metrics and confusion of each."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from api.query import Query
from runway_streams.ground_truth.merge_rule import Tumbled, family_size, first_cells
from runway_streams.ground_truth.performance import FINER, Metrics, Windows, metrics_of, outcomes, rows_of
from runway_streams.ground_truth.slim import INDEX
from runway_streams.times import BIN


@dataclass(frozen=True, slots=True)
class Reading:
    """How the windows are read: the task and whether it is a guess, the positive label, all labels."""

    task: str
    guessed: bool
    positive: str
    labels: tuple[str, ...]


class Confusion(msgspec.Struct, gc=False):
    """Rows of the matrix are actual labels, columns predicted ones, as scikit-learn has it."""

    labels: tuple[str, ...]
    matrix: list[list[int]]


class Item(msgspec.Struct, gc=False):
    """What an answer says of a window."""

    start: str
    end: str
    version: str | None
    source: str | None
    predictions: int
    joined: int
    late: int
    early: int
    label_rate: float | None
    label_completeness: float | None
    metrics: Metrics
    partial: bool
    incomplete: bool
    degraded: list[str]
    confusion: Confusion | UnsetType = UNSET
    tp: int | UnsetType = UNSET
    fp: int | UnsetType = UNSET
    fn: int | UnsetType = UNSET
    tn: int | UnsetType = UNSET
    joined_metrics: Metrics | UnsetType = UNSET


def window_items(
    windows: Tumbled, reading: Reading, query: Query, horizon: int, rate: float | None, lost: Collection[int] = ()
) -> list[Item]:
    """An item a window; those that start in `lost` (bins) have a gap."""
    rows = windows.rows
    both = _windows(windows, rows, query, reading, late=True)
    counts = {name: rows[:, INDEX[name]] for name in ("predictions", "joined", "late", "early")}
    labelled, predicted = counts["joined"] + counts["late"], counts["predictions"]
    label_rate = np.divide(labelled, predicted, out=np.full(len(rows), np.nan), where=predicted > 0)
    starts = windows.starts * BIN
    columns: dict[str, Any] = {
        "start": _times(starts),
        "end": _times(starts + query.width),
        "version": [query.version] * len(rows),
        "source": _sources(windows),
        **{name: column.astype(np.int64).tolist() for name, column in counts.items()},
        "label_rate": label_rate.tolist(),  # what is not a number is null in JSON
        "label_completeness": (np.minimum(label_rate / rate, 1) if rate else np.full(len(rows), np.nan)).tolist(),
        "metrics": metrics_of(both, reading.task, reading.positive),
        "partial": windows.partial.tolist(),
        "incomplete": (starts + query.width > horizon).tolist(),
        "degraded": [["gap"] if first in lost else [] for first in windows.starts.tolist()],
    }
    if reading.task != "regression":
        columns |= _confusion(both, reading)
    return rows_of(Item, columns | _joined(windows, reading, query))


def _windows(windows: Tumbled, rows: Any, query: Query, reading: Reading, *, late: bool) -> Windows:
    confusion = windows.confusion + windows.late_confusion if late else windows.confusion
    if not query.hourly:
        return Windows(rows, reading.labels, confusion, {}, FINER)
    cells = windows.histograms + windows.late_histograms if late else windows.histograms
    families = first_cells(windows.families).items()
    return Windows(rows, reading.labels, confusion, {name: cells[:, i : i + family_size(name)] for name, i in families})


def _confusion(both: Windows, reading: Reading) -> dict[str, list]:
    matrices = both.confusion.transpose(0, 2, 1).astype(np.int64).tolist()
    columns: dict[str, list] = {"confusion": [Confusion(reading.labels, matrix) for matrix in matrices]}
    if reading.task == "binary":
        cells = outcomes(both, reading.positive)
        columns |= zip(("tp", "fp", "fn", "tn"), (cell.astype(np.int64).tolist() for cell in cells), strict=True)
    return columns


def _joined(windows: Tumbled, reading: Reading, query: Query) -> dict[str, list]:
    """The on-time pairs alone, where the batch has folded late ones in."""
    folded: Any = windows.late.any(axis=1) | windows.late_confusion.any(axis=(1, 2))
    if not folded.any():
        return {}
    every = metrics_of(_windows(windows, windows.on_time, query, reading, late=False), reading.task, reading.positive)
    return {"joined_metrics": [metrics if some else UNSET for metrics, some in zip(every, folded.tolist(), strict=True)]}


def _sources(windows: Tumbled) -> list[str | None]:
    names = (None, "speed", "batch", "mixed")
    return [names[number] for number in ((windows.speed > 0) + 2 * (windows.batch > 0)).tolist()]


def _times(ms: Any) -> list[str]:
    return np.char.add(np.datetime_as_string(ms.astype("datetime64[ms]"), unit="s"), "Z").tolist()
