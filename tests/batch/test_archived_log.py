"""The archive as a log: what it reaches, and that a partition fed from it is the one that has read the log itself."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import segments
from batch.archived_log import ArchivedLog
from batch.garbage import collect_garbage
from batch.lake import FolderLake, open_lake
from batch.manifest import Manifest, Reach, publish
from batch.segments import SegmentWriter, read_progress
from batch.view_files import RETENTION_DAYS
from runway_streams.ground_truth.events import read_outcomes, read_predictions
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, RawBatch
from runway_streams.ground_truth.recovery import LogRange
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import DAY, HOUR, LIFE
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile
from tables.memory_store import MemoryStore
from tests.runway_streams.ground_truth.partition_log import (
    DOCUMENTS,
    T0,
    assert_same,
    expected,
    expected_counters,
    expire,
    feed_all,
    fresh,
    history_of,
    logs,
    seen,
)

H0 = T0 // HOUR


def archive(lake, log, history, upto=None):
    """Archives the log, in parts of a few records, the first `upto` of each topic; returns where each archive ends."""
    found = {}
    for topic, records in log.items():
        writer = SegmentWriter(lake, topic, 0)
        taken = records[: upto[topic]] if upto else records
        for start in range(0, len(taken), 7):
            part = taken[start : start + 7]
            offsets = range(start, start + len(part))
            raws, times = [record.raw for record in part], [record.log_time for record in part]
            read = (
                read_predictions(raws, offsets, times, history)
                if topic == PREDICTIONS
                else read_outcomes(raws, offsets, times)
            )
            writer.append(read[0], offsets.stop, times[-1])
        writer.flush_open("final")
        found[topic] = LogRange(0, len(taken))
    return found


def replay(partition, archived, ranges):
    partition.state.offsets.update({topic: offsets.begin for topic, offsets in ranges.items()})
    for part in archived.read(0, ranges):
        partition.apply_read(*part)
        partition.commit()
    partition.state.offsets.update({topic: offsets.end for topic, offsets in ranges.items()})


@given(logs(), st.integers(0, 30), st.integers(0, 30), st.sampled_from([4, 250_000]))
@settings(max_examples=60, deadline=None)
def test_the_archive_and_then_the_log_are_the_oracles(tmp_path_factory, log, predictions, outcomes, split):
    segments.SPLIT = split
    lake, history = open_lake("memory:///"), history_of()
    ranges = archive(lake, log, history, {PREDICTIONS: predictions, OUTCOMES: outcomes})
    partition = fresh(MemoryStore(), history)
    replay(partition, ArchivedLog(lake, history, tmp_path_factory.mktemp("scratch") / "x"), ranges)
    feed_all(partition, log)
    assert_same(seen(partition.store.iter_records()), expected(log))
    expire(partition)
    counters = partition.state.counters
    wanted = expected_counters(log)
    for name in ("duplicates", "unmatched", "joined", "late", "early"):
        assert counters.get(name, 0) == wanted[name], name


@pytest.fixture(autouse=True)
def split():
    before = segments.SPLIT
    yield
    segments.SPLIT = before


@given(logs(), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_copies_and_conflicts_are_told_apart_across_the_cut(tmp_path_factory, log, cut):
    lake, history = open_lake("memory:///"), history_of()
    whole = fresh(MemoryStore(), history)
    feed_all(whole, log)
    ranges = archive(lake, log, history, {PREDICTIONS: cut, OUTCOMES: cut})
    partition = fresh(MemoryStore(), history)
    replay(partition, ArchivedLog(lake, history, tmp_path_factory.mktemp("scratch") / "x"), ranges)
    feed_all(partition, log)
    assert partition.state.counters.get("conflicts", 0) == whole.state.counters.get("conflicts", 0)


PROFILE = ReferenceProfile(features={"x": BinProfile([1, 1], edges=[0.0])}, score=BinProfile([1, 1], edges=[0.5]))


@pytest.mark.parametrize(("features", "profile"), [("keep", True), ("hash", True), ("drop", True), ("drop", False)])
def test_features_that_were_not_kept_make_their_hours_incomplete_and_are_not_counted_as_missing(tmp_path, features, profile):
    document = ModelSettings("m", "binary", features=features, profile=PROFILE if profile else None)
    history = SettingsHistory()
    history.add(Settings.from_document(document))
    lake = open_lake("memory:///")
    raws = [
        msgspec.json.encode({
            "prediction_id": f"p{i}", "model_id": "m", "timestamp": T0 + i * HOUR, "prediction": 0.75, "features": {"x": 1.5},
        })
        for i in range(3)
    ]  # fmt: skip
    times = [T0 + i * HOUR for i in range(3)]
    writer = SegmentWriter(lake, PREDICTIONS, 0, key=b"k")
    writer.append(read_predictions(raws, range(3), times, history)[0], 3, times[-1])
    writer.flush_open()
    live, replayed = fresh(MemoryStore(), history), fresh(MemoryStore(), history)
    live.apply(PREDICTIONS, RawBatch(raws, range(3), times, 3))
    live.commit()
    replayed.state.closed_before = H0 + 1
    replay(replayed, ArchivedLog(lake, history, tmp_path), {PREDICTIONS: LogRange(0, 3)})
    replayed.commit()
    found, wanted = seen(replayed.store.iter_records(), H0 + 1), seen(live.store.iter_records(), H0 + 1)
    exact = features == "keep" or not profile
    assert found.rows == wanted.rows
    assert replayed.state.incomplete_hours == ([] if exact else [H0 + 1, H0 + 2])
    of_features = {key for key in wanted.histograms if str(key[6]).startswith("feature:")}
    assert bool(of_features) == profile
    assert found.histograms == {key: n for key, n in wanted.histograms.items() if exact or key not in of_features}


# -- how far it reaches ----------------------------------------------------------------------------------------------


def outcomes(hours, first=0):
    raws = [b'{"prediction_id":"o%d","timestamp":1,"actual_outcome":1}' % (first + i) for i in range(len(hours))]
    return read_outcomes(raws, range(first, first + len(raws)), [T0 + hour * HOUR for hour in hours])[0]


def written(lake, hours, whole_since=0, topics=(PREDICTIONS, OUTCOMES), first=0):
    """An archive of one outcome an hour; an archive of predictions without any."""
    for topic in topics:
        writer = SegmentWriter(lake, topic, 0, first, whole_since=whole_since)
        events = outcomes(hours, first) if topic == OUTCOMES else []
        writer.append(events, first + len(hours), T0 + hours[-1] * HOUR)


@pytest.fixture
def archived(lake, tmp_path):
    return ArchivedLog(lake, SettingsHistory(), tmp_path / "scratch")


def at(hour):
    return T0 + hour * HOUR


def test_it_reaches_from_the_first_offset_of_an_hour_to_the_end_of_the_closed_segments(lake, archived, tmp_path):
    written(lake, range(10))
    assert archived.reach(0, at(4))[OUTCOMES] == LogRange(4, 9)
    assert archived.reach(0, at(-5))[OUTCOMES] == LogRange(0, 9)
    assert archived.reach(0, at(50))[OUTCOMES] == LogRange(9, 9)
    assert archived.reach(0, at(4))[PREDICTIONS] == LogRange(10, 10)
    assert archived.reach(1, at(4)) == {}
    assert not (tmp_path / "scratch").exists()


def test_it_reads_what_lies_within_the_offsets(lake, archived, tmp_path):
    written(lake, range(10))
    found = [
        (topic, [event.offset for event in events], then)
        for topic, events, then in archived.read(0, {OUTCOMES: LogRange(3, 6)})
    ]
    assert found == [(OUTCOMES, [3], 4), (OUTCOMES, [4], 5), (OUTCOMES, [5], 6)]
    assert list(archived.read(0, {OUTCOMES: LogRange(9, 9), PREDICTIONS: LogRange(0, 0)})) == []
    assert not (tmp_path / "scratch").exists()


def test_an_archive_that_began_too_late_does_not_reach_back(lake, archived):
    written(lake, range(10), whole_since=100, first=100)
    assert OUTCOMES not in archived.reach(0, at(0))
    assert archived.reach(0, at(1))[OUTCOMES] == LogRange(101, 109)


def test_a_hole_is_not_reached_over(lake, archived):
    writer = SegmentWriter(lake, OUTCOMES, 0)
    writer.append(outcomes(range(5)), 5, at(4))
    writer.step_over(50)
    writer.append(outcomes(range(5, 10), 50), 55, at(9))
    assert read_progress(lake, OUTCOMES, 0).whole_since == 50
    assert OUTCOMES not in archived.reach(0, at(3))
    assert OUTCOMES not in archived.reach(0, at(5))
    assert archived.reach(0, at(6))[OUTCOMES] == LogRange(51, 54)


def test_an_archive_that_did_not_note_its_holes_is_not_trusted(lake, archived):
    written(lake, range(10))
    path = f"archive/{OUTCOMES}/0/progress.json"
    older = msgspec.json.decode(lake.get(path))
    del older["whole_since"]
    lake.put(path, msgspec.json.encode(older))
    assert OUTCOMES not in archived.reach(0, at(4))


def test_what_was_deleted_after_its_retention_is_not_reached(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    archived = ArchivedLog(lake, SettingsHistory(), tmp_path / "scratch")
    days = range(0, 40 * 24, 24)
    written(lake, days)
    covered = {topic: {"0": 3} for topic in (PREDICTIONS, OUTCOMES)}
    manifest = Manifest(
        cutoff=H0 + 39 * 24, created_at=0, covered=covered, owned_before=0, history=[Reach(H0 + 3 * 24, covered)],
        retention_days=RETENTION_DAYS,
    )  # fmt: skip
    collect_garbage(lake, manifest, None)
    publish(lake, manifest)
    assert OUTCOMES not in archived.reach(0, T0 + 2 * DAY - LIFE)
    assert archived.reach(0, T0 + 3 * DAY)[OUTCOMES] == LogRange(3, 39)
    assert archived.reach(0, T0 + 4 * DAY)[OUTCOMES] == LogRange(4, 39)


def test_the_models_of_the_oracle_keep_their_features():
    assert all(document.features == "keep" for document in DOCUMENTS)
