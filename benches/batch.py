"""The nightly batch: input rows a second of a first night over a week, and what the next night costs for its one day.

    .venv/bin/python benches/batch.py --rows 10_000_000 --json

The archive is generated: `--rows` predictions over 7 days of log, and a day more for the second night; 4 partitions, 25
characters an id, 10 features of JSON each (`--features 0`: none); 90 % have an outcome after an exponential delay of
2 h (window 6 h); 0.1 % are duplicates. Beside it, the ceiling: DuckDB reading and joining the same files and nothing else.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from batch.cutoff import Cutoff
from batch.duckdb_engine import open_duckdb
from batch.join import OUTCOME_COLUMNS, PREDICTION_COLUMNS
from batch.lake import FolderLake
from batch.nightly import make_snapshot
from batch.segments import OUTCOMES, PREDICTIONS, SCHEMAS, Segment, parquet_of, segments_after
from runway_streams.times import HOUR

PARTITIONS = 4
WEEK = 7 * 24
FIRST_HOUR = 490_000
WINDOW = 6 * HOUR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="predictions of the week")
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--memory", default="4GiB")
    parser.add_argument("--home", type=Path, help="where to work; a temporary folder without it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp(prefix="runway-bench-"))
    try:
        report = measure(options, home)
    finally:
        if options.home is None:
            shutil.rmtree(home)
    print(json.dumps(report) if options.json else "\n".join(f"{name}: {value}" for name, value in report.items()))


def measure(options: argparse.Namespace, home: Path) -> dict:
    lake = FolderLake(home / "lake")
    generate(lake, options.rows, options.models, options.features)
    cpu = psutil.Process().cpu_times
    ceiling_rows, ceiling_seconds, ceiling_cpu_seconds = ceiling(lake, options.memory, home / "scratch")
    peak = Peak()
    began = cpu()
    week = make_snapshot(lake, Cutoff(FIRST_HOUR + WEEK, 0), home / "scratch", options.memory, 0)
    between = cpu()
    day = make_snapshot(lake, Cutoff(FIRST_HOUR + WEEK + 24, 0), home / "scratch", options.memory, 0)
    rows = {name: one.predictions + one.outcomes for name, one in (("week", week), ("day", day))}
    used = [
        later.user + later.system - earlier.user - earlier.system for earlier, later in pairwise((began, between, cpu()))
    ]
    return {
        "rows_per_second": week.rows_per_second,
        "predictions": week.predictions,
        "outcomes": week.outcomes,
        "seconds": week.seconds,
        "cpu_seconds": round(used[0], 2),
        "ceiling_rows_per_second": int(ceiling_rows / ceiling_seconds),
        "ceiling_cpu_seconds": round(ceiling_cpu_seconds, 2),
        "share_of_ceiling": round(week.rows_per_second * ceiling_seconds / ceiling_rows, 3),
        "joined": week.joined,
        "late": week.late,
        "duplicates": week.duplicates,
        "second_night_rows": rows["day"],
        "second_night_seconds": day.seconds,
        "second_night_cpu_seconds": round(used[1], 2),
        "second_night_share_of_rows": round(rows["day"] / rows["week"], 3),
        "second_night_share_of_seconds": round(day.seconds / week.seconds, 3),
        "second_night_share_of_cpu_seconds": round(used[1] / used[0], 3),
        "peak_memory_mib": peak.stop(),
        "memory_limit": options.memory,
        "models": options.models,
        "features": options.features,
    }


def ceiling(lake: FolderLake, memory: str, scratch: Path) -> tuple[int, float, float]:
    """Rows, seconds and CPU seconds of DuckDB reading the week's columns and joining them by id, and nothing else."""
    week = [segment for segment in segments_after(lake, {}, scratch) if segment.log_hour < FIRST_HOUR + WEEK]
    columns = {"predictions": PREDICTION_COLUMNS, "outcomes": OUTCOME_COLUMNS}
    read = ", ".join(f"any_value({topic}.{name})" for topic, names in columns.items() for name in names)
    cpu = psutil.Process().cpu_times
    with open_duckdb(lake, scratch, memory) as engine:
        for topic in columns:
            engine.files(topic, [one.path for one in week if one.topic == topic], SCHEMAS[topic])
        before, started = cpu(), time.perf_counter()
        engine.rows(f"SELECT {read} FROM predictions JOIN outcomes USING (id)")
        seconds, after = time.perf_counter() - started, cpu()
    return sum(one.rows for one in week), seconds, after.user + after.system - before.user - before.system


