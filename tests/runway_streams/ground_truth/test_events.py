"""Events: what is taken, what is refused and why; no bytes whatever raise."""

import json
from zlib import crc32

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runway_streams.ground_truth.events import (
    MAX_EVENT_BYTES,
    MAX_SEGMENTS,
    features_of,
    read_outcomes,
    read_predictions,
)
from runway_streams.ground_truth.labels import MAX_LABEL
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import AHEAD, YEAR_ONE

NOW = 1_700_000_000_000
PREDICTION = {"prediction_id": "a", "model_id": "m", "timestamp": NOW, "prediction": 0.7}
OUTCOME = {"prediction_id": "a", "timestamp": NOW, "actual_outcome": 1}


def history(**settings):
    found = SettingsHistory()
    if settings:
        found.add(Settings("m", **settings))
    return found


def predict(raw, **settings):
    """The one prediction in these bytes, or the one bad event."""
    good, bad = read_predictions([raw], [7], [NOW], history(**settings))
    return (good + bad)[0]


def happen(raw):
    good, bad = read_outcomes([raw], [7], [NOW])
    return (good + bad)[0]


def changed(document, **changes):
    return json.dumps({k: v for k, v in (document | changes).items() if v is not ...}).encode()


def test_a_prediction_is_read():
    raw = changed(PREDICTION, model_version="3", segment={"z": "1", "a": "2"}, features={"x": 1}, unknown=[1], entity_id="e")
    event = predict(raw, task="binary")
    assert (event.id, event.offset, event.head.log_time, event.head.time) == ("a", 7, NOW, NOW)
    head = event.head
    assert (head.model, head.version, head.label, head.score, head.value) == ("m", "3", "1", 0.7, None)
    assert head.segment == (("a", "2"), ("z", "1"))
    assert head.digest == crc32(raw)
    assert event.settings.task == "binary"
    assert features_of(event) == {"x": 1}
    assert features_of(predict(changed(PREDICTION))) == {}


@pytest.mark.parametrize("field", ["model_version", "segment", "features", "feature_timestamps", "entity_id"])
def test_an_optional_field_that_is_null_is_left_out(field):
    null, without = predict(changed(PREDICTION, **{field: None})), predict(changed(PREDICTION))
    null.head.digest = without.head.digest = 0
    assert (null.head, features_of(null)) == (without.head, features_of(without))


def test_an_outcome_is_read():
    event = happen(changed(OUTCOME, actual_outcome=" 2.50 ", unknown={}))
    assert (event.id, event.offset, event.head.log_time, event.head.time) == ("a", 7, NOW, NOW)
    assert (event.head.label, event.head.value) == ("2.50", 2.5)


