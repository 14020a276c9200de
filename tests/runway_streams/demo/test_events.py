from collections import Counter

import msgspec
import numpy as np
import pytest

from runway_streams.demo import models
from runway_streams.demo.events import OUTCOMES, PREDICTIONS, count_events, events
from runway_streams.times import event_time
from schemas.outcome import Outcome
from schemas.prediction import Prediction, PredictionValue


@pytest.fixture(scope="module")
def sent(april, said):
    return list(events(april, said))


@pytest.fixture(scope="module")
def predictions(sent):
    decoder = msgspec.json.Decoder(Prediction)
    return {e.key.decode(): decoder.decode(e.value) for e in sent if e.noun == PREDICTIONS}


@pytest.fixture(scope="module")
def outcomes(sent):
    decoder = msgspec.json.Decoder(Outcome)
    return {e.key.decode(): decoder.decode(e.value) for e in sent if e.noun == OUTCOMES}


def test_a_prediction_a_model_and_flight_and_an_outcome_a_model_and_arrival(sent, april, predictions, outcomes):
    assert len(sent) == count_events(april) == len(predictions) + len(outcomes)
    assert len(predictions) == 2 * len(april) == 2 * 28_330
    assert len(outcomes) == 2 * (len(april) - april["minutes_late"].null_count) == 2 * 27_564
    assert outcomes.keys() < predictions.keys()


def test_the_key_is_the_prediction_id(predictions, outcomes):
    for decoded in (predictions, outcomes):
        assert all(key == event.prediction_id for key, event in decoded.items())


def test_events_are_in_the_order_of_their_time(sent, predictions, outcomes):
    times = [event_time((predictions if e.noun == PREDICTIONS else outcomes)[e.key.decode()].timestamp) for e in sent]
    assert (np.diff(times) >= 0).all()


def test_each_prediction_comes_before_its_outcome(sent):
    seen = set()
    for event in sent:
        assert event.noun == PREDICTIONS or event.key in seen
        seen.add(event.key)


def test_both_models_see_the_same_flights(predictions):
    assert Counter(event.model_id for event in predictions.values()) == {
        models.LATE_MODEL: 28_330,
        models.DELAY_MODEL: 28_330,
    }


def test_what_a_prediction_carries(predictions):
    late = predictions["late-2013-04-01-US1843-EWR"]
    assert late.model_version == models.VERSION
    assert late.segment == {"carrier": "US"}
    assert late.features["origin"] == "EWR"
    assert late.features["departure_minute"] == 300
    assert set(late.feature_timestamps) == set(models.WEATHER)
    assert max(late.feature_timestamps.values()) <= late.timestamp - 3_600_000
    assert isinstance(late.prediction, PredictionValue)
    assert late.prediction.label in {models.LATE, models.ON_TIME}
    assert 0 <= late.prediction.score <= 1


def test_what_a_regression_carries(predictions, outcomes):
    delay = predictions["delay-2013-04-01-US1843-EWR"].prediction
    assert delay.interval.lower <= delay.interval.upper
    assert delay.interval.level == models.INTERVAL_LEVEL
    assert isinstance(outcomes["delay-2013-04-01-US1843-EWR"].actual_outcome, int)
    assert outcomes["late-2013-04-01-US1843-EWR"].actual_outcome in {models.LATE, models.ON_TIME}


def test_a_missing_feature_is_left_out(predictions):
    assert all(None not in event.features.values() for event in predictions.values())
    assert any("pressure" not in event.features for event in predictions.values())
