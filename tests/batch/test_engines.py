"""The contract of the batch's engines: one log, one view, whichever engine joined it.

Counts are equal. Sums of floats are added up in another order: they differ by at most 1e-12 of the sum of the sizes of
what was added.
"""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from batch.lake import FolderLake
from batch.manifest import read_current
from batch.view import load_view
from batch.view_files import SCHEMAS
from runway_streams.times import DAY, HOUR
from tests.batch.log import ONE_THREAD, T0, archive, numbered, snapshot
from tests.batch.spark import on_spark  # noqa: F401
from tests.batch.test_join_rule import check
from tests.batch.test_nightly import H0
from tests.batch.test_view import log
from tests.oracle import O, P

RELATIVE = 1e-12
NIGHTS = (0, 20, 35, 60, 130)
"""Before the first record; amid the log; later, the last one after two days with nothing but outcomes."""


@pytest.fixture(params=["duckdb", "duckdb short of memory", "spark"])
def engine(request, monkeypatch):
    if request.param == "spark":
        return request.getfixturevalue("on_spark")
    if request.param != "duckdb":
        be_short_of_memory(monkeypatch)
    return ONE_THREAD


def be_short_of_memory(monkeypatch):
    for what in ("BYTES_A_JOINED_ROW", "BYTES_A_HASHED_ID"):
        monkeypatch.setattr(f"batch.duckdb_engine.{what}", 2**22)


def everything(seed):
    """Three kinds of models, segments, late, early and missing outcomes; and copies, conflicts, ids that are used again,
    outcomes after days or in another partition, outcomes of nothing, and more segment values and label pairs than are kept."""
    rng = np.random.default_rng(seed)
    predictions, outcomes = log()
    for records in (predictions, outcomes):
        for i in rng.choice(len(records), 40, replace=False).tolist():
            one = records[i]
            at = one.log_time + int(rng.integers(0, 30 * HOUR))
            records.append(dataclasses.replace(one, log_time=at, time=at, order=(int(rng.integers(0, 2)), 0)))
    for i in range(20):
        at = T0 + i * HOUR
        predictions.append(P(f"slow-{i}", at, at, (i % 2, 0), "binary", task="binary", score=float(rng.random())))
        outcomes.append(O(f"slow-{i}", at + 2 * DAY, at + 2 * DAY, (i % 2, 0), str(i % 2)))
        outcomes.append(O(f"lost-{i}", T0 + 100 * HOUR + i, T0 + 100 * HOUR, (i % 2, 0)))
    for i in range(60):
        at, order = T0 + i * HOUR, (i % 2, 0)
        delay = (60_000, -HOUR, 30 * HOUR, 2 * DAY, 10 * DAY)[i % 5]
        predictions.append(P(f"across-{i}", at, at, order, "binary", task="binary", score=float(rng.random())))
        outcomes.append(O(f"across-{i}", max(at + delay, T0), at + delay, (1 - i % 2, 0), str(i % 2)))
    for i in range(402):
        at = T0 + 3 * HOUR + i
        segments = (("user", f"u{i % 66:02}"), ("region", "eu"))
        declared = frozenset(["region"])
        predictions.append(
            P(f"many-{i}", at, at, (i % 2, 0), "many", label=f"l{i}", segments=segments, declared=declared)
        )  # fmt: skip
        outcomes.append(O(f"many-{i}", at + 60_000, at + 60_000, (i % 2, 0), f"o{i}"))
    return numbered(predictions), numbered(outcomes)


@pytest.mark.timeout(600)
def test_every_night_is_the_same_on_either_engine(tmp_path, on_spark, monkeypatch):  # noqa: F811
    monkeypatch.setattr("batch.view_files.MOST_FILES", 2)
    records = everything(seed=11)
    lakes = [FolderLake(tmp_path / name) for name in ("duckdb", "either [x]")]
    for lake in lakes:
        archive(lake, *records, until=H0 + 140)
    kinds = set()
    for night, engine in zip(NIGHTS, (on_spark, ONE_THREAD, on_spark, on_spark, ONE_THREAD), strict=True):
        wanted, found = (
            content(lake, snapshot(lake, tmp_path, H0 + night, engine=used), tmp_path)
            for lake, used in zip(lakes, (ONE_THREAD, engine), strict=True)
        )
        assert_same(found, wanted)
        kinds |= {name for name, rows in found.items() if rows}
    assert {"open predictions", "open outcomes", "open closed", "open duplicates", "open dropped_segments"} < kinds
    manifest = read_current(lakes[1])
    assert {file.table for file in manifest.files if "-merged-" in file.path} == set(SCHEMAS), "Spark merged none"
    assert load_view(lakes[1], tmp_path / "cache").segments("many")[0] == ("region", "eu")


@pytest.mark.parametrize(
    ("across", "kinds"), [(True, {"others", "across", "several"}), (False, {"share", "several"})], ids=["across", "within"]
)
def test_a_join_that_does_not_fit_into_memory_is_made_in_shares(tmp_path, monkeypatch, across, kinds):
    predictions, outcomes = everything(seed=12)
    if not across:
        partition_of = {one.id: one.order[0] for one in predictions}
        outcomes = numbered([o for o in outcomes if o.order[0] == partition_of.get(o.id, o.order[0])])
    lakes = [FolderLake(tmp_path / name) for name in ("at once", "in shares")]
    for lake in lakes:
        archive(lake, predictions, outcomes, until=H0 + 140)
    wanted = [content(lakes[0], snapshot(lakes[0], tmp_path, H0 + night), tmp_path) for night in NIGHTS]
    be_short_of_memory(monkeypatch)
    for night, one in zip(NIGHTS, wanted, strict=True):
        assert_same(content(lakes[1], snapshot(lakes[1], tmp_path, H0 + night), tmp_path), one)
    named = [re.search(r"/C\d+-([a-z]*)", path)[1] for path in lakes[1].paths("ground_truth")]
    assert set(named) - {""} == kinds, "what was joined again has replaced what was joined in shares"


