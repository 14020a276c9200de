"""Joined pairs: what one prediction and its outcome say together, and many of them as columns."""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.settings import Settings
from runway_streams.ground_truth.slim_table import Pairs

NAN = math.nan


class JoinedPair(Struct, gc=False):
    """A prediction and its outcome, read together by the model's settings; NaN where they say nothing of the kind."""

    prediction: PredictionHead
    settings: Settings
    actual: str
    truth: float = NAN
    brier: float = NAN
    value: float = NAN
    outcome: float = NAN
    labels: tuple[str, str] | None = None

    @property
    def has_histograms(self) -> bool:
        """Whether the full tier has anything to count."""
        return self.truth == self.truth or (self.settings.profile is not None and self.outcome == self.outcome)


def truth_of(prediction: PredictionHead, outcome: OutcomeHead, settings: Settings) -> JoinedPair:
    """Reads a pair: the probability given to what became true, the Brier score, the numbers, the labels.

    Binary, or no task: p = score if the outcome is the positive label, else 1 - score; Brier (1 - p)^2. Multiclass: p =
    scores[actual], 0 where it is missing; Brier = sum over the classes of (score - is actual)^2.

    >>> pair = truth_of(PredictionHead(0, 0, label="1", score=0.8), OutcomeHead(0, 0, label="1"), Settings("m", "binary"))
    >>> pair.truth, round(pair.brier, 6), pair.labels
    (0.8, 0.04, ('1', '1'))
    """
    task, actual = settings.task, outcome.label
    value = outcome_value = truth = brier = NAN
    if task not in {"binary", "multiclass"} and prediction.value is not None and outcome.value is not None:
        value, outcome_value = prediction.value, outcome.value
    if task == "regression":
        return JoinedPair(prediction, settings, actual, truth, brier, value, outcome_value)
    if task == "multiclass":
        if prediction.scores:
            truth = prediction.scores.get(actual, 0.0)
            brier = sum((s - (label == actual)) ** 2 for label, s in prediction.scores.items())
            brier += 0.0 if actual in prediction.scores else 1.0
    elif prediction.score is not None:
        truth = prediction.score if actual == settings.positive else 1.0 - prediction.score
        brier = (1.0 - truth) ** 2
    labels = None if prediction.label is None else (prediction.label, actual)
    return JoinedPair(prediction, settings, actual, truth, brier, value, outcome_value, labels)


def columns(pairs: Sequence[JoinedPair]) -> Pairs:
    """The pairs as columns.

    >>> pair = truth_of(PredictionHead(0, 0, value=3.0), OutcomeHead(0, 0, label="1", value=1.0), Settings("m", "regression"))
    >>> columns([pair, pair]).value.tolist()
    [3.0, 3.0]
    """
    intervals = [pair.prediction.interval or (NAN, NAN) for pair in pairs]
    return Pairs(
        truth=_column([pair.truth for pair in pairs]),
        brier=_column([pair.brier for pair in pairs]),
        value=_column([pair.value for pair in pairs]),
        outcome=_column([pair.outcome for pair in pairs]),
        lower=_column([lower for lower, _ in intervals]),
        upper=_column([upper for _, upper in intervals]),
    )


def _column(values: list[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)
