"""Windows as documents: counts, honesty fields, metrics and confusion of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from api.query import Query
from runway_streams.ground_truth.merge_rule import Tumbled
from runway_streams.ground_truth.performance import FINER, Windows, metrics_of, outcomes, rows_of
from runway_streams.ground_truth.slim import INDEX
from runway_streams.ground_truth.times import BIN


@dataclass(frozen=True, slots=True)
class Reading:
    """How the windows are read: the task and whether it is a guess, the positive label, all labels."""

    task: str
    guessed: bool
    positive: str
    labels: tuple[str, ...]


def window_items(windows: Tumbled, reading: Reading, query: Query, horizon: int, rate: float | None) -> list[dict[str, Any]]:
    """One document a window, without `degraded`."""
    count = len(windows.starts)
    rows = windows.rows
    counts = {name: rows[:, INDEX[name]] for name in ("predictions", "joined", "late", "early")}
    labelled = counts["joined"] + counts["late"]
    label_rate = np.divide(labelled, counts["predictions"], out=np.zeros(count), where=counts["predictions"] > 0)
    starts = windows.starts * BIN
    complete = [None] * count if not rate else np.minimum(label_rate / rate, 1).tolist()
    known = (counts["predictions"] > 0).tolist()
    columns: dict[str, Sequence[Any]] = {
        "start": _times(starts),
        "end": _times(starts + query.width),
        "version": [query.version] * count,
        "source": _sources(windows),
        **{name: column.astype(np.int64).tolist() for name, column in counts.items()},
        "label_rate": [value if some else None for value, some in zip(label_rate.tolist(), known, strict=True)],
        "label_completeness": [value if some else None for value, some in zip(complete, known, strict=True)],
        "metrics": metrics_of(_windows(windows, rows, query, reading, late=True), reading.task, reading.positive),
        "partial": windows.partial.tolist(),
        "incomplete": (starts + query.width > horizon).tolist(),
    }
    items = rows_of(columns)
    if reading.task != "regression":
        _add_confusion(items, windows, reading, query)
    _add_joined(items, windows, reading, query)
    return items


def _windows(windows: Tumbled, rows: Any, query: Query, reading: Reading, *, late: bool) -> Windows:
    confusion = windows.confusion + windows.late_confusion if late else windows.confusion
    if not query.hourly:
        return Windows(rows, reading.labels, confusion, {}, FINER)
    histograms = _added(windows.histograms, windows.late_histograms) if late else windows.histograms
    return Windows(rows, reading.labels, confusion, histograms)


def _added(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    names = first.keys() | second.keys()
    return {
        name: first[name] + second[name] if name in first and name in second else first.get(name, second.get(name))
        for name in names
    }


def _add_confusion(items: list[dict[str, Any]], windows: Tumbled, reading: Reading, query: Query) -> None:
    """Rows of the matrix are actual labels, columns predicted ones, as scikit-learn has it."""
    both = windows.confusion + windows.late_confusion
    labels = list(reading.labels)
    for item, matrix in zip(items, both.transpose(0, 2, 1).astype(np.int64).tolist(), strict=True):
        item["confusion"] = {"labels": labels, "matrix": matrix}
    if reading.task == "binary":
        cells = outcomes(_windows(windows, windows.on_time, query, reading, late=True), reading.positive)
        columns = [cell.astype(np.int64).tolist() for cell in cells]
        for item, tp, fp, fn, tn in zip(items, *columns, strict=True):
            item |= {"tp": tp, "fp": fp, "fn": fn, "tn": tn}


def _add_joined(items: list[dict[str, Any]], windows: Tumbled, reading: Reading, query: Query) -> None:
    """The on-time pairs alone, where the batch has folded late ones in."""
    folded: Any = windows.late.any(axis=1) | windows.late_confusion.any(axis=(1, 2))
    if not folded.any():
        return
    every = metrics_of(_windows(windows, windows.on_time, query, reading, late=False), reading.task, reading.positive)
    for item, metrics, some in zip(items, every, folded.tolist(), strict=True):
        if some:
            item["joined_metrics"] = metrics


def _sources(windows: Tumbled) -> list[str | None]:
    names = (None, "speed", "batch", "mixed")
    return [names[number] for number in ((windows.speed > 0) + 2 * (windows.batch > 0)).tolist()]


def _times(ms: Any) -> list[str]:
    return np.char.add(np.datetime_as_string(ms.astype("datetime64[ms]"), unit="s"), "Z").tolist()
