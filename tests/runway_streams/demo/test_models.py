from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from runway_streams.demo import models
from runway_streams.demo.flights import column, scheduled


def landed(year: pa.Table, month: int) -> pa.Table:
    flights = scheduled(year, date(2013, month, 1), date(2013, month + 1, 1))
    return flights.filter(flights["minutes_late"].is_valid())


def accuracy(trained: models.FlightModels, flights: pa.Table) -> float:
    return float((models.forecast(trained, flights).late == (column(flights, "minutes_late") > 15)).mean())


def error(trained: models.FlightModels, flights: pa.Table) -> np.ndarray:
    return models.forecast(trained, flights).minutes - column(flights, "minutes_late")


def test_the_same_flights_train_the_same_models(training, april):
    few = training.slice(0, 5_000)
    once, again = (models.forecast(models.train(few), april.slice(0, 500)) for _ in range(2))
    for name in ("score", "late", "minutes", "lower", "upper"):
        np.testing.assert_array_equal(getattr(once, name), getattr(again, name))


def test_the_outcome_is_not_known_to_the_models(trained, april, said):
    blind = models.forecast(trained, april.drop_columns(["minutes_late", "arrival"]))
    np.testing.assert_array_equal(blind.score, said.score)
    np.testing.assert_array_equal(blind.minutes, said.minutes)


def test_the_models_age(trained, training, year):
    june, july = landed(year, 6), landed(year, 7)
    assert accuracy(trained, training) > 0.79
    assert accuracy(trained, june) < 0.75
    assert accuracy(trained, july) < 0.74
    assert np.abs(error(trained, training)).mean() < 23
    assert np.abs(error(trained, july)).mean() > 31


def test_the_classifier_beats_saying_on_time_always(trained, year):
    april = landed(year, 4)
    assert accuracy(trained, april) > (column(april, "minutes_late") <= 15).mean()


def test_the_interval_holds_its_level_on_the_training_quarter(trained, training):
    said, minutes = models.forecast(trained, training), column(training, "minutes_late")
    assert (said.lower <= said.upper).all()
    covered = ((said.lower <= minutes) & (minutes <= said.upper)).mean()
    assert covered == pytest.approx(models.INTERVAL_LEVEL, abs=0.03)


def test_scores_are_probabilities_and_decide_the_label(said):
    assert ((said.score >= 0) & (said.score <= 1)).all()
    np.testing.assert_array_equal(said.late, said.score >= models.THRESHOLD)
    assert 0 < said.late.mean() < 0.3


def test_an_airline_that_is_not_known_is_a_missing_value(trained, april):
    some = april.slice(0, 3)
    position = some.schema.get_field_index("carrier")
    models.forecast(trained, some.set_column(position, "carrier", pa.array(["ZZ"] * 3)))
