"""The year's flights and the trained models, read and trained once for all tests."""

from datetime import date

import pyarrow as pa
import pytest

from runway_streams.demo import models
from runway_streams.demo.flights import all_flights, scheduled, training_flights


@pytest.fixture(scope="session")
def year() -> pa.Table:
    return all_flights()


@pytest.fixture(scope="session")
def training(year) -> pa.Table:
    return training_flights(year)


@pytest.fixture(scope="session")
def trained(training) -> models.FlightModels:
    return models.train(training)


@pytest.fixture(scope="session")
def april(year) -> pa.Table:
    return scheduled(year, date(2013, 4, 1), date(2013, 5, 1))


@pytest.fixture(scope="session")
def said(trained, april) -> models.Forecast:
    return models.forecast(trained, april)
