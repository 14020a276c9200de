"""A generated archive: predictions over 8 days of log, 25 characters an id, features as JSON; 90 % have an outcome after an
exponential delay of 2 h (window 6 h), in the partition of their prediction; 0.1 % are duplicates."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from batch.lake import FolderLake
from batch.segments import OUTCOMES, PREDICTIONS, Segment, parquet_of
from runway_streams.times import HOUR

PARTITIONS = 4
WEEK = 7 * 24
FIRST_HOUR = 490_000
WINDOW = 6 * HOUR


def generate(root: Path, rows: int, models: int, features: int) -> None:
    """Writes the archive of both topics, a partition a core at a time. In memory is an hour of a partition, and the
    outcomes that come later."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(_partition, root, rows, models, features), range(PARTITIONS)))


def _partition(root: Path, rows: int, models: int, features: int, partition: int) -> None:
    lake, rng = FolderLake(root), np.random.default_rng([1, partition])
    hours = WEEK + 24
    an_hour = max(1, rows // (WEEK * PARTITIONS))
    names = np.array([f"model-{i:04d}" for i in range(models)])
    late: list[list[dict]] = [[] for _ in range(hours)]
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