@pytest.mark.parametrize(
    "timestamp",
    [NOW, NOW / 1000, NOW // 1000, "2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000+00:00", "2023-11-15T03:43:20+05:30"],
)
def test_a_timestamp_is_text_with_an_offset_or_seconds_or_milliseconds(timestamp):
    assert predict(changed(PREDICTION, timestamp=timestamp)).head.time == NOW
    assert happen(changed(OUTCOME, timestamp=timestamp)).head.time == NOW


@pytest.mark.parametrize(
    ("time", "good"), [(NOW + AHEAD, True), (NOW + AHEAD + 1, False), (YEAR_ONE, True), (YEAR_ONE - 1, False)]
)
def test_event_times_reach_from_the_year_one_to_ten_minutes_ahead(time, good):
    for event in (predict(changed(PREDICTION, timestamp=time)), happen(changed(OUTCOME, timestamp=time))):
        assert hasattr(event, "reason") is not good


COMMON = [
    (b"{", "not_json"),
    (b"\xff\xfe", "not_json"),
    (b'{"prediction_id":"\xff"}', "not_json"),
    (b"[]", "invalid"),
    (b"null", "invalid"),
    (None, "empty"),
    (b"", "empty"),
    (b" " * (MAX_EVENT_BYTES + 1), "too_large"),
]
EITHER = [
    ({"prediction_id": ...}, "invalid"),
    ({"prediction_id": ""}, "invalid"),
    ({"prediction_id": "x" * 257}, "invalid"),
    ({"prediction_id": 5}, "invalid"),
    ({"timestamp": ...}, "invalid"),
    ({"timestamp": "yesterday"}, "invalid"),
    ({"timestamp": "2023-11-14T22:13:20"}, "invalid"),
    ({"timestamp": True}, "invalid"),
    ({"timestamp": None}, "invalid"),
    ({"timestamp": NOW + AHEAD + 1}, "ahead"),
    ({"timestamp": 1e300}, "ahead"),
    ({"timestamp": -1e300}, "invalid"),
    ({"timestamp": "0001-01-01T00:00:00+14:00"}, "invalid"),
    ({"timestamp": "9999-12-31T23:59:59-14:00"}, "ahead"),
]


@pytest.mark.parametrize(("raw", "reason"), COMMON)
def test_what_is_no_event_is_refused(raw, reason):
    for event in (predict(raw), happen(raw)):
        assert (event.reason, event.offset, event.log_time, event.raw) == (reason, 7, NOW, raw)
        assert event.detail


@pytest.mark.parametrize(("changes", "reason"), EITHER)
def test_wrong_fields_are_refused(changes, reason):
    for event in (predict(changed(PREDICTION, **changes)), happen(changed(OUTCOME, **changes))):
        assert event.reason == reason
        if reason == "invalid":
            assert next(iter(changes)) in event.detail


@pytest.mark.parametrize(
    ("changes", "settings", "reason", "detail"),
    [
        ({"model_id": ...}, {}, "invalid", "model_id"),
        ({"model_id": ""}, {}, "invalid", "model_id"),
        ({"model_id": "x" * 129}, {}, "invalid", "model_id"),
        ({"model_version": 7}, {}, "invalid", "model_version"),
        ({"segment": {"a": 1}}, {}, "invalid", "segment"),
        ({"segment": ["a"]}, {}, "invalid", "segment"),
        ({"features": [1]}, {}, "invalid", "features"),
        ({"prediction": None}, {}, "invalid", "prediction"),
        ({"prediction": [1]}, {}, "invalid", "prediction"),
        ({"prediction": {}}, {}, "invalid", "says nothing"),
        ({"prediction": {"score": 1.1}}, {}, "invalid", "score"),
        ({"prediction": {"scores": {"a": -0.1}}}, {}, "invalid", "scores"),
        ({"prediction": {"value": 1, "interval": {"lower": 2, "upper": 1}}}, {}, "invalid", "interval"),
        ({"prediction": {"value": 1, "interval": {"lower": 2}}}, {}, "invalid", "upper"),
        ({"prediction": {"value": 1, "interval": {"lower": -1e308, "upper": 1}}}, {}, "invalid", "interval"),
        ({"prediction": "late"}, {"task": "regression"}, "invalid", "says nothing that a regression can use"),
        ({"prediction": {"value": 1}}, {"task": "binary"}, "invalid", "says nothing that a binary can use"),
        ({"prediction": 1e300}, {"task": "regression"}, "not_finite", "1e+300"),
        ({"prediction": 10**400}, {"task": "regression"}, "not_finite", ""),
        ({"prediction": {"value": -1e308}}, {}, "not_finite", "-1e+308"),
    ],
)
def test_wrong_predictions_are_refused(changes, settings, reason, detail):
    event = predict(changed(PREDICTION, **changes), **settings)
    assert event.reason == reason
    assert detail in event.detail


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_know_is_not_json(number):
    assert predict(changed(PREDICTION).replace(b"0.7", number.encode())).reason == "not_json"
    assert happen(changed(OUTCOME, actual_outcome=0.5).replace(b"0.5", number.encode())).reason == "not_json"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e300", "1" * 400, "1" * 5_000])
def test_numbers_beyond_all_measure_are_not_finite(number):
    assert predict(changed(PREDICTION).replace(b"0.7", number.encode()), task="regression").reason == "not_finite"
    assert happen(changed(OUTCOME, actual_outcome=0.5).replace(b"0.5", number.encode())).reason == "not_finite"


def test_numbers_in_text_beyond_all_measure_are_labels():
    event = happen(changed(OUTCOME, actual_outcome="1e999"))
    assert (event.head.label, event.head.value) == ("1e999", None)


def test_long_labels_are_cut():
    assert predict(changed(PREDICTION, prediction="x" * 1000)).head.label == "x" * MAX_LABEL
    assert happen(changed(OUTCOME, actual_outcome=10**299)).head.label == "1" + "0" * (MAX_LABEL - 1)


def test_an_event_has_at_most_16_segments():
    event = predict(changed(PREDICTION, segment={f"{i:02}": "" for i in range(20)}))
    assert event.head.segment == tuple((f"{i:02}", "") for i in range(MAX_SEGMENTS))


def test_nesting_without_end_is_a_bad_event():
    deep = b"[" * 50_000 + b"]" * 50_000
    for field in (b'"features":{"x":%s}', b'"unknown":%s'):
        assert predict(changed(PREDICTION)[:-1] + b"," + field % deep + b"}").reason == "not_json"


def test_one_bad_event_does_not_touch_its_neighbours():
    raws = [changed(PREDICTION, prediction_id=f"{i}") for i in range(5)]
    raws[2] = b"{"
    good, bad = read_predictions(raws, range(10, 15), [NOW] * 5, history())
    assert [event.offset for event in good] == [10, 11, 13, 14]
    assert [event.offset for event in bad] == [12]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*PREDICTION, "model_version", "features", "segment", "actual_outcome"])


@given(st.binary(), st.dictionaries(fields, json_values))
@example(b'"\\ud800"', {"prediction_id": "\ud800"})
@example(b"", {"model_id": "\ud800", "segment": {"\udfff": "a"}})
def test_no_bytes_raise(noise, changes):
    document = PREDICTION | OUTCOME | changes
    for raw in (noise, json.dumps(document).encode(), json.dumps(document).encode() + noise):
        for good, bad in (
            read_predictions([raw], [0], [NOW], history()),
            read_predictions([raw], [0], [NOW], history(task="regression")),
            read_outcomes([raw], [0], [NOW]),
        ):
            assert len(good) + len(bad) == 1
            for event in good:
                event.id.encode()
                msgspec.msgpack.encode(event.head)
