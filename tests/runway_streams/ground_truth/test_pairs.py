"""Pairs: what a prediction and its outcome say together, against scikit-learn's losses."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.pairs import read_pairs
from runway_streams.ground_truth.settings import Settings
from schemas.model_settings import ReferenceProfile

scores = st.floats(0, 1)


def pair_of(settings, said, actual, value=None):
    """One pair, read alone."""
    pairs = read_pairs([PredictionHead(0, 0, **said)], [OutcomeHead(0, 0, label=actual, value=value)], [settings])
    [(predicted, actual)] = pairs.labels
    columns = {name: column[0] for name, column in pairs.measures._asdict().items()}
    labels = None if predicted is None else (predicted, actual)
    return SimpleNamespace(**columns, labels=labels, actual=actual, has_histograms=pairs.has_histograms[0])


@given(scores, st.sampled_from(["1", "0"]))
def test_binary_losses_are_those_of_scikit_learn(score, actual):
    pair = pair_of(Settings("m", "binary"), {"score": score, "label": "1"}, actual)
    assert pair.brier == pytest.approx(sk.brier_score_loss([actual == "1"], [score], pos_label=True))
    assert pair.truth == pytest.approx(score if actual == "1" else 1 - score)
    assert pair.labels == ("1", actual)


@given(st.lists(scores, min_size=3, max_size=3), st.sampled_from("abcd"))
def test_multiclass_brier_sums_over_all_classes(given_scores, actual):
    said = dict(zip("abc", given_scores, strict=True))
    pair = pair_of(Settings("m", "multiclass"), {"scores": said}, actual)
    expected = sum((said.get(label, 0) - (label == actual)) ** 2 for label in "abcd")
    assert pair.brier == pytest.approx(expected)
    assert pair.truth == said.get(actual, 0)


@pytest.mark.parametrize(
    ("task", "said", "actual", "outcome", "expected"),
    [
        ("binary", {"label": "1", "value": 1.0}, "1", 1.0, {"labels": ("1", "1")}),
        ("multiclass", {"label": "a", "value": 1.0, "score": 0.3}, "b", 1.0, {"labels": ("a", "b")}),
        ("regression", {"value": 1.5}, "2", 2.0, {"value": 1.5, "outcome": 2.0}),
        ("regression", {"value": 1.5}, "late", None, {}),
        (None, {"label": "1", "score": 0.75, "value": 0.75}, "1", 1.0,
         {"truth": 0.75, "brier": 0.0625, "value": 0.75, "outcome": 1.0, "labels": ("1", "1")}),
        (None, {"value": 2.5}, "late", None, {}),
    ],
)  # fmt: skip
def test_what_a_pair_says_depends_on_the_task(task, said, actual, outcome, expected):
    pair = pair_of(Settings("m", task), said, actual, outcome)
    for name in ("truth", "brier", "value", "outcome"):
        assert getattr(pair, name) == pytest.approx(expected.get(name, math.nan), nan_ok=True), name
    assert pair.labels == expected.get("labels")
    assert pair.actual == actual


def test_the_positive_label_may_have_a_name():
    settings = Settings("m", "binary", positive="late", negative="on_time")
    assert pair_of(settings, {"score": 0.75}, "late").truth == 0.75
    assert pair_of(settings, {"score": 0.75}, "on_time").truth == 0.25


def test_histograms_have_something_to_count_where_there_is_a_score_or_a_profile():
    profiled = Settings("m", "regression", profile=ReferenceProfile(), profile_digest="d")
    assert pair_of(Settings("m", "binary"), {"score": 0.5}, "1").has_histograms
    assert not pair_of(Settings("m", "binary"), {"label": "1"}, "1").has_histograms
    assert not pair_of(Settings("m", "regression"), {"value": 1.0}, "1", 1.0).has_histograms
    assert pair_of(profiled, {"value": 1.0}, "1", 1.0).has_histograms
    assert not pair_of(profiled, {"value": 1.0}, "late").has_histograms


def test_columns_hold_the_pairs_in_order():
    settings = [Settings("m", "regression"), Settings("b", "binary"), Settings("c", "multiclass")]
    said = [
        PredictionHead(0, 0, value=1.0, interval=(0.0, 2.0)),
        PredictionHead(0, 0, score=0.75, label="1"),
        PredictionHead(0, 0, scores={"a": 0.5, "b": 0.5}, label="a"),
    ]
    outcomes = [OutcomeHead(0, 0, label=label, value=value) for label, value in (("1.5", 1.5), ("0", 0.0), ("b", None))]
    pairs = read_pairs(said, outcomes, settings)
    found = pairs.measures
    assert np.array_equal(found.truth, [np.nan, 0.25, 0.5], equal_nan=True)
    assert np.array_equal(found.value, [1.0, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(found.lower, [0.0, np.nan, np.nan], equal_nan=True)
    assert pairs.labels == [(None, "1.5"), ("1", "0"), ("a", "b")]
    assert found.take(np.array([2, 1, 2])).truth.tolist() == [0.5, 0.25, 0.5]
