"""The two models and their versions, with the distributions of the quarter that they were trained on as reference."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa

from runway_streams.demo import models
from runway_streams.demo.flights import column
from schemas.model import Model
from schemas.model_settings import BinProfile, ReferenceProfile
from schemas.model_version import FeatureUse, TrainingInterval
from schemas.requests import NewVersion

COMMON: dict[str, Any] = {
    "owner": "flights",
    "tags": ["demo"],
    "join_window": "PT12H",
    "segments": ["carrier"],
}
TRAINED_ON = (date(2013, 1, 1), date(2013, 4, 1))
"""The quarter, its end excluded."""


@dataclass(frozen=True)
class Registration:
    """What the registry is told of a model before its first prediction."""

    model: Model
    version: NewVersion


def registrations(training: pa.Table, said: models.Forecast) -> list[Registration]:
    """The two models and their versions, in production; `said` is what the models say of `training`."""
    features = feature_profiles(training)
    minutes = column(training, "minutes_late")
    late = np.where(minutes > models.LATE_MINUTES, models.LATE, models.ON_TIME)
    right = np.mean((said.score >= models.THRESHOLD) == (late == models.LATE))
    error = np.mean(np.abs(said.minutes - minutes))
    return [
        Registration(
            Model(
                models.LATE_MODEL,
                name="Flights that arrive late",
                description=f"Whether a flight from New York arrives more than {models.LATE_MINUTES} minutes late.",
                task="binary",
                labels=[models.ON_TIME, models.LATE],
                positive_label=models.LATE,
                threshold=models.THRESHOLD,
                **COMMON,
            ),
            _version(ReferenceProfile(features, score=deciles(said.score), outcome=category_counts(late)), accuracy=right),
        ),
        Registration(
            Model(
                models.DELAY_MODEL,
                name="Minutes that flights are late",
                description="How many minutes late a flight from New York arrives.",
                task="regression",
                **COMMON,
            ),
            _version(ReferenceProfile(features, score=deciles(said.minutes), outcome=deciles(minutes)), mae=error),
        ),
    ]


def _version(profile: ReferenceProfile, **metrics: float) -> NewVersion:
    first, after = (datetime.combine(day, time(), UTC) for day in TRAINED_ON)
    return NewVersion(
        models.VERSION,
        training_interval=TrainingInterval(first, after),
        trained_at=after,
        metrics={name: float(value) for name, value in metrics.items()},
        features=[FeatureUse(name) for name in models.NUMBERS + models.CATEGORIES],
        profile=profile,
        stage="production",
    )


def feature_profiles(training: pa.Table) -> dict[str, BinProfile]:
    """Every feature in bins: deciles of numbers, the known values of categories."""
    numbers = {name: deciles(column(training, name)) for name in models.NUMBERS}
    return numbers | {name: category_counts(column(training, name)) for name in models.CATEGORIES}


def deciles(values: np.ndarray) -> BinProfile:
    """Counts between the deciles of the values that are there; deciles that are equal make one edge.

    >>> deciles(np.array([0.0, 0, 0, 0, 0, 0, 0, 1, 2, np.nan]))
    BinProfile(counts=[7.0, 1.0, 1.0], edges=[0.0, 1.0], categories=None)
    """
    present = np.asarray(values, float)
    present = present[~np.isnan(present)]
    edges = np.unique(np.quantile(present, np.arange(1, 10) / 10, method="lower"))
    edges = edges[edges < present.max()]  # above the greatest value no bin would have a reference
    counts = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
    return BinProfile(counts.astype(float).tolist(), edges=edges.tolist())


def category_counts(values: np.ndarray) -> BinProfile:
    """Counts of each category, by name.

    >>> category_counts(np.array(["LGA", "EWR", "LGA"]))
    BinProfile(counts=[1.0, 2.0], edges=None, categories=['EWR', 'LGA'])
    """
    names, counts = np.unique(values.astype(str), return_counts=True)
    return BinProfile(counts.astype(float).tolist(), categories=names.tolist())
