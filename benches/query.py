"""The merged query: 30 days at 1 h out of 1,000 models, in process and over HTTP; beside it, what writing the answer costs.

    python benches/query.py [--json] [--models 1000] [--queries 500]

The batch owns all but the last two days, whose hours the speed layer holds in 16 partitions. Every model is asked for
once before: `first_query_ms` is what that costs, after each batch; `query_ms` is what all others cost until the next.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

import httpx
import msgspec
import numpy as np
import uvicorn

from runway_streams.devstack.children import free_port

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from starlette.middleware import Middleware

from api.app import make_app
from api.local import Trust
from api.merged_view import BatchSnapshot, MergedView
from api.performance import answer
from api.principals import Principal
from api.query import Query
from api.settled import SettledDays
from api.speed_store import SpeedStore
from batch.manifest import Manifest, ModelSeen
from batch.view import Confusion, Histograms, Rows
from runway_streams.allocator import keep_freed_memory
from runway_streams.database import Database
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.records import full_key, mark_key, pack_full, pack_mark, pack_slim, slim_key
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.times import HOUR
from schemas.metrics_record import Mark

DAYS, SPEED_HOURS, PARTITIONS = 30, 48, 16
END = 500_000 * HOUR
START = END - DAYS * 24 * HOUR
BATCH_HOURS = np.arange(START // HOUR, END // HOUR - SPEED_HOURS)
LAYOUT = Layout.of(Settings("m", task="binary"))


def rows(rng: np.random.Generator, count: int) -> np.ndarray:
    """Rows of a busy binary model."""
    made = np.zeros((count, slim.WIDTH))
    made[:, slim.INDEX["predictions"]] = rng.integers(90, 120, count)
    made[:, slim.INDEX["joined"]] = rng.integers(70, 90, count)
    made[:, slim.INDEX["late"]] = rng.integers(0, 5, count)
    made[:, slim.INDEX["delay_5"] : slim.INDEX["delay_5"] + 8] = rng.integers(0, 20, (count, 8))
    made[:, slim.INDEX["scored"]] = made[:, slim.INDEX["joined"]]
    made[:, [slim.INDEX["log_loss"], slim.INDEX["brier"]]] = rng.random((count, 2)) * 30
    return made


class MemoryView:
    """A batch view whose models share their rows: it costs what a memory-mapped one costs, a search and a slice."""

    def __init__(self, models: int):
        rng = np.random.default_rng(1)
        hours = np.repeat(BATCH_HOURS, 2)  # late outcomes are rows of their own
        times, logs = hours * HOUR, hours
        codes = np.zeros(len(hours), dtype=np.int32)
        self.manifest = Manifest(
            cutoff=0, created_at=0, covered={"predictions": {"0": 0}}, owned_before=int(BATCH_HOURS[-1]) + 1
        )
        self.names = [f"model-{i}" for i in range(models)]
        self.seen = [ModelSeen(name, "binary", ["1"], int(times[0]), int(times[-1])) for name in self.names]
        late = rows(rng, len(hours))
        late[:, : slim.INDEX["scored"]] = 0
        self._rows = Rows(times, logs, codes, ("1",), rows(rng, len(hours)), late, np.zeros(len(hours), dtype=bool))
        at = np.repeat(np.arange(len(hours)), 4)
        pairs = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (len(hours), 1)).astype(np.int32)
        counts = rng.integers(1, 40, (2, len(at))).astype(float)
        self._confusion = Confusion(times[at], logs[at], codes[at], ("1",), pairs[:, 0], pairs[:, 1], ("0", "1"), *counts)
        filled = 150
        at = np.repeat(np.arange(len(hours)), filled)
        cells = np.concatenate([np.r_[np.sort(rng.choice(512, filled - 30, False)), :30] for _ in hours]).astype(np.int32)
        families = np.tile(np.r_[np.zeros(filled - 30, dtype=np.int32), np.ones(30, dtype=np.int32)], len(hours))
        counts = rng.integers(0, 9, (2, len(at))).astype(float)
        names = ("score_class", "calibration")
        self._histograms = Histograms(times[at], logs[at], codes[at], ("1",), families, names, cells, *counts)

    def models(self):
        return self.seen

    def rows(self, model, start, end, granularity="hourly", segment=("", ""), version=None):
        return sliced(self._rows, start, end)

    def confusion(self, model, start, end, granularity="hourly", segment=("", ""), version=None):
        return sliced(self._confusion, start, end)

    def histograms(self, model, start, end, segment=("", ""), version=None):
        return sliced(self._histograms, start, end)


def sliced(table, start: int, end: int):
    """The rows of a range; all columns are sorted by time."""
    low, high = np.searchsorted(table.times, (start, end))
    columns = {f.name: getattr(table, f.name) for f in fields(table)}
    return type(table)(**{name: c[low:high] if isinstance(c, np.ndarray) else c for name, c in columns.items()})


@dataclass
class Speed:
    """A speed view at rest."""

    store: SpeedStore = field(default_factory=SpeedStore)
    ready: bool = True
    problem: str = ""
    complete_from: int | None = None
    partitions: int = PARTITIONS


def fill(store: SpeedStore, models: int) -> None:
    """48 h of every model in 16 partitions, records drawn from a pool."""
    rng = np.random.default_rng(2)
    pool = []
    for _ in range(50):
        cells = np.zeros(LAYOUT.size)
        cells[rng.integers(0, 512, 150)] = rng.integers(1, 9, 150)
        confusion = [(bin, p, a, 9) for bin in range(12) for p in "01" for a in "01"]
        pool.append((pack_slim(rows(rng, 12), confusion), pack_full(LAYOUT, cells)))
    first = END // HOUR - SPEED_HOURS
    for hour in range(first, END // HOUR):
        for model in range(models):
            for partition in range(PARTITIONS):
                whose = (f"model-{model}", "1", "", "", hour, hour)
                slim_record, full_record = pool[(model + hour + partition) % 50]
                store.apply(partition, slim_key(*whose), slim_record)
                store.apply(partition, full_key(*whose, LAYOUT.digest), full_record)
        for partition in range(PARTITIONS):
            store.apply(partition, mark_key(), pack_mark(Mark({"runway.predictions": 9}, (hour + 1) * HOUR, hour - 25, {})))
        for _ in store.tidy((hour + 1) * HOUR, first):
            pass


def make_view(models: int) -> MergedView:
    """The merged view of all models."""
    batch = BatchSnapshot(lambda: None, None)
    batch.view, batch.loaded = MemoryView(models), True
    speed = Speed()
    fill(speed.store, models)
    return MergedView(speed, batch, SettingsHistory(), lambda noun: f"runway.{noun}")


def milliseconds(times: list[float]) -> dict[str, float]:
    """Median and 99 % quantile."""
    return {f"p{q}": round(float(np.percentile(times, q)) * 1000, 2) for q in (50, 99)}


@dataclass
class Times:
    """Seconds of each query: by the clock, of the processor, and of writing its answer; and the bytes of an answer."""

    whole: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    writing: list[float] = field(default_factory=list)
    size: int = 0


def in_process(view: MergedView, queries: list[Query], settled: SettledDays) -> Times:
    """Asks one after the other."""
    times = Times()
    for query in queries:
        began, cpu = time.perf_counter(), time.thread_time()
        document = answer(view, query, END, settled)
        made = time.perf_counter()
        times.size = len(msgspec.json.encode(document))
        times.whole.append(time.perf_counter() - began)
        times.cpu.append(time.thread_time() - cpu)
        times.writing.append(time.perf_counter() - made)
    return times


def over_http(view: MergedView, queries: list[Query], settled: SettledDays) -> list[float]:
    """Seconds of each query over a connection on this machine."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="runway-bench-") as home:
        return _over_http(view, queries, settled, port, Path(home))


