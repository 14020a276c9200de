"""Two models of a flight's arrival, trained on the first quarter of 2013 and never again: they age in the open.

`nyc-arrival-late` says whether a flight comes in more than 15 minutes late, `nyc-arrival-delay` how many minutes, with
an interval. Both know schedule, airline, route and the last weather report at scheduled departure, nothing later.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from runway_streams.demo.flights import MISSING, column, data_folder
from runway_streams.errors import RunwayError

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

LATE_MODEL = "nyc-arrival-late"
DELAY_MODEL = "nyc-arrival-delay"
VERSION = "2013-q1"

LATE, ON_TIME = "late", "on_time"
LATE_MINUTES = 15
"""A flight that arrives more than this many minutes after schedule is late."""
THRESHOLD = 0.5
INTERVAL_LEVEL = 0.8

SCHEDULE = ("departure_minute", "weekday", "distance", "scheduled_minutes")
WEATHER = ("temperature", "wind_speed", "precipitation", "visibility", "pressure")
NUMBERS = SCHEDULE + WEATHER
CATEGORIES = ("carrier", "origin", "destination")

ROUNDS = 60
"""Boosting rounds of each of the four ensembles of trees: under a second each on two cores."""
SEED = 2013


@dataclass(frozen=True)
class FlightModels:
    """The trained models, and the categories they know; one they do not know is a missing value to them."""

    categories: dict[str, np.ndarray]
    late: "HistGradientBoostingClassifier"
    delay: "HistGradientBoostingRegressor"
    lower: "HistGradientBoostingRegressor"
    upper: "HistGradientBoostingRegressor"


@dataclass(frozen=True)
class Forecast:
    """What the models say, one element a flight, rounded as it is sent, so that no sum depends on where it is made."""

    score: np.ndarray
    late: np.ndarray
    minutes: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def check_installed() -> None:
    """Raises RunwayError where the `demo` extra is not installed."""
    data_folder()
    if find_spec("sklearn") is None:
        raise RunwayError(*MISSING)


def train(flights: pa.Table) -> FlightModels:
    """Trains on flights that all have an outcome."""
    classifier, regressor = _estimators()
    categories = {name: np.unique(column(flights, name)) for name in CATEGORIES}
    known, minutes = _matrix(flights, categories), column(flights, "minutes_late")
    tail = (1 - INTERVAL_LEVEL) / 2
    return FlightModels(
        categories,
        late=classifier().fit(known, minutes > LATE_MINUTES),
        delay=regressor().fit(known, minutes),
        lower=regressor(loss="quantile", quantile=tail).fit(known, minutes),
        upper=regressor(loss="quantile", quantile=1 - tail).fit(known, minutes),
    )


def forecast(models: FlightModels, flights: pa.Table) -> Forecast:
    """Both models' predictions for some flights."""
    known = _matrix(flights, models.categories)
    score = models.late.predict_proba(known)[:, 1].round(6)
    ends = np.sort([models.lower.predict(known), models.upper.predict(known)], axis=0).round(2)
    return Forecast(score, score >= THRESHOLD, models.delay.predict(known).round(2), *ends)


def _matrix(flights: pa.Table, categories: dict[str, np.ndarray]) -> np.ndarray:
    numbers = [column(flights, name) for name in NUMBERS]
    codes = [_codes(column(flights, name), known) for name, known in categories.items()]
    return np.column_stack(numbers + codes).astype(float)


def _codes(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Positions in `known`, which is sorted; NaN for what is not in it.

    >>> _codes(np.array(["UA", "ZZ", "AA"]), np.array(["AA", "UA"]))
    array([ 1., nan,  0.])
    """
    at = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[at] == values, at.astype(float), np.nan)


def _estimators():
    """Makers of the two estimators with the settings that all four share."""
    from sklearn import ensemble  # takes seconds, and only the demo needs it

    columns = [*([False] * len(NUMBERS)), *([True] * len(CATEGORIES))]
    shared = {"categorical_features": columns, "max_iter": ROUNDS, "early_stopping": False, "random_state": SEED}
    return (
        lambda **more: ensemble.HistGradientBoostingClassifier(**shared, **more),
        lambda **more: ensemble.HistGradientBoostingRegressor(**shared, **more),
    )
