"""How throughput falls as state and variety grow, one axis at a time, in process and over RocksDB: no cliff is wanted.

    uv run python benches/scale.py --json [--quick] [--axes pending,models] [--picture docs/scale.svg]

Axes: pending rows (predictions that wait for their outcome), models, versions of a model, features in the reference
profile, values of a declared segment. Each point applies the same number of events, half of them outcomes of earlier
predictions, to a partition that is set up for it, and tells events a second by the clock and by processor seconds.
The pending axis also tells bytes on disk for each pending row. Kafka is not in it: `benches/stream.py` has the whole path.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.support.picture import draw_bars
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.settings import Settings, SettingsHistory, digest_of
from runway_streams.streaming import relax_collector
from runway_streams.times import HOUR
from schemas.model_settings import BinProfile, ReferenceProfile
from tables.partition_store import Memory, PartitionStore

NOW = 490_000 * HOUR
BATCH, COMMIT_EVENTS = 2_500, 50_000
SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd: times a number, modulo 2^128, it makes ids in no order, and each but once."""

AXES: dict[str, tuple[int, ...]] = {
    "pending": (10_000, 100_000, 1_000_000, 10_000_000, 30_000_000),
    "models": (1, 10, 100, 1_000, 10_000),
    "versions": (1, 10, 100, 1_000),
    "features": (0, 1, 10, 30, 100),
    "segments": (1, 10, 100, 1_000),
}
QUICK: dict[str, tuple[int, ...]] = {
    "pending": (1_000, 10_000),
    "models": (1, 100),
    "versions": (1, 10),
    "features": (0, 10),
    "segments": (1, 10),
}


class Shape(NamedTuple):
    """What events look like; one field at a time is other than this."""

    models: int = 100
    versions: int = 1
    features: int = 10
    segments: int = 0


