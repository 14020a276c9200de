"""What the report has to say, counted straight from the flights and the models' predictions, without any stream."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from runway_streams.demo import models
from runway_streams.demo.flights import column

JOIN_WINDOW_MS = 12 * 3_600_000
DAY_MS = 24 * 3_600_000
TOLERANCE = 1e-9
"""Relative difference that two orders of adding up the same numbers may make."""

Numbers = dict[str, Any]


def expected(flights: pa.Table, said: models.Forecast) -> dict[str, Numbers]:
    """Each model's totals, and the same by UTC day of scheduled departure (`days`) and by airline (`carriers`)."""
    whole = np.ones(len(flights), bool)
    day, carrier = column(flights, "departure") // DAY_MS, column(flights, "carrier")
    return {
        model: count(flights, said, whole)
        | {"days": {_date(key): count(flights, said, day == key) for key in np.unique(day)}}
        | {"carriers": {key: count(flights, said, carrier == key) for key in np.unique(carrier)}}
        for model, count in ((models.LATE_MODEL, _count_late), (models.DELAY_MODEL, _count_delay))
    }


def differences(found: dict[str, Numbers], wanted: dict[str, Numbers]) -> list[str]:
    """One sentence for each number of the report that is not the expected one; the report's shape is `report`'s."""
    told = []
    for model, numbers in wanted.items():
        got = found[model]
        told += _differences(f"{model} in all", got, numbers)
        for kind in ("days", "carriers"):
            if kind in got:
                told += _group_differences(f"{model} on" if kind == "days" else f"{model} of", got[kind], numbers[kind])
    return told


def _group_differences(where: str, found: dict[str, Numbers], wanted: dict[str, Numbers]) -> list[str]:
    told = [f"{where} {key}: the report has it, the CSV does not." for key in found if key not in wanted]
    told += [f"{where} {key}: the CSV has it, the report does not." for key in wanted if key not in found]
    for key in found.keys() & wanted.keys():
        told += _differences(f"{where} {key}", found[key], wanted[key])
    return sorted(told)


def _differences(where: str, found: Numbers, wanted: Numbers) -> list[str]:
    """Compares what `wanted` has; `found` may know more.

    >>> _differences("m in all", {"joined": 7, "metrics": {}}, {"joined": 8, "metrics": {"mae": {"value": None}}})
    ['m in all: joined is 7, counted from the CSV it is 8.']
    """
    got, true = _flat(found), _flat(wanted)
    return [
        f"{where}: {name} is {got.get(name)}, counted from the CSV it is {value}."
        for name, value in true.items()
        if not _equal(got.get(name), value)
    ]


def _flat(numbers: Numbers) -> dict[str, float | None]:
    counts = {name: value for name, value in numbers.items() if isinstance(value, int)}
    metrics = {name: metric and metric["value"] for name, metric in numbers["metrics"].items()}
    return counts | (numbers.get("confusion") or {}) | metrics


def _equal(got: float | None, value: float | None) -> bool:
    if got is None or value is None:
        return got is value
    return got == value or abs(got - value) <= TOLERANCE * abs(value)


def _count_late(flights: pa.Table, said: models.Forecast, chosen: np.ndarray) -> Numbers:
    minutes = column(flights, "minutes_late")
    counted = chosen & ~np.isnan(minutes)
    actual, predicted = minutes[counted] > models.LATE_MINUTES, said.late[counted]
    confusion = {
        "tp": int((actual & predicted).sum()),
        "fp": int((~actual & predicted).sum()),
        "fn": int((actual & ~predicted).sum()),
        "tn": int((~actual & ~predicted).sum()),
    }
    tp, fp, fn, tn = confusion.values()
    metrics = {
        "accuracy": _share(tp + tn, tp + fp + fn + tn),
        "precision": _share(tp, tp + fp),
        "recall": _share(tp, tp + fn),
    }
    return _count_joins(flights, chosen) | {"confusion": confusion, "metrics": metrics}


def _count_delay(flights: pa.Table, said: models.Forecast, chosen: np.ndarray) -> Numbers:
    minutes = column(flights, "minutes_late")
    counted = chosen & ~np.isnan(minutes)
    error = np.abs(said.minutes[counted] - minutes[counted])
    return _count_joins(flights, chosen) | {"metrics": {"mae": _share(float(error.sum()), len(error))}}


def _count_joins(flights: pa.Table, chosen: np.ndarray) -> Numbers:
    delay = (column(flights, "arrival") - column(flights, "departure"))[chosen]
    delay = delay[~np.isnan(delay)]
    joined = int(((delay >= 0) & (delay <= JOIN_WINDOW_MS)).sum())
    return {
        "predictions": int(chosen.sum()),
        "outcomes": len(delay),
        "joined": joined,
        "late": int((delay > JOIN_WINDOW_MS).sum()),
    }


def _share(part: float, whole: int) -> Numbers:
    """A metric as the API writes it; it has no value where nothing was counted."""
    return {"value": part / whole if whole else None, "n": whole}


def _date(day: int) -> str:
    """The date of a day counted from the epoch.

    >>> _date(15796)
    '2013-04-01'
    """
    return datetime.fromtimestamp(int(day) * 86_400, UTC).date().isoformat()
