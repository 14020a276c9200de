"""Performance: merged accumulators of many windows to metrics, each with its n, and why where there is none.

A metric is `{"value", "n"}`; proportions add `"ci"`, the Wilson interval at 95 %; the AUC adds `"bound"`; one that cannot
be computed has the value None and a `"reason"`. `n` is what the value is a mean over, or for F1, the events it counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray
from scipy.special import ndtri

from runway_streams.ground_truth.full import CALIBRATION_BINS
from runway_streams.ground_truth.settings import Settings
from runway_streams.ground_truth.slim import INDEX, Rows

Cells = NDArray[np.float64]
T = TypeVar("T", bound=msgspec.Struct)

MAX_LABELS = 20
"""A model without a task that has more numeric labels than this is read as a regression."""
OTHER_LABEL = "__other__"
"""Where labels beyond the bound are counted."""
FULL_BIN = "PT1H"
NO_SCORES = "no scores"
NOT_YET = "histograms follow within a minute"
FINER = f"finer than {FULL_BIN}"


class Metric(msgspec.Struct, gc=False, omit_defaults=True):
    """A value and what it is made of."""

    value: float | None
    n: int
    ci: tuple[float, float] | None = None
    bound: float | None = None
    reason: str | None = None


Column = list[Metric]


class Binary(msgspec.Struct, gc=False):
    """The metrics of a binary model's window."""

    accuracy: Metric
    precision: Metric
    recall: Metric
    f1: Metric
    log_loss: Metric
    brier: Metric
    ece: Metric
    auc: Metric


class OneClass(msgspec.Struct, gc=False):
    """The metrics of one label of a multiclass model, the AUC where it has scores."""

    precision: Metric
    recall: Metric
    f1: Metric
    auc: Metric | UnsetType = UNSET


class Multiclass(msgspec.Struct, gc=False):
    """The metrics of a multiclass model's window."""

    accuracy: Metric
    precision_macro: Metric
    precision_weighted: Metric
    recall_macro: Metric
    recall_weighted: Metric
    f1_macro: Metric
    f1_weighted: Metric
    log_loss: Metric
    brier: Metric
    ece: Metric
    classes: dict[str, OneClass]


class Regression(msgspec.Struct, gc=False):
    """The metrics of a regression's window."""

    mae: Metric
    rmse: Metric
    bias: Metric
    mape: Metric
    r2: Metric
    coverage: Metric
    interval_width: Metric


Metrics = Binary | Multiclass | Regression


@dataclass(frozen=True)
class Windows:
    """What is known of n windows: merged slim `rows` (n, WIDTH) and `confusion` counts (n, predicted, actual).

    `labels` name both axes of the confusion. `histograms`: name of a family of `full.Layout` -> (n, cells).
    `no_histograms` says why there are none; else they are emitted later than the rows.
    """

    rows: Rows
    labels: tuple[str, ...]
    confusion: Cells
    histograms: Mapping[str, Cells] = field(default_factory=dict)
    no_histograms: str = ""

    def cell(self, name: str) -> Cells:
        """One slim field of all windows."""
        return self.rows[:, INDEX[name]]

    def no_counts(self) -> Column:
        """What a metric of histograms is in each window without any."""
        scored = (self.cell("scored") > 0).tolist()
        return [Metric(None, 0, reason=self.no_histograms or (NOT_YET if some else NO_SCORES)) for some in scored]


def performance(
    row: Cells,
    confusion: Mapping[tuple[str, str], float],
    settings: Settings,
    histograms: Mapping[str, Cells] | None = None,
) -> dict[str, Any]:
    """The metrics of one window: a slim row, counts by (predicted, actual) label, and families of `full.Layout`.

    >>> from runway_streams.ground_truth import slim
    >>> counts = {("1", "1"): 3, ("1", "0"): 1, ("0", "0"): 4}
    >>> found = performance(slim.empty(1)[0], counts, Settings("m", task="binary"))
    >>> found["precision"]["value"], found["recall"]["value"], found["log_loss"]
    (0.75, 1.0, {'value': None, 'n': 0, 'reason': 'no scores'})
    """
    labels, matrix = confusion_matrix(confusion)
    families = {name: np.asarray(cells)[np.newaxis] for name, cells in (histograms or {}).items()}
    windows = Windows(np.asarray(row)[np.newaxis], labels, matrix[np.newaxis], families)
    task = settings.task or guess_task(labels, float(windows.cell("errors")[0]))
    return msgspec.to_builtins(metrics_of(windows, task, positive_of(settings, labels))[0])