def main() -> None:
    options = _options()
    points = QUICK if options.quick else AXES
    report = {axis: measure(axis, points[axis], options.events) for axis in options.axes or points}
    if options.picture:
        rows = [(f"{point[axis]:,} {axis}", point["events_per_second"]) for axis in report for point in report[axis]]
        draw_bars(options.picture, "One partition: events a second", [(*row, f"{row[1]:,}") for row in rows], "Logarithmic.")
    print(json.dumps(report) if options.json else _table(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, help="timed at each point (200,000; 4,000 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a few small points, within seconds")
    parser.add_argument("--axes", type=lambda names: names.split(","), help=f"some of {', '.join(AXES)}")
    parser.add_argument("--picture", type=Path, help="an SVG file to write")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    options.events = options.events or (4_000 if options.quick else 200_000)
    return options


def measure(axis: str, points: Sequence[int], events: int) -> list[dict]:
    """One point after the other; the pending axis goes on with the store that it has filled."""
    with tempfile.TemporaryDirectory(prefix="runway-scale-") as folder:
        if axis == "pending":
            return _pending(points, events, Path(folder))
        return [
            {axis: point, **_fresh(Shape()._replace(**{axis: point}), events, Path(folder) / str(point))} for point in points
        ]


def _pending(points: Sequence[int], events: int, folder: Path) -> list[dict]:
    """Predictions without features up to each number of pending rows, then the timed part, which leaves that number."""
    run = Run(Shape(models=3, features=0), folder)
    found = []
    for rows in points:
        while run.pending < rows:
            run.predict(min(BATCH, rows - run.pending))
        run.settle()
        timed = run.timed(events)
        run.settle()
        size = run.store_bytes()
        found.append({"pending": rows, **timed, "disk_mib": size >> 20, "bytes_a_stored_row": round(size / run.stored)})
    run.close()
    return found


def _fresh(shape: Shape, events: int, folder: Path) -> dict:
    run = Run(shape, folder)
    while run.pending < events // 2:
        run.predict(BATCH)
    run.settle()
    found = run.timed(events)
    run.close()
    return found


class Run:
    """A partition over RocksDB with a log of its own: predictions in the order of their numbers, outcomes behind them."""

    def __init__(self, shape: Shape, folder: Path):
        self.shape, self.folder = shape, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.store = PartitionStore.open(folder / "rows", Memory())
        self.partition = Partition(self.store, _history(shape), "bench", 1)
        self.predicted = self.settled = 0
        self.features = {f"feature_{i}": i / 7 for i in range(shape.features)}
        relax_collector()

    @property
    def pending(self) -> int:
        """Predictions without an outcome yet."""
        return self.predicted - self.settled

    @property
    def stored(self) -> int:
        """Rows in the store: a settled one stays until it expires."""
        return self.predicted

    def predict(self, count: int) -> None:
        """Applies the next predictions."""
        self._apply(PREDICTIONS, self.predictions(count))
        self.predicted += count

    def timed(self, events: int) -> dict:
        """Applies predictions and outcomes by turns; making them is not in the clock."""
        clock = cpu = 0.0
        done = 0
        while done < events:
            for topic, values in ((PREDICTIONS, self.predictions(BATCH)), (OUTCOMES, self.outcomes(BATCH))):
                began, spent = time.perf_counter(), time.process_time()
                self._apply(topic, values)
                clock, cpu = clock + time.perf_counter() - began, cpu + time.process_time() - spent
            self.predicted, self.settled, done = self.predicted + BATCH, self.settled + BATCH, done + 2 * BATCH
        began, spent = time.perf_counter(), time.process_time()
        self._commit()
        clock, cpu = clock + time.perf_counter() - began, cpu + time.process_time() - spent
        assert self.partition.state.counters["joined"] == self.settled, "a pair was not found"
        rss = psutil.Process().memory_info().rss >> 20
        return {"events_per_second": round(done / clock), "events_per_cpu_second": round(done / cpu), "rss_mib": rss}

    def settle(self) -> None:
        """Commits and brings what is in memory to disk, so that the next part reads it from there."""
        self._commit()
        self.store.close()
        self.store = PartitionStore.open(self.folder / "rows", Memory())
        self.partition = Partition(self.store, self.partition.history, "bench", 1)

    def store_bytes(self) -> int:
        """Bytes of the store's files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def predictions(self, count: int) -> list[bytes]:
        """The next ones, as they come from Kafka."""
        return list(self._predictions(self.predicted, count))

    def outcomes(self, count: int) -> list[bytes]:
        """Of the predictions that have waited longest."""
        first = self.settled
        return [
            orjson.dumps({"prediction_id": _id(i), "actual_outcome": i % 3 == 0, "timestamp": NOW - HOUR})
            for i in range(first, first + count)
        ]

    def _predictions(self, first: int, count: int) -> Iterator[bytes]:
        shape = self.shape
        for i in range(first, first + count):
            event = {
                "prediction_id": _id(i),
                "model_id": f"model-{i % shape.models}",
                "model_version": str(i // shape.models % shape.versions),
                "timestamp": NOW - 4 * HOUR,
                "prediction": {"label": i % 2 == 0, "score": i % 101 / 101},
                "features": self.features,
            }
            if shape.segments:
                event["segment"] = {"region": f"r{i // shape.models % shape.segments}"}
            yield orjson.dumps(event)

    def _apply(self, topic: str, values: list[bytes]) -> None:
        first = self.partition.next_offset(topic) or 0
        offsets = range(first, first + len(values))
        bad = self.partition.apply(topic, RawBatch(values, offsets, [NOW] * len(values), offsets.stop))
        assert not bad, bad[0]
        if self.partition.uncommitted >= COMMIT_EVENTS:
            self._commit()

    def _commit(self) -> None:
        self.partition.commit()
        self.partition.outbox.clear()
        self.partition.hourly_outbox.clear()


def _history(shape: Shape) -> SettingsHistory:
    found = SettingsHistory()
    for number in range(shape.models):
        edges = [number / shape.models + (i - 4) / 4 for i in range(9)]
        bins = {f"feature_{i}": BinProfile([1.0] * 10, edges=edges) for i in range(shape.features)}
        profile = ReferenceProfile(bins) if bins else None
        found.add(
            Settings(
                f"model-{number}",
                "binary",
                window=12 * HOUR,
                segments=frozenset(["region"] if shape.segments else []),
                profile=profile,
                profile_digest=digest_of(profile) if profile else "",
            )
        )
    return found


def _id(number: int) -> str:
    return f"{(number + 1) * SPREAD % (1 << 128):032x}"


def _table(report: dict[str, list[dict]]) -> str:
    lines = []
    for points in report.values():
        lines += ["  ".join(f"{name} {value:,}" for name, value in point.items()) for point in points]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
