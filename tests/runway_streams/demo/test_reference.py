import msgspec
import numpy as np
import pytest

from runway_streams.demo import models
from runway_streams.demo.flights import column
from runway_streams.demo.reference import deciles, registrations
from runway_streams.ground_truth.settings import Settings
from runway_streams.registry.settings import settings_of
from runway_streams.times import HOUR


@pytest.fixture(scope="module")
def documents(trained, training):
    told = registrations(training, models.forecast(trained, training))
    return {each.model.model_id: settings_of(each.model, each.version.profile) for each in told}


def test_the_settings_are_accepted(documents):
    late = Settings.from_document(documents[models.LATE_MODEL])
    delay = Settings.from_document(documents[models.DELAY_MODEL])
    assert (late.task, late.positive, late.negative, late.window) == ("binary", "late", "on_time", 12 * HOUR)
    assert (delay.task, delay.window, delay.segments) == ("regression", 12 * HOUR, {"carrier"})


def test_the_reference_has_every_feature_and_every_flight(documents, training):
    for document in documents.values():
        profile = document.profile
        assert set(profile.features) == set(models.NUMBERS + models.CATEGORIES)
        assert sum(profile.score.counts) == sum(profile.outcome.counts) == len(training)
        for name, feature in profile.features.items():
            assert sum(feature.counts) == len(training) - training[name].null_count
            assert min(feature.counts) > 0
            assert (feature.edges is None) == (name in models.CATEGORIES)


def test_bins_are_counted_as_the_schema_says(documents, training):
    profile = documents[models.DELAY_MODEL].profile.features["wind_speed"]
    values = column(training, "wind_speed")
    values = values[~np.isnan(values)]
    at = (values[:, None] > np.array(profile.edges)).sum(axis=1)
    assert np.bincount(at).tolist() == profile.counts


def test_equal_values_are_one_bin():
    assert deciles(np.zeros(5)).counts == [5.0]


def test_a_document_is_small_and_survives_json(documents):
    for document in documents.values():
        encoded = msgspec.json.encode(document)
        assert len(encoded) < 16_000
        assert msgspec.json.decode(encoded, type=type(document)) == document