def confusion_matrix(counts: Mapping[tuple[str, str], float]) -> tuple[tuple[str, ...], Cells]:
    """Labels in order, and counts as (predicted, actual).

    >>> confusion_matrix({("b", "a"): 2})
    (('a', 'b'), array([[0., 0.],
           [2., 0.]]))
    """
    labels = tuple(sorted({label for pair in counts for label in pair}))
    place = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)))
    for (predicted, actual), count in counts.items():
        matrix[place[predicted], place[actual]] += count
    return labels, matrix


def guess_task(labels: Sequence[str], numeric_pairs: float) -> str:
    """The task of a model that states none, from the labels seen in all partitions and how many pairs were numbers.

    >>> guess_task(("0", "1"), 50), guess_task(("a", "b", "c"), 0), guess_task((), 50)
    ('binary', 'multiclass', 'regression')
    >>> guess_task(tuple(map(str, range(21))), 50)
    'regression'
    """
    overflow = len(labels) > MAX_LABELS or OTHER_LABEL in labels
    if numeric_pairs and (overflow or not labels):
        return "regression"
    return "binary" if len(labels) <= 2 else "multiclass"


def positive_of(settings: Settings, labels: Sequence[str]) -> str:
    """The positive label: the settings', or where a model states none and never says it, the label that sorts last.

    >>> positive_of(Settings("m"), ("0",)), positive_of(Settings("m"), ("no", "yes"))
    ('1', 'yes')
    """
    known = settings.task or settings.positive in labels or set(labels) <= {settings.negative}
    return settings.positive if known else max(labels)


def metrics_of(windows: Windows, task: str, positive: str) -> Sequence[Metrics]:
    """The metrics of each window by the model's task."""
    if task == "binary":
        return binary(windows, positive)
    return multiclass(windows) if task == "multiclass" else regression(windows)


def rows_of(kind: type[T], columns: Mapping[str, Iterable[Any]]) -> list[T]:
    """Columns of equal length as one `kind` a row; fields without a column are unset.

    >>> one = rows_of(OneClass, {"precision": [1, 2], "recall": [3, 4], "f1": [5, 6]})[0]
    >>> msgspec.to_builtins(one)
    {'precision': 1, 'recall': 3, 'f1': 5}
    """
    return list(map(kind, *(columns.get(name, repeat(UNSET)) for name in kind.__struct_fields__)))


def binary(windows: Windows, positive: str) -> list[Binary]:
    """Accuracy, precision, recall, F1 = 2 tp / (2 tp + fp + fn), log-loss, Brier score, ECE and AUC."""
    tp, fp, fn, tn = outcomes(windows, positive)
    return rows_of(
        Binary,
        {
            "accuracy": _proportion(tp + tn, tp + fp + fn + tn, "no labelled predictions"),
            "precision": _proportion(tp, tp + fp, "no positive predictions"),
            "recall": _proportion(tp, tp + fn, "no positive outcomes"),
            "f1": _ratio(2 * tp, 2 * tp + fp + fn, "no positive predictions or outcomes", n=tp + fp + fn),
            "log_loss": _loss(windows, "log_loss"),
            "brier": _loss(windows, "brier"),
            "ece": _ece(windows),
            "auc": _auc(windows, "score_class"),
        },
    )


