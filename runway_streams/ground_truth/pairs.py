"""Joined pairs: what predictions and their outcomes say together, a whole batch as columns."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.settings import Settings
from runway_streams.ground_truth.slim_table import Measures

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
NAN = math.nan
_TASKS = {None: 0, "binary": 1, "multiclass": 2, "regression": 3}


class JoinedPairs(NamedTuple):
    """Predictions, their outcomes, and the settings by which they are read together, an entry each pair.

    `score` is NaN where there is none; `positive`: the positive label became true; `is_multiclass`: by the model's task.
    """

    predictions: Sequence[PredictionHead]
    outcomes: Sequence[OutcomeHead]
    settings: Sequence[Settings]
    score: Floats
    positive: Bools
    is_multiclass: Bools
    measures: Measures

    @property
    def labels(self) -> list[tuple[str | None, str]]:
        """(predicted, actual); predicted is None where the pair has no labels to compare."""
        return [
            (None if settings.task == "regression" else prediction.label, outcome.label)
            for prediction, outcome, settings in zip(self.predictions, self.outcomes, self.settings, strict=True)
        ]

    @property
    def has_histograms(self) -> Bools:
        """Whether the full tier has anything to count."""
        profiled = np.array([settings.profile is not None for settings in self.settings])
        return ~np.isnan(self.measures.truth) | (profiled & ~np.isnan(self.measures.outcome))


def read_pairs(
    predictions: Sequence[PredictionHead], outcomes: Sequence[OutcomeHead], settings: Sequence[Settings]
) -> JoinedPairs:
    """Reads pairs: the probability given to what became true, the Brier score, the numbers, the intervals.

    Binary, or no task: p = score if the outcome is the positive label, else 1 - score; Brier (1 - p)^2. Multiclass: p =
    scores[actual], 0 where it is missing; Brier = sum over the classes of (score - is actual)^2. Regression, or no task:
    value and outcome, where both are numbers.

    >>> one = read_pairs([PredictionHead(0, 0, label="1", score=0.8)], [OutcomeHead(0, 0, label="1")], [Settings("m", "binary")])
    >>> one.measures.truth.tolist(), one.measures.brier.round(6).tolist(), one.labels
    ([0.8], [0.04], [('1', '1')])
    """
    task = np.array([_TASKS[own.task] for own in settings])
    score = _floats([prediction.score for prediction in predictions])
    positive = np.array([outcome.label == own.positive for outcome, own in zip(outcomes, settings, strict=True)])
    truth = np.where(task <= 1, np.where(positive, score, 1.0 - score), NAN)
    brier = (1.0 - truth) ** 2
    is_multiclass = task == 2
    for i in np.flatnonzero(is_multiclass).tolist():
        truth[i], brier[i] = _multiclass(predictions[i].scores, outcomes[i].label)
    value, outcome = _numbers(predictions, outcomes, (task == 0) | (task == 3))
    lower, upper = _intervals(predictions)
    measures = Measures(truth, brier, value, outcome, lower, upper)
    return JoinedPairs(predictions, outcomes, settings, score, positive, is_multiclass, measures)


def _multiclass(scores: dict[str, float] | None, actual: str) -> tuple[float, float]:
    if not scores:
        return NAN, NAN
    brier = sum((score - (label == actual)) ** 2 for label, score in scores.items())
    return scores.get(actual, 0.0), brier + (0.0 if actual in scores else 1.0)


def _numbers(
    predictions: Sequence[PredictionHead], outcomes: Sequence[OutcomeHead], numeric: Bools
) -> tuple[Floats, Floats]:
    value = _floats([prediction.value for prediction in predictions])
    outcome = _floats([outcome.value for outcome in outcomes])
    missing = ~numeric | np.isnan(value) | np.isnan(outcome)
    value[missing] = outcome[missing] = NAN
    return value, outcome


def _intervals(predictions: Sequence[PredictionHead]) -> tuple[Floats, Floats]:
    intervals = np.full((2, len(predictions)), NAN)
    for i, prediction in enumerate(predictions):
        if prediction.interval is not None:
            intervals[:, i] = prediction.interval
    return intervals[0], intervals[1]


def _floats(values: list[float | None]) -> Floats:
    """None becomes NaN."""
    return np.array(values, dtype=np.float64)
