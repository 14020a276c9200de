"""Snapshots: the same again on a re-run, on S3, after missed nights; what is refused; what is bounded."""

import json

import pyarrow.parquet as pq
import pytest

from batch import nightly, view_files
from batch.cutoff import Cutoff, await_flush, newest_cutoff
from batch.ground_truth_rows import export
from batch.lake import FolderLake, open_lake
from batch.lock import EXPIRES_AFTER, PATH, Lock, locked
from batch.manifest import read_current
from batch.nightly import run_batch, run_due_nights
from batch.reconcile import batch_rows
from batch.segments import SegmentWriter, read_footer, read_progress
from runway_streams.config import Config
from runway_streams.errors import DependencyDown, Refused
from runway_streams.ground_truth.slim import INDEX
from runway_streams.times import DAY, HOUR, LIFE
from tests import oracle
from tests.batch.log import T0, archive, numbered, outcome_event, prediction_event, snapshot, view_rows
from tests.batch.test_join_rule import check
from tests.oracle import O, P

H0 = T0 // HOUR


def log(days, each=40):
    """A prediction every half hour or so; outcomes an hour later, some after two days, some never, some twice."""
    predictions, outcomes = [], []
    for i in range(days * each):
        at = T0 + i * DAY // each
        predictions.append(P(f"p{i}", at, at - 5, (i % 2, 0), f"m{i % 2}", label="1", score=0.5 + i % 4 / 10, value=i / 7,
                             task=(None, "binary")[i % 2]))  # fmt: skip
        if i % 9 == 0:
            predictions.append(predictions[-1])
        if i % 5:
            later = 2 * DAY if i % 11 == 0 else HOUR // 2
            outcomes.append(O(f"p{i}", at + later, at + later, (i % 2, 0), str(i % 2), i % 3))
    return numbered(predictions), numbered(outcomes)


def everything(lake, manifest, scratch):
    return {table: view_rows(lake, manifest, table, scratch) for table in ("five_minute", "hourly", "hourly_histograms")}


def config(tmp_path, **options):
    return Config(home=tmp_path / "home", archive_url=(tmp_path / "lake").as_uri(), memory_limit="500MB", **options)


def test_a_rerun_from_the_same_parent_is_the_same(tmp_path):
    lake, records = FolderLake(tmp_path / "lake"), log(4)
    archive(lake, *records, until=H0 + 100)
    snapshot(lake, tmp_path, H0 + 30)
    first = snapshot(lake, tmp_path, H0 + 60)
    before = everything(lake, first, tmp_path)
    again = snapshot(lake, tmp_path, H0 + 60)
    assert again.parent == first.parent
    assert everything(lake, again, tmp_path) == before
    assert (again.counts, again.covered, again.models) == (first.counts, first.covered, first.models)
    check(lake, snapshot(lake, tmp_path, H0 + 100), tmp_path, *records, final_before=(H0 + 100) * HOUR)


