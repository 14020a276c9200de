"""The flights as events: each model's prediction at scheduled departure and the outcome at arrival, in that order."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from runway_streams.demo import models
from runway_streams.demo.flights import column

PREDICTIONS, OUTCOMES = "predictions", "outcomes"
"""The nouns of the two topics; the configuration has the prefix."""
CHUNK = 10_000
"""Flights whose features are held as Python objects at a time."""


class Event(NamedTuple):
    """One record as it is produced; `noun` names its topic, the key is the prediction's id."""

    noun: str
    key: bytes
    value: bytes


def count_events(flights: pa.Table) -> int:
    """How many events the flights make: a prediction a model and flight, an outcome a model and arrival."""
    arrivals = len(flights) - flights["arrival"].null_count
    return 2 * (len(flights) + arrivals)


def events(flights: pa.Table, said: models.Forecast) -> Iterator[Event]:
    """All events in the order of their time; where times are equal, predictions come first."""
    departure, arrival = column(flights, "departure"), column(flights, "arrival").astype(float)
    landed = np.flatnonzero(~np.isnan(arrival))
    times = np.concatenate([departure, arrival[landed]])
    order = np.argsort(times, kind="stable")
    predictions = _predictions(flights, said)
    outcomes = _outcomes(flights, landed[np.argsort(arrival[landed], kind="stable")])
    for index in order:
        yield from next(predictions if index < len(flights) else outcomes)


def _predictions(flights: pa.Table, said: models.Forecast) -> Iterator[list[Event]]:
    """Both models' predictions of each flight, in the table's order, which is that of departures."""
    for first in range(0, len(flights), CHUNK):
        rows = flights.slice(first, CHUNK).to_pylist()
        for at, row in enumerate(rows, first):
            known = _known_at_departure(row)
            late = {"model_id": models.LATE_MODEL, "prediction": _late(said, at)} | known
            delay = {"model_id": models.DELAY_MODEL, "prediction": _delay(said, at)} | known
            flight_id = row["flight_id"]
            yield [_event(PREDICTIONS, late_id(flight_id), late), _event(PREDICTIONS, delay_id(flight_id), delay)]


def _outcomes(flights: pa.Table, arrivals: np.ndarray) -> Iterator[list[Event]]:
    """Both models' outcomes of each flight that landed, in the order given."""
    ids = column(flights, "flight_id")[arrivals]
    minutes, times = (column(flights, name)[arrivals].astype(int) for name in ("minutes_late", "arrival"))
    for flight_id, late_by, at in zip(ids, minutes.tolist(), times.tolist(), strict=True):
        label = models.LATE if late_by > models.LATE_MINUTES else models.ON_TIME
        late, delay = ({"actual_outcome": outcome, "timestamp": at} for outcome in (label, late_by))
        yield [_event(OUTCOMES, late_id(flight_id), late), _event(OUTCOMES, delay_id(flight_id), delay)]


def _known_at_departure(row: dict[str, Any]) -> dict[str, Any]:
    """The part of the event that both models share. A feature without a value is left out."""
    features = {name: row[name] for name in models.NUMBERS + models.CATEGORIES if row[name] is not None}
    return {
        "model_version": models.VERSION,
        "timestamp": row["departure"],
        "features": features,
        "feature_timestamps": {name: row["observed"] for name in models.WEATHER if name in features},
        "segment": {"carrier": row["carrier"]},
    }


def _late(said: models.Forecast, at: int) -> dict[str, Any]:
    return {"label": models.LATE if said.late[at] else models.ON_TIME, "score": float(said.score[at])}


def _delay(said: models.Forecast, at: int) -> dict[str, Any]:
    interval = {"lower": float(said.lower[at]), "upper": float(said.upper[at]), "level": models.INTERVAL_LEVEL}
    return {"value": float(said.minutes[at]), "interval": interval}


def _event(noun: str, prediction_id: str, content: dict[str, Any]) -> Event:
    return Event(noun, prediction_id.encode(), orjson.dumps({"prediction_id": prediction_id} | content))


def late_id(flight_id: str) -> str:
    """The prediction id of `nyc-arrival-late`.

    >>> late_id("2013-04-01-UA1545-EWR")
    'late-2013-04-01-UA1545-EWR'
    """
    return f"late-{flight_id}"


def delay_id(flight_id: str) -> str:
    """The prediction id of `nyc-arrival-delay`.

    >>> delay_id("2013-04-01-UA1545-EWR")
    'delay-2013-04-01-UA1545-EWR'
    """
    return f"delay-{flight_id}"
