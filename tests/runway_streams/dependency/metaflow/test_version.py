"""A run as a version: what bad texts come to."""

import json

import pytest

from runway_streams.dependency.metaflow.run import MetaflowRun
from runway_streams.dependency.metaflow.version import MAX_HYPERPARAMETERS, Interval, version_of_run


def run(**more) -> MetaflowRun:
    return MetaflowRun("F", "7", 10, 20, tags=["runway:model:m"], numbers={"auc": 0.5}, **more)


@pytest.mark.parametrize("bad", ["", "{", "[]", '{"auc": "high"}', '{"auc": null}', "[" * 100_000, "\ud800", "NaN"])
def test_metrics_that_cannot_be_read_give_a_sentence_and_the_numbers_are_used(bad):
    made = version_of_run(run(metrics=bad))
    assert made.metrics == {"auc": 0.5}
    assert made.notes[0].startswith("The artifact runway_metrics of F/7 is not used: ")


def test_metrics_that_can_be_read_are_all_there_are():
    assert version_of_run(run(metrics='{"f1": 1}')).metrics == {"f1": 1.0}


@pytest.mark.parametrize(
    "bad",
    ["", "[]", '{"start": "2026-01-01"}', '{"start": 1, "end": 2}', '{"start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00"}',
     '{"start": "2026-01-02T00:00:00Z", "end": "2026-01-02T00:00:00Z"}', "[" * 100_000, "\ud800"],
)  # fmt: skip
def test_an_interval_that_cannot_be_read_gives_a_sentence(bad):
    made = version_of_run(run(interval=bad))
    assert made.training_interval is None
    assert made.notes[0].startswith("The artifact runway_training_interval of F/7 is not used: ")


def test_an_interval_has_an_offset():
    interval = json.dumps({"start": "1970-01-01T01:00:00+01:00", "end": "1970-01-01T00:00:01Z"})
    assert version_of_run(run(interval=interval)).training_interval == Interval(0, 1000)


def test_parameters_are_bounded():
    many = {f"p{number}": number for number in range(3 * MAX_HYPERPARAMETERS)} | {"x" * 300: 1}
    assert len(version_of_run(run(parameters=many)).hyperparameters) == MAX_HYPERPARAMETERS


def test_the_earliest_times_crash_nothing():
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        version_of_run(run(interval=json.dumps({"start": text, "end": "2026-01-01T00:00:00Z"})))
        version_of_run(run(interval=json.dumps({"start": "2026-01-01T00:00:00Z", "end": text})))