@pytest.mark.parametrize("seed", [1])
def test_one_final_night_is_the_oracle(tmp_path, engine, seed):
    """Few ids, each with several heads on both topics."""
    rng = np.random.default_rng(seed)
    predictions, outcomes = [], []
    for i in range(60):
        at, order = T0 + int(rng.integers(0, 12 * DAY)), (i % 2, 0)
        time = at - int(rng.choice([-60_000, 0, HOUR, 60 * 365 * DAY]))
        predictions.append(P(f"id-{i % 6}", at, time, order, "m", str(i % 2), "1", score=float(rng.random())))
        at += int(rng.integers(-2 * DAY, 9 * DAY))
        outcomes.append(O(f"id-{i % 6}", max(at, T0), max(at, T0), order, str(i % 2), float(rng.normal())))
    lake, records = FolderLake(tmp_path / "lake"), (numbered(predictions), numbered(outcomes))
    archive(lake, *records, until=H0 + 24 * 24, final=True)
    manifest = snapshot(lake, tmp_path, H0 + 24 * 24, final=True, engine=engine)
    assert manifest.counts["duplicates"] > 0
    assert manifest.counts["late"] > 0
    check(lake, manifest, tmp_path, *records)


def test_outcomes_alone_are_ground_truth_too(tmp_path, engine):
    lake = FolderLake(tmp_path / "lake")
    archive(lake, [], [O(f"o{i}", T0 + i, T0 + i, (0, i)) for i in range(5)], until=H0 + 10)
    files = snapshot(lake, tmp_path, H0 + 10, engine=engine).ground_truth
    assert sum(file.rows for file in files) == 5
    assert (min(file.times[0] for file in files), max(file.times[1] for file in files)) == (T0, T0 + 4)
    assert lake.paths("ground_truth") == sorted(file.path for file in files)


def test_what_was_not_asked_for_is_not_imported():
    code = """if True:
        import sys, batch.nightly, runway_streams.cli.processes
        print([name for name in ("pyspark", "py4j", "batch.spark_engine") if name in sys.modules])"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def content(lake, manifest, scratch):
    """All that a snapshot holds: name -> {key of a row: its values}. Rows of the view are those of the night that wrote
    them, and their columns have the types that they are published with."""
    found = {"manifest": {name: getattr(manifest, name) for name in ("counts", "covered", "models", "owned_before")}}
    for file in manifest.files:
        night = re.search(r"/(C\d+(-merged)?)", file.path)[1]
        table = pq.read_table(lake.root / file.path)
        schema = SCHEMAS[file.table]
        assert {f.name: f.type for f in table.schema} == {f.name: f.type for f in schema}, file.path
        assert file.rows == table.num_rows
        assert file.times == (min(table["bin"].to_pylist()), max(table["bin"].to_pylist()))
        rows = found.setdefault(f"{file.table} {night}", {})
        assert_in_order(table)
        for row in table.to_pylist():
            key = tuple(row.pop(name) for name in schema.names if name in KEYS)
            assert key not in rows
            rows[key] = row
    for file in manifest.ground_truth:
        for row in pq.read_table(lake.root / file.path).to_pylist():
            row.pop("series")
            row.setdefault("scores", None)
            key = (row["log_partition"], row["log_offset"], row["outcome_partition"], row["outcome_offset"], row["counted"])
            found.setdefault("ground truth", {})[key] = row
    for files in manifest.open:
        for kind, path in files.files.items():
            for row in pq.read_table(lake.root / path).to_pylist():
                found.setdefault(f"open {kind}", {})[str(sorted(row.items()))] = {}
    return found


KEYS = ("model", "segment_key", "segment_value", "version", "bin", "log_hour", "predicted", "actual", "family", "cell")


def assert_in_order(table):
    """What a reader relies on: each owner's rows lie together, in the order of time."""
    keys = list(zip(*(table[name].to_pylist() for name in KEYS[:6]), strict=True))
    assert keys == sorted(keys)


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].keys() == wanted[name].keys(), name
        for key, row in wanted[name].items():
            assert_same_row(found[name][key], row, (name, key))


def assert_same_row(found, wanted, where):
    if not isinstance(wanted, dict) or where[0] == "manifest":
        assert found == wanted, where
        return
    assert found.keys() == wanted.keys()
    for column, value in wanted.items():
        if isinstance(value, float):
            assert abs(found[column] - value) <= RELATIVE * size(column, wanted), (*where, column)
        else:
            assert found[column] == value, (*where, column)


def size(column, row):
    """The sum of the sizes of what was added up to a value; of a mean, divided by its number."""
    kind = re.fullmatch(r"(late_)?(error|outcome)_(mean|m2)", column)
    if not kind:
        return abs(row[column])
    prefix = f"{kind[1] or ''}{kind[2]}"
    n = row[f"{kind[1] or ''}errors"]
    squares = row[f"{prefix}_m2"] + n * row[f"{prefix}_mean"] ** 2
    return squares if kind[3] == "m2" else (squares / max(n, 1)) ** 0.5
