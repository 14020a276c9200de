"""Performance, metric by metric, against scikit-learn and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.performance import (
    OTHER_LABEL,
    Windows,
    guess_task,
    metrics_of,
    performance,
    positive_of,
)
from runway_streams.ground_truth.settings import Settings

BINARY = Settings("m", task="binary")
rng = np.random.default_rng(7)


def row_of(**cells):
    row = slim.empty(1)[0]
    for name, value in cells.items():
        row[slim.INDEX[name]] = value
    return row


def counts_of(predicted, actual):
    pairs = list(zip(predicted, actual, strict=True))
    return {pair: pairs.count(pair) for pair in set(pairs)}


def scored_row(scores, truths):
    log_loss, brier = slim.losses(np.where(truths == 1, scores, 1 - scores))
    return row_of(scored=len(scores), log_loss=log_loss.sum(), brier=brier.sum())


def histograms(scores, truths):
    bins = np.minimum((scores * 256).astype(int), 255)
    calibration = np.zeros((10, 3))
    np.add.at(calibration, np.minimum((scores * 10).astype(int), 9), np.stack([np.ones_like(scores), scores, truths], 1))
    by_class = [np.bincount(bins[truths == c], minlength=256) for c in (0, 1)]
    return {"score_class": np.concatenate(by_class).astype(float), "calibration": calibration.ravel()}


@pytest.fixture(scope="module")
def binary():
    truths = rng.integers(0, 2, 2_000)
    scores = np.clip(rng.normal(0.35 + 0.3 * truths, 0.2), 0, 1)
    predicted = (scores >= 0.5).astype(int)
    confusion = counts_of(map(str, predicted), map(str, truths))
    found = performance(scored_row(scores, truths), confusion, BINARY, histograms(scores, truths))
    return truths, scores, predicted, found


@pytest.mark.parametrize(
    ("name", "reference"),
    [("accuracy", sk.accuracy_score), ("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)],
)
def test_binary_label_metrics_are_those_of_scikit_learn(binary, name, reference):
    truths, _, predicted, found = binary
    assert found[name]["value"] == pytest.approx(reference(truths, predicted), abs=1e-12)


def test_log_loss_and_brier_are_those_of_scikit_learn(binary):
    truths, scores, _, found = binary
    assert found["log_loss"]["value"] == pytest.approx(sk.log_loss(truths, np.clip(scores, 1e-15, 1 - 1e-15)), rel=1e-9)
    assert found["brier"]["value"] == pytest.approx(sk.brier_score_loss(truths, scores), rel=1e-12)
    assert found["brier"]["n"] == 2_000


def test_auc_lies_within_its_bound(binary):
    truths, scores, _, found = binary
    exact = sk.roc_auc_score(truths, scores)
    assert abs(found["auc"]["value"] - exact) <= found["auc"]["bound"]
    assert found["auc"]["bound"] < 0.002


def test_auc_is_exact_where_ties_of_the_histogram_are_ties_of_the_scores():
    truths, scores = rng.integers(0, 2, 500), rng.integers(0, 256, 500) / 256
    found = performance(row_of(), {}, BINARY, histograms(scores, truths))["auc"]
    assert found["value"] == pytest.approx(sk.roc_auc_score(truths, scores), abs=1e-12)


def test_ece_is_the_weighted_gap_of_ten_equal_bins(binary):
    truths, scores, _, found = binary
    bins = np.minimum((scores * 10).astype(int), 9)
    expected = sum(abs(scores[bins == b].mean() - truths[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
    assert found["ece"] == {"value": pytest.approx(expected, abs=1e-12), "n": 2_000}


@given(st.integers(1, 5_000), st.floats(0, 1))
def test_proportions_carry_wilson_intervals(n, share):
    hits = round(share * n)
    found = performance(row_of(), {("1", "1"): hits, ("0", "1"): n - hits}, BINARY)["recall"]
    reference = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert found["n"] == n
    assert found["ci"] == pytest.approx([reference.low, reference.high], abs=1e-12)


def test_a_binary_model_may_name_its_labels():
    settings = Settings("m", task="binary", positive="late", negative="on_time")
    found = performance(row_of(), {("late", "late"): 3, ("late", "on_time"): 1}, settings)
    assert found["precision"]["value"] == 0.75


@pytest.mark.parametrize(
    ("confusion", "metric", "reason"),
    [
        ({("0", "1"): 4}, "precision", "no positive predictions"),
        ({("0", "0"): 4}, "recall", "no positive outcomes"),
        ({("0", "0"): 4}, "f1", "no positive predictions or outcomes"),
        ({}, "accuracy", "no labelled predictions"),
        ({("0", "0"): 4}, "brier", "no scores"),
        ({("0", "0"): 4}, "auc", "no scores"),
        ({("0", "0"): 4}, "ece", "no scores"),
    ],
)
def test_what_cannot_be_computed_is_null_with_a_reason(confusion, metric, reason):
    found = performance(row_of(), confusion, BINARY)[metric]
    assert (found["value"], found["reason"]) == (None, reason)


def test_auc_of_one_class_is_null():
    found = performance(row_of(), {}, BINARY, histograms(np.array([0.2, 0.3]), np.array([1, 1])))["auc"]
    assert found == {"value": None, "n": 2, "reason": "outcomes of one class only"}


def test_windows_finer_than_the_histograms_say_so():
    windows = Windows(slim.empty(1), (), np.zeros((1, 0, 0)), {}, "finer than PT1H")
    assert metrics_of(windows, "binary", "1")[0].auc.reason == "finer than PT1H"


def test_histograms_that_have_not_come_yet_are_not_taken_for_no_scores():
    row = row_of(scored=3)
    for settings, families in ((BINARY, {}), (BINARY, histograms(np.zeros(0), np.zeros(0)))):
        found = performance(row, {("1", "1"): 3}, settings, families)
        for name in ("auc", "ece"):
            assert found[name] == {"value": None, "n": 0, "reason": "histograms follow within a minute"}
    assert performance(row_of(), {}, BINARY)["auc"]["reason"] == "no scores"


def test_multiclass_metrics_are_those_of_scikit_learn():
    labels = ["a", "b", "c", "d"]
    actual = rng.choice(labels[:3], 400)
    predicted = np.where(rng.random(400) < 0.7, actual, rng.choice(["b", "c", "d"], 400))
    found = performance(row_of(), counts_of(predicted, actual), Settings("m", task="multiclass"))
    report = sk.classification_report(actual, predicted, output_dict=True, zero_division=0)
    assert found["accuracy"]["value"] == pytest.approx(report["accuracy"])
    for average in ("macro", "weighted"):
        for name, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert found[f"{name}_{average}"]["value"] == pytest.approx(report[f"{average} avg"][key])
    for label in labels:
        for name, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            value = found["classes"][label][name]["value"]
            assert (value or 0) == pytest.approx(report[label][key])
    assert found["classes"]["d"]["recall"] == {"value": None, "n": 0, "reason": "never the outcome"}


@pytest.fixture(scope="module")
def regression():
    outcome = rng.normal(20, 5, 300)
    outcome[:7] = 0
    value = outcome + rng.normal(1, 2, 300)
    error = value - outcome
    some = outcome != 0
    lower, upper = value - 3, value + 2
    covered = (lower <= outcome) & (outcome <= upper)
    row = row_of(
        errors=300, error_mean=error.mean(), error_m2=((error - error.mean()) ** 2).sum(), outcome_mean=outcome.mean(),
        outcome_m2=((outcome - outcome.mean()) ** 2).sum(), abs_error=np.abs(error).sum(), ape_n=some.sum(),
        ape=np.abs(error[some] / outcome[some]).sum(), intervals=300, covered=covered.sum(), width=(upper - lower).sum(),
    )  # fmt: skip
    return outcome, value, covered, performance(row, {}, Settings("m", task="regression"))


def test_regression_metrics_are_those_of_scikit_learn(regression):
    outcome, value, covered, found = regression
    some = outcome != 0
    assert found["mae"]["value"] == pytest.approx(sk.mean_absolute_error(outcome, value))
    assert found["rmse"]["value"] == pytest.approx(sk.root_mean_squared_error(outcome, value))
    assert found["r2"]["value"] == pytest.approx(sk.r2_score(outcome, value))
    assert found["bias"]["value"] == pytest.approx((value - outcome).mean())
    mape = sk.mean_absolute_percentage_error(outcome[some], value[some])
    assert found["mape"] == {"value": pytest.approx(mape), "n": 293}
    assert found["coverage"]["value"] == covered.mean()
    assert found["interval_width"]["value"] == pytest.approx(5)


def test_regression_without_pairs_is_null_throughout():
    found = performance(row_of(predictions=5), {}, Settings("m", task="regression"))
    assert all(metric["value"] is None and metric["reason"] for metric in found.values())


def test_r2_of_constant_outcomes_is_null():
    found = performance(row_of(errors=3, error_m2=2.0, outcome_mean=4), {}, Settings("m", task="regression"))
    assert found["r2"] == {"value": None, "n": 3, "reason": "the outcomes do not vary"}


@pytest.mark.parametrize(
    ("labels", "numeric", "task"),
    [
        (("0", "1"), 10, "binary"),
        (("yes",), 0, "binary"),
        (tuple("abc"), 0, "multiclass"),
        (tuple(f"l{i}" for i in range(25)), 0, "multiclass"),
        (tuple(str(i) for i in range(20)), 10, "multiclass"),
        (tuple(str(i) for i in range(21)), 10, "regression"),
        (("1", OTHER_LABEL), 10, "regression"),
        ((), 10, "regression"),
        ((), 0, "binary"),
    ],
)
def test_a_task_is_guessed_from_labels_and_numbers(labels, numeric, task):
    assert guess_task(labels, numeric) == task


def test_the_positive_label_of_a_guess():
    assert positive_of(Settings("m"), ("0", "1")) == "1"
    assert positive_of(Settings("m"), ("no", "yes")) == "yes"
    assert positive_of(BINARY, ("no", "yes")) == "1"
    assert positive_of(Settings("m"), ()) == "1"
