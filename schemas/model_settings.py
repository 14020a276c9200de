"""ModelSettings: how a model's events are read; the compacted topic `runway.models`, key = model_id."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.patterns import DURATION
from schemas.prediction import ModelId, Score

Duration = Annotated[str, Meta(max_length=32, pattern=DURATION)]
"""ISO 8601, of days, hours, minutes and seconds."""
Task = Literal["binary", "multiclass", "regression"]


class BinProfile(Struct, omit_defaults=True):
    """Reference counts of one variable: of numbers between `edges` (interior, ascending: len(counts) = len(edges) + 1,
    a value v falls in the bin number `sum(v > e for e in edges)`), or of `categories` (len(counts) = len(categories))."""

    counts: list[float]
    edges: list[float] | None = None
    categories: list[str] | None = None


class ReferenceProfile(Struct, omit_defaults=True):
    """The distributions that a version was trained on, in bins: what drift is measured against."""

    features: dict[str, BinProfile] = {}
    score: BinProfile | None = None
    outcome: BinProfile | None = None


class ModelSettings(Struct, omit_defaults=True):
    """A model's settings. `effective_from` is log time in epoch ms; 0 is from the beginning."""

    model_id: ModelId
    task: Task | None = None
    join_window: Duration = "PT1H"
    labels: Annotated[list[str], Meta(max_length=20)] = []
    positive_label: str = "1"
    threshold: Score = 0.5
    segments: Annotated[list[str], Meta(max_length=16)] = []
    features: Literal["keep", "hash", "drop"] = "keep"
    profile: ReferenceProfile | None = None
    effective_from: int | None = None
