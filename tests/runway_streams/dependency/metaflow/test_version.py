"""A run as a version: what bad texts come to."""

import json

import msgspec
import pytest

from api.discoverer import as_version
from runway_streams.dependency.metaflow.run import MetaflowRun
from runway_streams.dependency.metaflow.version import MAX_HYPERPARAMETERS, Interval, version_of_run


def run(**more) -> MetaflowRun:
    return MetaflowRun("F", "7", 10, 20, tags=["runway:model:m"], numbers={"auc": 0.5}, **more)


@pytest.mark.parametrize("bad", ["", "{", "[]", "[" * 100_000, "\ud800", "NaN", '{"a": 1' + "0" * 5_000 + "}"])
def test_metrics_that_cannot_be_read_give_a_sentence(bad):
    made = version_of_run(run(metrics=bad))
    assert made.metrics == {}
    assert made.notes[0].startswith("The artifact runway_metrics of F/7 is not used: ")


@pytest.mark.parametrize("bad", ["NaN", "null", "Infinity", "-Infinity", "true", '"high"', "[1]", "1" + "0" * 400])
def test_a_metric_that_is_no_number_is_left_out_alone(bad):
    made = version_of_run(run(metrics=f'{{"f1": 0.5, "bad": {bad}, "rows": 7}}'))
    assert made.metrics == {"f1": 0.5, "rows": 7.0}
    assert made.notes == ["1 of the metrics of F/7 are left out, as no version can have them: 'bad'."]


def test_texts_that_cannot_be_written_are_left_out_alone():
    parameters = {"a": "\ud800", "b": "\U0001f600", "\udfff": 1, "c": None, "d": True}
    made = version_of_run(run(parameters=parameters, metrics='{"\\ud800": 1, "f1": 1}', model_uri="s3://a/\udc00"))
    assert made.hyperparameters == {"b": "\U0001f600", "c": None, "d": True}
    assert (made.metrics, made.artifact_uri, len(made.notes)) == ({"f1": 1.0}, None, 3)
    assert msgspec.json.encode(as_version(made))
    assert "".join(made.notes).encode()


def test_an_address_that_is_too_long_is_left_out_alone():
    made = version_of_run(run(model_uri="s3://a/" + "x" * 2048))
    assert (made.artifact_uri, len(made.notes)) == (None, 1)


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


@pytest.mark.parametrize(
    ("start", "end"),
    [("0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00Z"), ("2026-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00")],
)
def test_an_interval_beyond_all_calendars_is_left_out_alone(start, end):
    made = version_of_run(run(interval=json.dumps({"start": start, "end": end})))
    assert made.training_interval is None
    assert "not between the years 1 and 9999" in made.notes[0]
    assert as_version(made).version == "7"
