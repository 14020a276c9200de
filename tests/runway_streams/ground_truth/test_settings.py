"""Settings: checked once at the door, and in force by log time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.errors import RunwayError
from runway_streams.ground_truth.settings import MAX_EDGES, Settings, SettingsHistory, digest_of
from runway_streams.times import DAY, HOUR
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile

changes = st.lists(st.integers(0, 50), min_size=1, max_size=20, unique=True)


@given(changes, st.integers(0, 60), st.randoms())
def test_the_newest_change_that_is_not_later_is_in_force(starts, log_time, order):
    history = SettingsHistory()
    shuffled = list(starts)
    order.shuffle(shuffled)
    for start in shuffled + shuffled:
        history.add(Settings("m", window=start + 1, effective_from=start))
    begun = [start for start in starts if start <= log_time]
    expected = Settings("m", window=max(begun) + 1, effective_from=max(begun)) if begun else Settings("m")
    assert history.at("m", log_time) == expected
    assert history.at("other", log_time) == Settings("other")
    assert history.models() == ["m"]


def test_the_same_settings_are_the_same_object():
    history = SettingsHistory()
    assert history.at("m", 1) is history.at("m", 2)


def test_a_model_keeps_its_last_32_changes():
    history = SettingsHistory()
    for start in random.Random(1).sample(range(1, 41), 40):
        history.add(Settings("m", effective_from=start, window=start))
    assert history.at("m", 8).window == HOUR
    assert [history.at("m", start).window for start in range(9, 41)] == list(range(9, 41))


def test_the_memory_of_unknown_models_is_bounded():
    history = SettingsHistory()
    history.DEFAULTS = 3
    for i in range(10):
        assert history.at(f"m{i}", 0).model_id == f"m{i}"
    assert len(history._defaults) <= 3


def test_a_document_is_read():
    settings = Settings.from_document(
        ModelSettings("m", "binary", "PT12H", ["on_time", "late"], "late", 0.3, ["carrier"], "drop", effective_from=5)
    )
    assert settings == Settings(
        "m",
        "binary",
        12 * HOUR,
        "late",
        "on_time",
        0.3,
        ("on_time", "late"),
        frozenset({"carrier"}),
        "drop",
        effective_from=5,
    )
    assert Settings.from_document(ModelSettings("m", join_window="P1D")).window == DAY


def test_labels_of_settings_are_those_of_events():
    settings = Settings.from_document(ModelSettings("m", "binary", labels=["True", " false "], positive_label="True"))
    assert (settings.labels, settings.positive, settings.negative) == (("1", "0"), "1", "0")


def profile(**score):
    return ReferenceProfile(score=BinProfile(**score))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"join_window": "PT25H"}, "join_window of m: PT25H is not within"),
        ({"join_window": "PT0S"}, "join_window of m: PT0S is not within"),
        ({"join_window": "1h"}, "'1h' is not an ISO 8601 duration"),
        ({"task": "binary", "positive_label": "late"}, "labels of m: a binary model names its two labels"),
        ({"task": "binary", "labels": ["a", "b"], "positive_label": "c"}, "'c'"),
        ({"task": "binary", "labels": ["1", "0", "2"]}, "its two labels"),
        ({"task": "binary", "labels": ["a", "a"], "positive_label": "a"}, "labels of m: 'a' is named twice"),
        ({"task": "multiclass", "labels": ["a", "b", "a"]}, "labels of m: 'a' is named twice"),
        ({"labels": ["1", "true"]}, "labels of m: '1' is named twice"),
        ({"labels": ["a"], "positive_label": "b"}, r"positive_label of m: 'b' is not among its labels \['a'\]"),
        ({"task": "multiclass", "labels": ["a", "c"], "positive_label": "b"}, "positive_label of m: 'b' is not among"),
        ({"task": "regression", "labels": ["x"]}, "labels of m: a regression predicts numbers"),
        ({"task": "regression", "threshold": 0.3}, "threshold of m: a regression predicts numbers"),
        ({"task": "regression", "positive_label": "x"}, "positive_label of m: a regression predicts numbers"),
        ({"profile": profile(counts=[1], categories=["a"])}, "profile of m: the score has no edges"),
        ({"profile": profile(counts=[1, 1, 1], edges=[1])}, "the score has not one count a bin"),
        ({"profile": profile(counts=[1, 1, 1], edges=[2, 1])}, "edges that do not ascend"),
        ({"profile": profile(counts=[1.0] * 65, edges=list(range(64)))}, f"64 edges; at most {MAX_EDGES}"),
        ({"profile": ReferenceProfile({"x": BinProfile([1])})}, "the feature x has either edges or categories"),
        ({"profile": ReferenceProfile({"x": BinProfile([1], categories=["a", "b"])})}, "the feature x has not one count a category"),
        ({"profile": ReferenceProfile(outcome=BinProfile([1], [1.0], ["a"]))}, "the outcome has either"),
    ],
)  # fmt: skip
def test_settings_that_contradict_themselves_are_refused_by_name(wrong, sentence):
    with pytest.raises(RunwayError, match=sentence):
        Settings.from_document(ModelSettings("m", **wrong))


@pytest.mark.parametrize(
    "stated",
    [
        {"labels": ["a", "b"]},
        {"labels": ["a", "b"], "positive_label": "b"},
        {"positive_label": "late", "threshold": 0.3},
        {"task": "multiclass", "labels": ["a", "b"], "positive_label": "1"},
        {"task": "regression", "labels": [], "positive_label": "1", "threshold": 0.5},
    ],
)
def test_what_is_left_out_or_as_the_default_contradicts_nothing(stated):
    Settings.from_document(ModelSettings("m", **stated))


def test_a_profile_is_named_by_its_content():
    one, two = BinProfile([1, 1], edges=[0.5]), BinProfile([2], categories=["a"])
    assert digest_of(ReferenceProfile({"x": one, "y": two})) == digest_of(ReferenceProfile({"y": two, "x": one}))
    assert digest_of(ReferenceProfile({"x": one})) != digest_of(ReferenceProfile({"x": BinProfile([1, 1], edges=[0.6])}))
