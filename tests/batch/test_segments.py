"""Segments: hours, splits, restarts, and what they keep of the features."""

import io
import json

import pyarrow.parquet as pq
import pytest

from batch import segments
from batch.lake import open_lake
from batch.segments import SegmentWriter, feature_key, read_progress, resume
from runway_streams.ground_truth.events import read_outcomes, read_predictions
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import HOUR
from tests.batch.log import T0

H0 = T0 // HOUR


@pytest.fixture
def lake():
    return open_lake("memory:///")


def outcomes(*log_times, first=0):
    raws = [b'{"prediction_id":"id%d","timestamp":1,"actual_outcome":1}' % (first + i) for i in range(len(log_times))]
    return read_outcomes(raws, range(first, first + len(raws)), log_times)[0]


def files(lake, topic="outcomes", partition=0):
    return {p: lake.get(p) for p in lake.paths(f"archive/{topic}/{partition}") if p.endswith("parquet")}


def read(data):
    return pq.read_table(io.BytesIO(data))


def test_a_segment_is_one_log_hour(lake):
    writer = SegmentWriter(lake, "outcomes", 0)
    closed = writer.append(outcomes(T0, T0 + 1, T0 + HOUR), 3, T0 + HOUR)
    assert [(s.first_offset, s.next_offset, s.log_hour, s.rows) for s in closed] == [(0, 2, H0, 2)]
    assert writer.open_since == 2
    assert [s.log_hour for s in writer.append([], 3, T0 + 2 * HOUR)] == [H0 + 1]
    assert list(files(lake)) == [f"archive/outcomes/0/{n:020d}.parquet" for n in (0, 2)]