def outcomes(windows: Windows, positive: str) -> tuple[Cells, Cells, Cells, Cells]:
    """(tp, fp, fn, tn) of each window; every label but the positive one is negative."""
    whole = windows.confusion.sum(axis=(1, 2))
    if positive not in windows.labels:
        none = np.zeros(len(whole))
        return none, none, none, whole
    i = windows.labels.index(positive)
    tp = windows.confusion[:, i, i]
    fp = windows.confusion[:, i, :].sum(axis=1) - tp
    fn = windows.confusion[:, :, i].sum(axis=1) - tp
    return tp, fp, fn, whole - tp - fp - fn


def multiclass(windows: Windows) -> list[Multiclass]:
    """Accuracy, log-loss, Brier score, ECE of the predicted label, macro and weighted averages, and `classes`: precision,
    recall, F1, AUC of each label.

    In the averages over the labels seen in a window, a class without predictions or outcomes counts as 0; the weights
    are the numbers of outcomes. Both are as scikit-learn does it with `zero_division=0`.
    """
    hits = np.diagonal(windows.confusion, axis1=1, axis2=2)
    predicted, actual = windows.confusion.sum(axis=2), windows.confusion.sum(axis=1)
    n = windows.confusion.sum(axis=(1, 2))
    parts = {"precision": (hits, predicted), "recall": (hits, actual), "f1": (2 * hits, predicted + actual)}
    columns: dict[str, list] = {"accuracy": _proportion(hits.sum(axis=1), n, "no labelled predictions")}
    seen = (predicted + actual) > 0
    for name, (part, whole) in parts.items():
        score = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
        columns[f"{name}_macro"] = _ratio(score.sum(axis=1), seen.sum(axis=1), "no labelled predictions", n=n)
        columns[f"{name}_weighted"] = _ratio((score * actual).sum(axis=1), n, "no labelled predictions")
    columns |= {"log_loss": _loss(windows, "log_loss"), "brier": _loss(windows, "brier"), "ece": _ece(windows)}
    each = [_one_class(windows, i) for i in range(len(windows.labels))]
    columns["classes"] = [dict(zip(windows.labels, row, strict=True)) for row in zip(*each, strict=True)] or [{} for _ in n]
    return rows_of(Multiclass, columns)


def _one_class(windows: Windows, i: int) -> list[OneClass]:
    hits = windows.confusion[:, i, i]
    predicted, actual = windows.confusion[:, i, :].sum(axis=1), windows.confusion[:, :, i].sum(axis=1)
    columns = {
        "precision": _proportion(hits, predicted, "never predicted"),
        "recall": _proportion(hits, actual, "never the outcome"),
        "f1": _ratio(2 * hits, predicted + actual, "never seen", n=predicted + actual - hits),
    }
    family = f"class:{windows.labels[i]}"
    if family in windows.histograms and windows.histograms[family].any():
        columns["auc"] = _auc(windows, family)
    return rows_of(OneClass, columns)


def regression(windows: Windows) -> list[Regression]:
    """MAE, RMSE, bias (mean of value - outcome), MAPE where the outcome is not 0, R2, interval coverage and width.

    R2 = 1 - (M2 + n mean^2 of the error) / (M2 of the outcome).
    """
    n, mean = windows.cell("errors"), windows.cell("error_mean")
    squares = windows.cell("error_m2") + n * mean**2
    spread = windows.cell("outcome_m2")
    intervals = windows.cell("intervals")
    no_pairs, no_intervals = "no numeric outcomes", "no prediction intervals"
    columns = {
        "mae": _ratio(windows.cell("abs_error"), n, no_pairs),
        "rmse": _mean(np.sqrt(_divide(squares, n)), n, no_pairs),
        "bias": _mean(mean, n, no_pairs),
        "mape": _ratio(windows.cell("ape"), windows.cell("ape_n"), "no outcomes other than 0"),
        "r2": _ratio(spread - squares, spread, "the outcomes do not vary", n=n),
        "coverage": _proportion(windows.cell("covered"), intervals, no_intervals),
        "interval_width": _ratio(windows.cell("width"), intervals, no_intervals),
    }
    return rows_of(Regression, columns)