def _over_http(view: MergedView, queries: list[Query], settled: SettledDays, port: int, home: Path) -> list[float]:
    registry = Registry(Database.open(None, home, MIGRATIONS), lambda: END, Settings.from_document)
    app = make_app(view, registry, Middleware(Trust, principal=Principal("bench", "reader", (), "key")))
    app.state.settled = settled
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    times = []
    span = f"start={iso(START)}&end={iso(END)}"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        for query in queries:
            began = time.perf_counter()
            assert http.get(f"/v1/models/{query.model}/performance?{span}").status_code == 200
            times.append(time.perf_counter() - began)
    server.should_exit = True
    thread.join()
    return times


def iso(ms: int) -> str:
    """RFC 3339."""
    return str(np.datetime64(ms, "ms"))[:19] + "Z"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=500)
    given = parser.parse_args()
    keep_freed_memory()
    began = time.perf_counter()
    view = make_view(given.models)
    filled = time.perf_counter() - began
    gc.collect()
    gc.freeze()
    chooser = random.Random(1)
    queries = [Query(f"model-{chooser.randrange(given.models)}", START, END, HOUR) for _ in range(given.queries)]
    settled = SettledDays()
    first = in_process(view, [Query(name, START, END, HOUR) for name in view.batch.view.names], settled)
    warmed = in_process(view, queries, settled)
    http = over_http(view, queries, settled)
    report = {
        "models": given.models, "windows": DAYS * 24, "queries": len(queries), "answer_bytes": warmed.size,
        "filled_seconds": round(filled, 1), "speed_store_mib": round(view.speed.store.size() / 2**20),
        "settled_mib": round(settled.bytes / 2**20),
        "first_query_ms": milliseconds(first.whole), "first_query_cpu_ms": milliseconds(first.cpu),
        "query_ms": milliseconds(warmed.whole), "query_cpu_ms": milliseconds(warmed.cpu),
        "http_ms": milliseconds(http), "json_alone_ms": milliseconds(warmed.writing),
    }  # fmt: skip
    print(json.dumps(report) if given.json else "\n".join(f"{name}: {value}" for name, value in report.items()))


if __name__ == "__main__":
    main()