def test_an_older_cutoff_is_refused(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    archive(lake, *log(1), until=H0 + 30)
    snapshot(lake, tmp_path, H0 + 20)
    with pytest.raises(Refused, match="would be older than C000490020"):
        snapshot(lake, tmp_path, H0 + 19)
    assert read_current(lake).cutoff == H0 + 20


def test_s3_is_the_same_as_a_folder(tmp_path, s3):
    found = []
    records = log(2)
    for lake in (FolderLake(tmp_path / "lake"), open_lake(f"s3://runway/{tmp_path.name}", s3)):
        archive(lake, *records, until=H0 + 50)
        snapshot(lake, tmp_path / "scratch", H0 + 20)
        manifest = snapshot(lake, tmp_path / "scratch", H0 + 50)
        found.append((everything(lake, manifest, tmp_path / str(len(found))), manifest.counts, manifest.covered))
    assert found[0] == found[1]


def test_a_final_snapshot_and_the_nights_after_it(tmp_path):
    lake, (predictions, outcomes) = FolderLake(tmp_path / "lake"), log(3)
    cut = T0 + DAY + 20 * 60_000
    early = [[r for r in records if r.log_time < cut] for records in (predictions, outcomes)]
    writers = {}
    for topic, records, to_event in (("predictions", early[0], prediction_event), ("outcomes", early[1], outcome_event)):
        for partition in range(2):
            own = sorted((r for r in records if r.order[0] == partition), key=lambda r: r.order)
            writer = writers[topic, partition] = SegmentWriter(lake, topic, partition)
            writer.append([to_event(r, r.order[1]) for r in own], len(own), cut)
            writer.flush_open("now")
    first = snapshot(lake, tmp_path, cut // HOUR, final=True)
    assert (first.name, first.final) == ("C000490024.001", True)
    check(lake, first, tmp_path, *early)
    second = snapshot(lake, tmp_path, cut // HOUR, final=True)
    assert (second.name, second.parent, second.counts["predictions"]) == ("C000490024.002", first.name, 0)
    for topic, records, to_event in (("predictions", predictions, prediction_event), ("outcomes", outcomes, outcome_event)):
        for partition in range(2):
            writer = writers[topic, partition]
            own = sorted((r for r in records if r.order[0] == partition), key=lambda r: r.order)[writer.next_offset :]
            writer.append([to_event(r, r.order[1]) for r in own], 10_000, T0 + 6 * DAY)
    last = snapshot(lake, tmp_path, H0 + 144)
    check(lake, last, tmp_path, predictions, outcomes, final_before=(H0 + 144) * HOUR)


def test_two_missed_nights_lose_no_window(tmp_path):
    lake, records = FolderLake(tmp_path / "lake"), log(5)
    archive(lake, *records, until=H0 + 130)
    start = (T0 // DAY) * DAY + 2 * HOUR
    settings = config(tmp_path)
    made = run_due_nights(settings, lake, lambda: start + DAY)
    assert len(made) == 1
    made = run_due_nights(settings, lake, lambda: start + 4 * DAY + HOUR)
    assert [report.cutoff[11:] for report in made] == ["01:00:00Z"] * 3
    assert run_due_nights(settings, lake, lambda: start + 4 * DAY + 5 * HOUR) == []
    manifest = read_current(lake)
    below = [[r for r in topic if r.log_time < manifest.cutoff * HOUR] for topic in records]
    check(lake, manifest, tmp_path, *below, final_before=manifest.cutoff * HOUR)


def test_a_night_waits_for_the_archive(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    archive(lake, *log(1), until=H0 + 10)
    pauses = []
    nightly.run_schedule(
        config(tmp_path), lake=lake, now=lambda: T0 + 3 * DAY, sleep=pauses.append, stopped=lambda: len(pauses) == 2
    )
    assert pauses == [300.0, 300.0]
    assert read_current(lake) is None


def test_the_cutoff_is_what_every_partition_has_passed(tmp_path):
    lake = FolderLake(tmp_path)
    with pytest.raises(Refused, match="Nothing has been archived"):
        newest_cutoff(lake)
    for topic in ("predictions", "outcomes"):
        for partition in range(2):
            SegmentWriter(lake, topic, partition).append([], 0, T0 + (3 + partition) * HOUR)
    assert newest_cutoff(lake).hour == H0 + 3
    assert newest_cutoff(lake, H0 + 2).hour == H0 + 2
    with pytest.raises(Refused, match="partition 0, has only reached"):
        newest_cutoff(lake, H0 + 4)
    SegmentWriter(lake, "predictions", 2).append([], 0, T0 + 9 * HOUR)
    with pytest.raises(Refused, match="not begun with outcomes, partition 2"):
        newest_cutoff(lake)


def test_a_flush_waits_for_every_partition(tmp_path):
    lake = FolderLake(tmp_path)
    ends = {"predictions": {"0": 5}, "outcomes": {"0": 2}}
    with pytest.raises(DependencyDown, match="has not flushed outcomes, partition 0, within 0 s"):
        await_flush(lake, ends, limit_s=0)

    class Answering(FolderLake):
        def put(self, path, data):
            super().put(path, data)
            if path.endswith("flush-request.json"):
                for topic, end in (("predictions", 5), ("outcomes", 3)):
                    writer = SegmentWriter(lake, topic, 0)
                    writer.append([], end, T0 + end * HOUR)
                    writer.flush_open(json.loads(data)["id"])

    at = await_flush(Answering(tmp_path), ends, limit_s=5)
    assert (at.hour, at.clock, at.reached) == (H0 + 5, T0 + 3 * HOUR, {"predictions": {"0": 5}, "outcomes": {"0": 3}})
    assert read_progress(lake, "outcomes", 0).flushed


def test_one_batch_at_a_time(tmp_path):
    lake, clock = FolderLake(tmp_path), [T0]
    with locked(lake, "a", lambda: clock[0]):
        with pytest.raises(Refused, match="held by a"):
            Lock(lake, "b", lambda: clock[0]).take()
        clock[0] += EXPIRES_AFTER
        other = Lock(lake, "b", lambda: clock[0])
        other.take()
    assert json.loads(lake.get(PATH))["owner"] == "b"
    with pytest.raises(Refused, match="held by b"), locked(lake, "c", lambda: clock[0]):
        pass
    other.release()
    with locked(lake, "c", lambda: clock[0]) as lock:
        lock.check()


def test_a_batch_that_lost_its_lock_publishes_nothing(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    archive(lake, *log(1), until=H0 + 30)

    def lost():
        raise Refused("lost")

    with pytest.raises(Refused, match="lost"):
        snapshot(lake, tmp_path, H0 + 20, before_publishing=lost)
    assert read_current(lake) is None


def test_an_empty_archive_makes_an_empty_snapshot(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    archive(lake, [], [], until=H0 + 30)
    report = run_batch(config(tmp_path))
    assert (report.predictions, report.rows_per_second) == (0, 0)
    assert read_current(lake).owned_before == H0 + 5
    assert "0 predictions" in str(report)
    assert report.to_json()["snapshot"] == "C000490030"
    assert list(report.phases) == ["read", "duplicates", "join", "tables", "write", "compact", "publish"]
    assert sum(report.phases.values()) == pytest.approx(report.seconds, abs=0.01)


def test_undeclared_segment_values_are_bounded_over_nights(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    predictions = numbered([
        P(f"p{i}", T0 + i, T0, (0, 0), segments=(("user", f"u{i % 100:02}"), ("region", "eu")), declared=frozenset(["region"]))
        for i in range(164)
    ])  # fmt: skip
    outcomes = numbered([O(f"p{i}", T0 + 2 * HOUR + i, T0 + 1, (0, 0)) for i in range(164)])
    archive(lake, predictions, outcomes, until=H0 + 10)
    snapshot(lake, tmp_path, H0 + 1)
    rows = view_rows(lake, snapshot(lake, tmp_path, H0 + 10), "hourly", tmp_path)
    kept = {key[3]: row for key, row in rows.items() if key[2] == "user"}
    assert kept.keys() == {f"u{i:02}" for i in range(64)}
    assert all(row["predictions"] == row["joined"] == 2 for row in kept.values())
    ((_, total),) = [(key, row) for key, row in rows.items() if key[2] == ""]
    assert (total["predictions"], total["joined"], total["partial"]) == (164, 164, True)
    assert sum(row["joined"] for key, row in rows.items() if key[2] == "region") == 164


def test_label_pairs_beyond_the_bound_are_counted_together(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    predictions = numbered([P(f"p{i}", T0 + i, T0, (0, 0), label=str(i)) for i in range(500)])
    outcomes = numbered([O(f"p{i}", T0 + 600 + i, T0 + 1, (0, 0), str(i)) for i in range(500)])
    archive(lake, predictions, outcomes, until=H0 + 10)
    cells = view_rows(lake, snapshot(lake, tmp_path, H0 + 10), "five_minute_confusion", tmp_path)
    assert len(cells) == 401
    assert sum(cell["joined"] for cell in cells.values()) == 500
    assert next(cell["joined"] for key, cell in cells.items() if key[-1] == "__other__") == 100


def test_many_nights_are_compacted(tmp_path, monkeypatch):
    monkeypatch.setattr(view_files, "MOST_FILES", 3)
    lake, records = FolderLake(tmp_path / "lake"), log(4)
    archive(lake, *records, until=H0 + 120)
    for hour in range(12, 121, 12):
        manifest = snapshot(lake, tmp_path, H0 + hour)
        assert max(sum(f.table == table for f in manifest.files) for table in ("hourly", "five_minute")) <= 3
    check(lake, manifest, tmp_path, *records, final_before=(H0 + 120) * HOUR)
    named = {f.path for f in manifest.files}
    parent = json.loads(lake.get(f"view/manifests/{manifest.parent}.json"))
    named |= {f["path"] for f in parent["files"]}
    assert set(lake.paths("view/hourly")) == {path for path in named if path.startswith("view/hourly/")}


def test_what_is_past_its_retention_goes(tmp_path, monkeypatch):
    monkeypatch.setitem(view_files.RETENTION_DAYS, "archive", 2)
    monkeypatch.setitem(view_files.RETENTION_DAYS, "ground_truth", 2)
    lake, records = FolderLake(tmp_path / "lake"), log(5)
    archive(lake, *records, until=H0 + 130)
    paths = [path for path in lake.paths("archive/predictions") if path.endswith("parquet")]
    hours = {path: read_footer(lake.root / path).log_hour for path in paths}
    for hour in (24, 48, 72, 96, 120):
        snapshot(lake, tmp_path, H0 + hour)
    gone = {path for path in paths if not lake.exists(path)}
    assert gone == {path for path in paths if hours[path] < H0 + 72}
    dates = {path.split("date=")[1][:10] for path in lake.paths("ground_truth")}
    assert len(dates) == 4


def test_ownership_and_coverage(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    predictions, outcomes = log(2)
    archive(lake, predictions, outcomes, until=H0 + 60)
    manifest = snapshot(lake, tmp_path, H0 + 40)
    assert manifest.owned_before == H0 + 40 - (HOUR + LIFE) // HOUR + 1
    below = [r for r in predictions if r.log_time < T0 + 40 * HOUR]
    assert manifest.covered["predictions"] == {str(p): 1 + max(r.order[1] for r in below if r.order[0] == p) for p in (0, 1)}


def test_the_speed_layer_agrees_or_is_named(tmp_path):
    lake, records = FolderLake(tmp_path / "lake"), log(3)
    archive(lake, *records, until=H0 + 120)
    asked = []

    def speed(first, end):
        asked.append((first, end))
        manifest = snapshot_of["current"]
        rows = batch_rows(lake, manifest, first, end, tmp_path)
        for row in rows.values():
            row[INDEX["late"]] = 0
        key = min(rows)
        rows[key] = rows[key].copy()
        rows[key][INDEX["joined"]] += wrong
        return rows

    wrong, snapshot_of = 0, {}
    snapshot_of["current"] = snapshot(lake, tmp_path, H0 + 60)
    again = snapshot(lake, tmp_path, H0 + 60, speed=speed)
    assert asked[-1] == (0, again.owned_before)
    assert again.reconciliation.compared > 100
    assert again.reconciliation.differing == 0
    wrong = 1
    (difference,) = snapshot(lake, tmp_path, H0 + 60, speed=speed).reconciliation.differences
    assert (difference.field, difference.speed - difference.batch) == ("joined", 1)


def test_export_has_one_row_a_prediction(tmp_path):
    lake, (predictions, outcomes) = FolderLake(tmp_path / "lake"), log(4)
    archive(lake, predictions, outcomes, until=H0 + 150)
    for hour in (20, 50, 150):
        snapshot(lake, tmp_path, H0 + hour)
    settings = config(tmp_path)
    judged = [one for one in oracle.judge(predictions, outcomes, T0 + 150 * HOUR) if one.prediction.model == "m1"]
    start, end = T0 + HOUR, T0 + 3 * DAY
    wanted = {one.prediction.id: one for one in judged if start <= one.prediction.time < end}
    rows = export(settings, "m1", start, end, tmp_path / "out" / "rows.parquet")
    found = pq.read_table(tmp_path / "out" / "rows.parquet").to_pylist()
    assert rows == len(found) == len(wanted)
    for row in found:
        one = wanted[row["prediction_id"]]
        assert row["status"] == one.status
        assert row["actual_label"] == (one.outcome.label if one.outcome else None)
        assert int(row["prediction_time"].timestamp() * 1000) == one.prediction.time
        assert (row["score"], row["features"]) == (one.prediction.score, '{"x":1.5}')
    assert {row["status"] for row in found} == {"joined", "late", "unmatched"}
    assert export(settings, "m1", 0, 1, tmp_path / "none.parquet") == 0
    with pytest.raises(Refused, match="never seen a model 'x'"):
        export(settings, "x", 0, 1, tmp_path / "none.parquet")


def test_a_killed_run_leaves_nothing_that_counts(tmp_path):
    lake = FolderLake(tmp_path / "lake")
    archive(lake, *log(1), until=H0 + 30)
    (tmp_path / "batch" / "left").mkdir(parents=True)
    lake.put("view/hourly/C000490029.parquet", b"left by a run that was killed")
    manifest = snapshot(lake, tmp_path, H0 + 30)
    assert not (tmp_path / "batch" / "left").exists()
    assert lake.paths("view/hourly") == [f.path for f in manifest.files if f.table == "hourly"]


def test_segments_of_a_cutoff():
    at = Cutoff(5, 0)
    segment = SegmentWriter(open_lake("memory:///"), "outcomes", 0)
    segment.append([outcome_event(O("a", 5 * HOUR, 0), 0)], 1, 5 * HOUR)
    assert not at.includes(segment.flush_open())
    assert Cutoff(5, 0, final=True).includes