def wilson(successes: Cells, n: Cells, confidence: float = 0.95) -> tuple[Cells, Cells]:
    """Wilson's interval of a proportion (1927), n > 0.

    >>> [bound.round(3).tolist() for bound in wilson(np.array([9.0]), np.array([10.0]))]
    [[0.596], [0.982]]
    """
    z = ndtri((1 + confidence) / 2)
    share, square = successes / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def expected_calibration_error(cells: Cells) -> Cells:
    """ECE = sum over bins of |mean score - share of positives| n_bin / n; `cells` is (windows, bins x 3) of n, sum of
    scores, positives. Windows without scores are 0.

    >>> expected_calibration_error(np.array([[10, 2, 1, 10, 8, 9.0]])).round(3).tolist()
    [0.1]
    """
    bins = cells.reshape(len(cells), cells.shape[1] // 3, 3)
    gaps = np.abs(bins[:, :, 1] - bins[:, :, 2]).sum(axis=1)
    return _divide(gaps, bins[:, :, 0].sum(axis=1))


def area_under_curve(negatives: Cells, positives: Cells) -> tuple[Cells, Cells]:
    """AUC from counts by ascending score bin (windows, bins), and the most it can be off: ties in a bin count one half.

    >>> [x.tolist() for x in area_under_curve(np.array([[1, 1, 0.0]]), np.array([[0, 1, 1.0]]))]
    [[0.875], [0.125]]
    """
    pairs = negatives.sum(axis=1) * positives.sum(axis=1)
    ties = np.vecdot(negatives, positives) / 2
    ranked = np.vecdot(positives, np.cumsum(negatives, axis=1)) - ties
    return _divide(ranked, pairs), _divide(ties, pairs)


def _loss(windows: Windows, name: str) -> Column:
    return _ratio(windows.cell(name), windows.cell("scored"), NO_SCORES)


def _ece(windows: Windows) -> Column:
    cells = windows.histograms.get("calibration")
    if cells is None:
        return windows.no_counts()
    n = _whole(cells.reshape(len(cells), CALIBRATION_BINS, 3)[:, :, 0].sum(axis=1))
    errors = expected_calibration_error(cells).tolist()
    return [
        Metric(error, count) if count else none for error, count, none in zip(errors, n, windows.no_counts(), strict=True)
    ]


def _auc(windows: Windows, family: str) -> Column:
    cells = windows.histograms.get(family)
    if cells is None:
        return windows.no_counts()
    negatives, positives = np.split(cells, 2, axis=1)
    area, bound = area_under_curve(negatives, positives)
    of_each = negatives.sum(axis=1), positives.sum(axis=1)
    n, both = _whole(sum(of_each)), np.minimum(*of_each) > 0
    columns = area.tolist(), n, bound.tolist(), both.tolist(), windows.no_counts()
    return [
        Metric(value, count, None, most)
        if defined
        else (Metric(None, count, reason="outcomes of one class only") if count else none)
        for value, count, most, defined, none in zip(*columns, strict=True)
    ]


def _divide(part: Cells, whole: Cells) -> Cells:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)


def _whole(numbers: Cells) -> list[int]:
    return numbers.astype(np.int64).tolist()


def _proportion(part: Cells, whole: Cells, reason: str) -> Column:
    safe = np.where(whole > 0, whole, 1)
    low, high = wilson(np.minimum(part, safe), safe)
    intervals = zip(low.tolist(), high.tolist(), strict=True)
    none = Metric(None, 0, reason=reason)
    return [
        Metric(value, n, interval) if n else none
        for value, n, interval in zip((part / safe).tolist(), _whole(whole), intervals, strict=True)
    ]


def _ratio(part: Cells, whole: Cells, reason: str, n: Cells | None = None) -> Column:
    counts = _whole(whole if n is None else n)
    return [
        Metric(value, count) if size else Metric(None, count, reason=reason)
        for value, size, count in zip(_divide(part, whole).tolist(), whole.tolist(), counts, strict=True)
    ]


def _mean(value: Cells, n: Cells, reason: str) -> Column:
    none = Metric(None, 0, reason=reason)
    return [Metric(mean, count) if count else none for mean, count in zip(value.tolist(), _whole(n), strict=True)]