class Peak:
    """The process's largest resident memory beyond what it was at the start, sampled; `ru_maxrss` would count the generator."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._largest, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._largest >> 20

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self._largest = max(self._largest, self._process.memory_info().rss)


def generate(lake: FolderLake, rows: int, models: int, features: int) -> None:
    """Writes the archive of both topics, hour by hour; outcomes lie in the partition of their predictions."""
    rng = np.random.default_rng(1)
    hours = WEEK + 24
    an_hour = max(1, rows // (WEEK * PARTITIONS))
    names = np.array([f"model-{i:04d}" for i in range(models)])
    for partition in range(PARTITIONS):
        late = [[] for _ in range(hours)]
        offsets = {"predictions": 0, "outcomes": 0}
        for hour in range(hours):
            part, outcomes = make_hour(rng, hour, an_hour, models)
            table = predictions_table(part, names, partition, offsets["predictions"], features, rng)
            put(lake, "predictions", partition, hour, table, offsets)
            for at in np.unique(outcomes["hour"]):
                if at < hours:
                    late[at].append({name: values[outcomes["hour"] == at] for name, values in outcomes.items()})
            table = outcomes_table(late[hour], partition, offsets["outcomes"])
            put(lake, "outcomes", partition, hour, table, offsets)
            late[hour] = []


def make_hour(rng: np.random.Generator, hour: int, n: int, models: int) -> tuple[dict, dict]:
    start = (FIRST_HOUR + hour) * HOUR
    log_time = np.sort(rng.integers(0, HOUR, n)) + start
    part = {
        "id": rng.integers(0, 2**62, n),
        "log_time": log_time,
        "time": log_time - rng.integers(0, 60_000, n),
        "model": rng.integers(0, models, n),
        "score": rng.random(n),
    }
    copies = rng.random(n) < 0.001
    part["id"][copies] = part["id"][rng.integers(0, n, copies.sum())]
    labelled = rng.random(n) < 0.9
    delay = (rng.exponential(2 * HOUR, n) + 1000).astype(np.int64)
    outcomes = {
        "id": part["id"],
        "log_time": log_time + delay,
        "time": part["time"] + delay,
        "actual": (rng.random(n) < part["score"]).astype(int),
    }
    outcomes = {name: values[labelled] for name, values in outcomes.items()}
    outcomes["hour"] = outcomes["log_time"] // HOUR - FIRST_HOUR
    return part, outcomes


def predictions_table(part: dict, names: np.ndarray, partition: int, first: int, features: int, rng) -> pa.Table:
    n = len(part["id"])
    values = {
        "log_partition": np.full(n, partition), "log_offset": np.arange(first, first + n),
        "log_time": part["log_time"], "id": ids(part["id"]), "time": part["time"],
        "model": names[part["model"]], "version": np.where(rng.random(n) < 0.9, "3", "4"),
        "label": np.where(part["score"] >= 0.5, "1", "0"), "score": part["score"],
        "features": feature_texts(rng, n, features),
        "task": ["binary"] * n, "join_window": np.full(n, WINDOW), "positive": ["1"] * n, "digest": digests(part["id"]),
    }  # fmt: skip
    columns = [pa.array(values[f.name], f.type) if f.name in values else pa.nulls(n, f.type) for f in PREDICTIONS]
    return pa.table(columns, schema=PREDICTIONS)


def feature_texts(rng: np.random.Generator, n: int, features: int) -> list[str | None]:
    if not features:
        return [None] * n
    shape = "{" + ",".join(f'"feature_{i}":%.4f' for i in range(features)) + "}"
    return [shape % tuple(row) for row in rng.normal(size=(n, features)).tolist()]


def outcomes_table(parts: list[dict], partition: int, first: int) -> pa.Table:
    if not parts:
        return OUTCOMES.empty_table()
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(whole["log_time"], kind="stable")
    n = len(order)
    columns = [
        np.full(n, partition), np.arange(first, first + n), whole["log_time"][order], ids(whole["id"][order]),
        whole["time"][order], whole["actual"][order].astype(str), whole["actual"][order].astype(float),
        digests(whole["id"][order]),
    ]  # fmt: skip
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, OUTCOMES, strict=True)], schema=OUTCOMES)


def digests(numbers: np.ndarray) -> np.ndarray:
    """As scattered as a CRC-32 of the raw event, and the same for a copy."""
    return numbers * 2_654_435_761 % 2**32


def ids(numbers: np.ndarray) -> list[str]:
    return [f"{number:016x}-{number % 65_521:08x}" for number in numbers.tolist()]


def put(lake: FolderLake, topic: str, partition: int, hour: int, table: pa.Table, offsets: dict[str, int]) -> None:
    """Writes an hour as the archive does."""
    if not table.num_rows:
        return
    first = offsets[topic]
    offsets[topic] = first + table.num_rows
    path = f"archive/{topic}/{partition}/{first:020d}.parquet"
    segment = Segment(path, topic, partition, first, offsets[topic], FIRST_HOUR + hour, table.num_rows)
    lake.put(path, parquet_of(table, segment))


if __name__ == "__main__":
    main()
