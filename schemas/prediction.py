"""Prediction: what a served model said, written to `runway.predictions` with key = prediction_id."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.patterns import MODEL_ID

Id = Annotated[str, Meta(min_length=1, max_length=256)]
ModelId = Annotated[str, Meta(min_length=1, max_length=128, pattern=MODEL_ID)]
Version = Annotated[str, Meta(max_length=128)]
Timestamp = Annotated[datetime, Meta(tz=True)] | int | float
"""RFC 3339 with an offset, or epoch seconds or milliseconds, told apart by size (see `ground_truth.event_time`)."""
Label = bool | int | float | str
Score = Annotated[float, Meta(ge=0, le=1)]


class Interval(Struct, gc=False):
    """A prediction interval: the outcome is expected in [lower, upper] with probability `level`."""

    lower: float
    upper: float
    level: Annotated[float, Meta(gt=0, lt=1)] | None = None


class PredictionValue(Struct):
    """The full form of `prediction`; a bare number, string or boolean is short for one of its fields."""

    label: Label | None = None
    score: Score | None = None
    scores: dict[str, Score] | None = None
    value: float | None = None
    interval: Interval | None = None


class Prediction(Struct):
    """One prediction. An optional field may be null, which is the same as leaving it out.

    >>> import msgspec
    >>> p = msgspec.json.decode(b'{"prediction_id":"a","model_id":"m","timestamp":1,"prediction":true}', type=Prediction)
    >>> p.prediction, p.model_version
    (True, None)
    """

    prediction_id: Id
    model_id: Annotated[str, Meta(min_length=1, max_length=128)]
    timestamp: Timestamp
    prediction: bool | int | float | str | PredictionValue
    model_version: Version | None = None
    features: dict[str, Any] | None = None
    feature_timestamps: dict[str, Timestamp] | None = None
    segment: dict[str, str] | None = None
    entity_id: str | None = None
