"""Logs for the batch's tests: records as the oracle knows them, archived as the archive agent does it."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import pyarrow.parquet as pq

from batch.cutoff import Cutoff
from batch.duckdb_engine import open_duckdb
from batch.manifest import read_current
from batch.nightly import make_snapshot
from batch.segments import SegmentWriter
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.events import OutcomeEvent, PredictionEvent
from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.settings import Settings
from runway_streams.times import HOUR

T0 = 490_000 * HOUR
"""Where the logs begin."""
PARTITIONS = 2
ONE_THREAD = partial(open_duckdb, threads=1)


def prediction_event(p, offset):
    """The event that the oracle's prediction was read from."""
    settings = Settings(p.model, p.task, p.window, p.positive, labels=p.labels, segments=p.declared)
    source = SimpleNamespace(entity_id=None, features={"x": 1.5}, feature_timestamps=None, prediction=None)
    interval = None if p.lower is None else (p.lower, p.upper)
    head = PredictionHead(
        p.log_time, 0, False, p.time, p.model, p.version, p.label, p.score, p.value, p.segments, interval, p.scores
    )
    return PredictionEvent(p.id, offset, head, settings, source)


def outcome_event(o, offset):
    return OutcomeEvent(o.id, offset, OutcomeHead(o.log_time, 0, False, o.time, o.label, o.value))


def numbered(records):
    """The records with the offsets that they get in their partition's log."""
    out = []
    for partition in range(PARTITIONS):
        own = sorted((r for r in records if r.order[0] == partition), key=lambda r: r.log_time)
        out += [dataclasses.replace(r, order=(partition, offset)) for offset, r in enumerate(own)]
    return out


def archive(lake, predictions, outcomes, until, final=False):
    """Writes both topics, each record into the partition that its `order` names, and passes the log hour `until`."""
    for topic, records, to_event in (
        ("predictions", predictions, prediction_event),
        ("outcomes", outcomes, outcome_event),
    ):
        for partition in range(PARTITIONS):
            own = sorted((r for r in records if r.order[0] == partition), key=lambda r: (r.log_time, r.order))
            writer = SegmentWriter(lake, topic, partition)
            writer.append([to_event(r, r.order[1]) for r in own], len(own), until * HOUR)
            if final:
                writer.flush_open("final")


def snapshot(lake, scratch, hour, final=False, engine=ONE_THREAD, **options):
    """Makes one snapshot; returns its manifest."""
    at = Cutoff(hour, hour * HOUR, final)
    make_snapshot(lake, at, scratch, "500MB", 0, engine=engine, **options)
    return read_current(lake)


def view_rows(lake, manifest, table, scratch):
    """A table of the view, its files added up: key -> {column: value}."""
    found = {}
    for file in lake.fetch([f.path for f in manifest.files if f.table == table], scratch / "read"):
        for row in pq.read_table(file).to_pylist():
            key = tuple(row.pop(name) for name in ("model", "version", "segment_key", "segment_value", "bin", "log_hour"))
            extra = tuple(row.pop(name) for name in ("predicted", "actual", "family", "cell") if name in row)
            found.setdefault(key + extra, []).append(row)
    return {key: added(rows) for key, rows in found.items()}


def added(rows):
    """Rows of one key merged, moments by the formula of the docstring of `slim`."""
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    for prefix in ("", "late_"):
        for of in ("error", "outcome") if f"{prefix}errors" in total else ():
            n, mean, m2 = f"{prefix}errors", f"{prefix}{of}_mean", f"{prefix}{of}_m2"
            total[mean] = sum(row[n] * row[mean] for row in rows) / max(total[n], 1)
            total[m2] = sum(row[m2] + row[n] * (row[mean] - total[mean]) ** 2 for row in rows)
    return total | ({"partial": any(row["partial"] for row in rows)} if "partial" in total else {})


FIELDS = (*slim.FIELDS, *(f"late_{name}" for name in slim.QUALITY))
