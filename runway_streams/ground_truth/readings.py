"""Readings: what a prediction says to a model, by the model's settings."""

from msgspec import Struct

from runway_streams.ground_truth.labels import canonical_label, number
from runway_streams.ground_truth.settings import Settings
from schemas.prediction import PredictionValue


class Reading(Struct, gc=False):
    """A prediction as the metrics see it; what it does not say is None."""

    label: str | None = None
    score: float | None = None
    scores: dict[str, float] | None = None
    value: float | None = None
    lower: float | None = None
    upper: float | None = None


def read_prediction(prediction: bool | float | str | PredictionValue, settings: Settings) -> Reading:
    """What `prediction` says to a model with these settings. The table in docs/contracts.md is this function.

    A score without a label becomes one by the model's threshold; scores without a label, by the largest.

    >>> from runway_streams.ground_truth.settings import Settings
    >>> read_prediction(PredictionValue(score=0.7), Settings("m", task="binary"))
    Reading(label='1', score=0.7, scores=None, value=None, lower=None, upper=None)
    >>> read_prediction(0.2, Settings("m", task="binary")).label
    '0'
    >>> read_prediction(12, Settings("m", task="regression"))
    Reading(label=None, score=None, scores=None, value=12.0, lower=None, upper=None)
    >>> read_prediction(12, Settings("m"))
    Reading(label='12', score=None, scores=None, value=12.0, lower=None, upper=None)
    """
    task = settings.task
    if isinstance(prediction, PredictionValue):
        return _read_object(prediction, settings)
    if task == "regression":
        return Reading(value=number(prediction))
    if isinstance(prediction, float) and 0 < prediction < 1 and task != "multiclass":
        value = prediction if task is None else None
        return Reading(label=settings.label_of(prediction), score=prediction, value=value)
    label = canonical_label(prediction)
    if task is None and not isinstance(prediction, bool | str):
        return Reading(label=label if prediction == int(prediction) else None, value=float(prediction))
    return Reading(label=label)


def _read_object(prediction: PredictionValue, settings: Settings) -> Reading:
    label, score, scores = prediction.label, prediction.score, prediction.scores
    interval = prediction.interval
    lower, upper = (interval.lower, interval.upper) if interval else (None, None)
    value = prediction.value
    if settings.task == "regression":
        if value is None and label is not None:
            value = number(label)
        return Reading(value=value, lower=lower, upper=upper)
    if scores:
        scores = {canonical_label(name): given for name, given in scores.items()}
    if scores and score is None and settings.task != "multiclass":
        score = scores.get(settings.positive)
    text: str | None
    if label is not None:
        text = canonical_label(label)
    elif scores:
        text = max(sorted(scores), key=scores.__getitem__)
    else:
        text = None if score is None else settings.label_of(score)
    if settings.task is None:
        return Reading(text, score, scores, value, lower, upper)
    return Reading(text, score, scores)
