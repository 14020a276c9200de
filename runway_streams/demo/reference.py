"""The two models' settings, with the distributions of the quarter that they were trained on as reference."""

import numpy as np
import pyarrow as pa

from runway_streams.demo import models
from runway_streams.demo.flights import column
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile

JOIN_WINDOW = "PT12H"


def settings_documents(training: pa.Table, said: models.Forecast) -> list[ModelSettings]:
    """What `runway.models` is told before the first prediction; `said` is what the models say of `training`."""
    features = feature_profiles(training)
    minutes = column(training, "minutes_late")
    late = np.where(minutes > models.LATE_MINUTES, models.LATE, models.ON_TIME)
    return [
        ModelSettings(
            models.LATE_MODEL,
            task="binary",
            join_window=JOIN_WINDOW,
            labels=[models.ON_TIME, models.LATE],
            positive_label=models.LATE,
            threshold=models.THRESHOLD,
            segments=["carrier"],
            profile=ReferenceProfile(features, score=deciles(said.score), outcome=category_counts(late)),
        ),
        ModelSettings(
            models.DELAY_MODEL,
            task="regression",
            join_window=JOIN_WINDOW,
            segments=["carrier"],
            profile=ReferenceProfile(features, score=deciles(said.minutes), outcome=deciles(minutes)),
        ),
    ]


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