def test_a_full_segment_is_split_by_offsets(lake, monkeypatch):
    monkeypatch.setattr(segments, "SPLIT", 4)
    writer = SegmentWriter(lake, "outcomes", 0)
    writer.append(outcomes(*[T0] * 10), 10, T0)
    writer.flush_open()
    assert [read(data)["log_offset"].to_pylist() for data in files(lake).values()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("batch", [1, 3, 7, 50])
def test_batches_and_restarts_make_the_same_files(lake, batch, monkeypatch):
    monkeypatch.setattr(segments, "SPLIT", 8)
    log = outcomes(*(T0 + i * HOUR // 12 for i in range(50)))
    whole = open_lake("memory:///")
    SegmentWriter(whole, "outcomes", 0).append(log, 50, T0 + 5 * HOUR)
    for stop in range(0, 50, 11):
        start = resume(lake, "outcomes", 0) or 0
        writer = SegmentWriter(lake, "outcomes", 0, start)
        for first in range(start, stop, batch):
            part = log[first : min(first + batch, stop)]
            writer.append(part, part[-1].offset + 1, part[-1].head.log_time)
    start = resume(lake, "outcomes", 0) or 0
    SegmentWriter(lake, "outcomes", 0, start).append(log[start:], 50, T0 + 5 * HOUR)
    assert files(lake) == files(whole)


def test_progress_tells_where_to_restart(lake):
    assert resume(lake, "outcomes", 0) is None
    writer = SegmentWriter(lake, "outcomes", 0, now=lambda: 77)
    writer.append(outcomes(T0, T0 + HOUR), 5, T0 + HOUR)
    progress = read_progress(lake, "outcomes", 0)
    assert (progress.next_offset, progress.open_since, progress.clock, progress.written_at) == (5, 1, T0 + HOUR, 77)
    assert resume(lake, "outcomes", 0) == 1


def test_an_idle_partition_lets_its_clock_be_seen(lake):
    writer = SegmentWriter(lake, "outcomes", 0)
    writer.append([], 0, T0)
    writer.append([], 0, T0 + 3 * HOUR)
    assert read_progress(lake, "outcomes", 0).clock == T0 + 3 * HOUR


def test_an_event_below_the_hour_that_an_idle_clock_closed_is_kept(lake):
    writer = SegmentWriter(lake, "outcomes", 0)
    writer.append([], 0, T0 + HOUR)
    writer.append(outcomes(T0 + HOUR - 1, T0 + HOUR), 2, T0 + HOUR)
    writer.flush_open()
    assert sum(read(data).num_rows for data in files(lake).values()) == 2


def test_a_flush_closes_the_open_segment_and_says_so(lake):
    writer = SegmentWriter(lake, "outcomes", 0)
    writer.append(outcomes(T0), 1, T0)
    writer.flush_open("request-1")
    progress = read_progress(lake, "outcomes", 0)
    assert (progress.flushed, progress.open_since, len(files(lake))) == ("request-1", 1, 1)
    writer.append(outcomes(T0 + 5, first=1), 2, T0 + HOUR)
    assert len(files(lake)) == 2


def predictions(*documents, history=None):
    raws = [
        json.dumps({"prediction_id": "a", "model_id": "m", "timestamp": 1, "prediction": 0.5} | d).encode()
        for d in documents
    ]
    good, bad = read_predictions(raws, range(len(raws)), [T0] * len(raws), history or SettingsHistory())
    assert not bad
    return good


def one_row(lake, event, **options):
    writer = SegmentWriter(lake, "predictions", 0, **options)
    writer.append([event], event.offset + 1, T0)
    writer.flush_open()
    (data,) = files(lake, "predictions").values()
    return read(data).to_pylist()[0]


def test_a_prediction_as_its_settings_read_it(lake):
    history = SettingsHistory()
    history.add(Settings("m", "binary", window=5, positive="1", labels=("0", "1"), segments=frozenset(["region"])))
    document = {
        "model_version": "2", "prediction": {"score": 0.75}, "segment": {"region": "eu", "plan": "\u0000\"é"},
        "features": {"x": 1, "y": None}, "feature_timestamps": {"x": 1}, "entity_id": "e",
    }  # fmt: skip
    (event,) = predictions(document, history=history)
    row = one_row(lake, event)
    assert json.loads(row.pop("segments")) == [
        {"key": "plan", "value": '\u0000"é', "declared": False},
        {"key": "region", "value": "eu", "declared": True},
    ]
    assert row == {
        "log_partition": 0, "log_offset": 0, "log_time": T0, "id": "a", "time": 1000, "model": "m", "version": "2",
        "label": "1", "score": 0.75, "scores": None, "value": None, "lower": None, "upper": None, "level": None,
        "entity_id": "e", "features": '{"x":1,"y":null}', "feature_timestamps": '{"x":1}',
        "task": "binary", "join_window": 5, "positive": "1", "labels": '["0","1"]',
        "digest": event.head.digest,
    }  # fmt: skip


def test_intervals_keep_their_level(lake):
    history = SettingsHistory()
    history.add(Settings("m", "regression"))
    document = {"prediction": {"value": 1.0, "interval": {"lower": 0, "upper": 2, "level": 0.9}}}
    row = one_row(lake, predictions(document, history=history)[0])
    assert (row["lower"], row["upper"], row["level"]) == (0, 2, 0.9)


@pytest.mark.parametrize("keep", ["keep", "hash", "drop"])
def test_features_are_kept_as_the_model_says(lake, keep):
    history = SettingsHistory()
    history.add(Settings("m", features=keep))
    (event,) = predictions({"features": {"name": "Ann", "n": 1}}, history=history)
    found = one_row(lake, event, key=b"secret")["features"]
    if keep == "drop":
        assert found is None
    else:
        assert ("Ann" in found) == (keep == "keep")
        assert json.loads(found).keys() == {"name", "n"}


def test_equal_values_have_equal_hashes_under_one_key(lake):
    history = SettingsHistory()
    history.add(Settings("m", features="hash"))
    (event,) = predictions({"features": {"a": "x", "b": "x", "c": "y"}}, history=history)
    first = json.loads(one_row(lake, event, key=b"1")["features"])
    other = json.loads(one_row(lake, event, key=b"2")["features"])
    assert first["a"] == first["b"] != first["c"]
    assert first["a"] != other["a"]
    assert len(first["a"]) == 64


def test_the_feature_key_is_made_once(lake):
    assert feature_key(lake) == feature_key(lake)
    assert len(feature_key(lake)) == 64
