import io
import zipfile
from copy import deepcopy
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from runway_streams.demo import models
from runway_streams.demo.expected import differences, expected
from runway_streams.demo.flights import data_folder

HOUR = 3_600_000
MIDNIGHT = 15_796 * 24 * HOUR  # 2013-04-01


@pytest.fixture
def five():
    """A hit, a false alarm, a miss that landed after the window, a cancelled flight, and one of the next day."""
    departure = np.array([1, 2, 3, 4, 25]) * HOUR + MIDNIGHT
    return pa.table(
        {
            "date": [date(2013, 4, 1)] * 5,
            "carrier": ["UA", "UA", "AA", "AA", "AA"],
            "departure": departure,
            "arrival": [departure[0], departure[1] + HOUR, departure[2] + 13 * HOUR, None, departure[4] + 12 * HOUR],
            "minutes_late": [16, 15, 300, None, -5],
        }
    )


@pytest.fixture
def forecast():
    late = np.array([True, True, False, True, False])
    minutes = np.array([10.0, 10, 10, 10, 10])
    return models.Forecast(late * 0.6, late, minutes, minutes - 5, minutes + 5)


def test_a_hand_counted_case(five, forecast):
    late = expected(five, forecast)[models.LATE_MODEL]
    assert (late["predictions"], late["outcomes"], late["joined"], late["late"]) == (5, 4, 3, 1)
    assert late["confusion"] == {"tp": 1, "fp": 1, "fn": 1, "tn": 1}
    assert late["metrics"]["precision"] == {"value": 0.5, "n": 2}
    assert late["days"].keys() == {"2013-04-01", "2013-04-02"}
    assert late["days"]["2013-04-02"]["joined"] == 1
    assert late["carriers"]["UA"]["confusion"] == {"tp": 1, "fp": 1, "fn": 0, "tn": 0}


def test_the_mean_absolute_error_counts_late_outcomes(five, forecast):
    delay = expected(five, forecast)[models.DELAY_MODEL]
    assert delay["metrics"]["mae"] == {"value": (6 + 5 + 290 + 15) / 4, "n": 4}


def test_what_was_never_counted_has_no_value(five, forecast):
    assert expected(five, forecast)[models.LATE_MODEL]["days"]["2013-04-02"]["metrics"]["precision"]["value"] is None


def test_a_report_that_agrees_has_no_differences(five, forecast):
    wanted = expected(five, forecast)
    assert differences(deepcopy(wanted), wanted) == []


def test_every_difference_is_a_sentence(five, forecast):
    wanted = expected(five, forecast)
    found = deepcopy(wanted)
    found[models.LATE_MODEL]["joined"] += 1
    found[models.LATE_MODEL]["confusion"]["tp"] = 9
    found[models.DELAY_MODEL]["carriers"]["UA"]["metrics"]["mae"]["value"] = 5.6
    del found[models.DELAY_MODEL]["days"]["2013-04-02"]
    assert differences(found, wanted) == [
        "nyc-arrival-late in all: joined is 4, counted from the CSV it is 3.",
        "nyc-arrival-late in all: tp is 9, counted from the CSV it is 1.",
        "nyc-arrival-delay on 2013-04-02: the CSV has it, the report does not.",
        "nyc-arrival-delay of UA: mae is 5.6, counted from the CSV it is 5.5.",
    ]


def test_sums_may_differ_in_their_last_digits(five, forecast):
    wanted = expected(five, forecast)
    found = deepcopy(wanted)
    found[models.DELAY_MODEL]["metrics"]["mae"]["value"] *= 1 + 1e-12
    assert differences(found, wanted) == []


def test_april_agrees_with_sql_over_the_csv(april, said):
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        content = io.BytesIO(archive.read("flights.csv"))
    rows = csv.read_csv(content, convert_options=csv.ConvertOptions(null_values=["NA"]))  # noqa: F841, read by name
    sql = "SELECT count(*), count(arr_delay), count_if(arr_delay > 15) FROM rows WHERE month = 4"
    flights, landed, late = duckdb.sql(sql).fetchall()[0]
    counted = expected(april, said)[models.LATE_MODEL]
    assert (counted["predictions"], counted["outcomes"]) == (flights, landed)
    assert counted["confusion"]["tp"] + counted["confusion"]["fn"] == late
    assert sum(day["predictions"] for day in counted["days"].values()) == flights
    assert sum(carrier["joined"] for carrier in counted["carriers"].values()) == counted["joined"]
    assert counted["joined"] + counted["late"] == landed
