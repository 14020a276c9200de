"""Labels: the table of docs/contracts.md, one test a row: what is in the JSON, what the model's task is, what is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.ground_truth.labels import MAX_LABEL, canonical_label, number
from runway_streams.ground_truth.readings import Reading, read_prediction
from runway_streams.ground_truth.settings import Settings
from schemas.prediction import Interval, PredictionValue

LATE = {"positive": "late", "negative": "on_time"}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (True, "1"), (1, "1"), (1.0, "1"), ("1", "1"), ("true", "1"), ("True", "1"), (" TRUE ", "1"),
        (False, "0"), (0, "0"), (-0.0, "0"), ("0", "0"), ("false", "0"), (" False", "0"),
        (2, "2"), (2.5, "2.5"), (-3, "-3"), (" late ", "late"), ("Late", "Late"), ("1.0", "1.0"), ("", ""),
        ("truely", "truely"), ("x" * 300, "x" * MAX_LABEL), (10**290, "1" + "0" * 255),
    ],
)  # fmt: skip
def test_which_values_are_one_label(value, label):
    assert canonical_label(value) == label


@given(st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
def test_a_label_of_a_label_is_itself(value):
    assert canonical_label(canonical_label(value)) == canonical_label(value)
    assert len(canonical_label(value)) <= MAX_LABEL


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (True, 1.0),
        (3, 3.0),
        ("2.5", 2.5),
        (" 7 ", 7.0),
        ("late", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
    ],
)
def test_which_values_are_numbers(value, read):
    assert number(value) == read


def reading(**said):
    return Reading(**said)


@pytest.mark.parametrize(
    ("prediction", "task", "more", "expected"),
    [
        # bare labels
        (True, "binary", {}, reading(label="1")),
        (1, "binary", {}, reading(label="1")),
        (1.0, "binary", {}, reading(label="1")),
        (0, "binary", {}, reading(label="0")),
        ("late", "binary", LATE, reading(label="late")),
        ("cat", "multiclass", {}, reading(label="cat")),
        (3, "multiclass", {}, reading(label="3")),
        # a bare number strictly between 0 and 1 is a score, but a label of a multiclass model
        (0.7, "binary", {}, reading(label="1", score=0.7)),
        (0.5, "binary", {}, reading(label="1", score=0.5)),
        (0.5, "binary", {"threshold": 0.6}, reading(label="0", score=0.5)),
        (0.7, "binary", LATE, reading(label="late", score=0.7)),
        (0.2, "binary", LATE, reading(label="on_time", score=0.2)),
        (0.7, "multiclass", {}, reading(label="0.7")),
        # regression: numbers, also in text
        (12, "regression", {}, reading(value=12.0)),
        (0.7, "regression", {}, reading(value=0.7)),
        ("12.5", "regression", {}, reading(value=12.5)),
        ("late", "regression", {}, reading()),
        # no task: both families
        (True, None, {}, reading(label="1")),
        (12, None, {}, reading(label="12", value=12.0)),
        (2.5, None, {}, reading(value=2.5)),
        (0.7, None, {}, reading(label="1", score=0.7, value=0.7)),
        ("late", None, {}, reading(label="late")),
        # objects
        (PredictionValue(label=True), "binary", {}, reading(label="1")),
        (PredictionValue(score=0.7), "binary", {}, reading(label="1", score=0.7)),
        (PredictionValue(label=0, score=0.7), "binary", {}, reading(label="0", score=0.7)),
        (PredictionValue(score=1.0), "binary", LATE, reading(label="late", score=1.0)),
        (PredictionValue(scores={"1": 0.8, "0": 0.2}), "binary", {}, reading(label="1", score=0.8, scores={"1": 0.8, "0": 0.2})),
        (PredictionValue(scores={"true": 0.8, " false": 0.2}), "binary", {}, reading(label="1", score=0.8, scores={"1": 0.8, "0": 0.2})),
        (PredictionValue(scores={"a": 0.3, "b": 0.6}), "multiclass", {}, reading(label="b", scores={"a": 0.3, "b": 0.6})),
        (PredictionValue(scores={"b": 0.5, "a": 0.5}), "multiclass", {}, reading(label="a", scores={"a": 0.5, "b": 0.5})),
        (PredictionValue(label="a", scores={"b": 0.9}), "multiclass", {}, reading(label="a", scores={"b": 0.9})),
        (PredictionValue(value=3, interval=Interval(1, 5)), "regression", {}, reading(value=3, lower=1, upper=5)),
        (PredictionValue(label="3"), "regression", {}, reading(value=3.0)),
        (PredictionValue(value=3, interval=Interval(1, 5)), "binary", {}, reading()),
        (PredictionValue(value=3, score=0.2), None, {}, reading(label="0", score=0.2, value=3)),
        (PredictionValue(), None, {}, reading()),
    ],
)  # fmt: skip
def test_what_a_prediction_says_to_a_task(prediction, task, more, expected):
    assert read_prediction(prediction, Settings("m", task=task, **more)) == expected
