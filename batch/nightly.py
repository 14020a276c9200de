"""The nightly job: snapshot C_n = snapshot C_(n-1) + the segments that have closed since. Reads top to bottom.

    view/current.json            names the manifest of the newest snapshot
    view/manifests/C*.json       what a snapshot holds: files, covered offsets, what it left open
    view/<table>/C*.parquet      what each snapshot adds to each table; the view is their sum
    ground_truth/date=*/C*.parquet   predictions with their outcomes; of several rows of one prediction the newest counts
    open/C*-*.parquet            what waits for a partner, for 7 days

Nothing is changed in place: files are written first, the manifest last, so a batch that is killed has done nothing.
"""
# ruff: noqa: S608 - statements are made of our own names and numbers.

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Struct

from batch.cutoff import Cutoff, newest_cutoff, request_flush
from batch.duckdb_engine import open_duckdb
from batch.engine import Engine, OpenEngine
from batch.garbage import collect_garbage
from batch.join import OUTCOME_COLUMNS, PREDICTION_COLUMNS, TOPICS, find_live, join, mark_duplicates
from batch.lake import Lake, open_lake
from batch.lock import locked
from batch.manifest import Manifest, ModelSeen, OpenFiles, Reach, ViewFile, publish, read, read_current
from batch.reconcile import SpeedReader, reconcile
from batch.schedule import RETRY_S, due, until_next
from batch.segments import OUTCOMES, PREDICTIONS, SCHEMAS, Segment, segments_after
from batch.statements import CARRY
from batch.view_files import RETENTION_DAYS, compact, make_tables, write_tables
from runway_streams import formats
from runway_streams.config import Config
from runway_streams.errors import DependencyDown, Refused
from runway_streams.ground_truth.merge_rule import owned_before
from runway_streams.times import DAY, HOUR, LIFE, format_time

RECENT_HOURS = 27
"""Log hours before a snapshot's cutoff in which a new record can have a head that it is a copy of (LIFE and 2 h)."""
FOREVER = 2**62
MOST_REACHES = 100
"""Snapshots whose reach a manifest remembers, to know how old a segment is."""
MOST_MODELS = 50_000
"""Models that a manifest lists."""

_OPEN_SCHEMAS = {
    "predictions": pa.schema([PREDICTIONS.field(name) for name in PREDICTION_COLUMNS]),
    "outcomes": pa.schema([OUTCOMES.field(name) for name in OUTCOME_COLUMNS]),
    "closed": pa.schema([("topic", pa.string()), ("log_partition", pa.int32()), ("log_offset", pa.int64())]),
    "duplicates": pa.schema([("topic", pa.string()), ("log_partition", pa.int32()), ("log_offset", pa.int64())]),
    "dropped_segments": pa.schema([("model", pa.string()), ("log_hour", pa.int64()), ("key", pa.string()), ("value", pa.string())]),
}  # fmt: skip


log = logging.getLogger(__name__)


class BatchReport(Struct):
    """What one run of the batch did."""

    snapshot: str
    cutoff: str
    parent: str | None
    predictions: int
    outcomes: int
    joined: int
    late: int
    early: int
    duplicates: int
    files: int
    seconds: float
    rows_per_second: int
    reconciled: str = "not compared"
    phases: dict[str, float] = {}
    """Seconds of each phase, by name, in their order."""

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return msgspec.to_builtins(self)

    def __str__(self) -> str:
        return (
            f"Snapshot {self.snapshot} ({self.cutoff}): {self.predictions:,} predictions and {self.outcomes:,} outcomes read, "
            f"{self.joined:,} joined, {self.late:,} late, {self.early:,} early, {self.duplicates:,} duplicates; "
            f"{self.files} new files in {self.seconds:.1f} s ({self.rows_per_second:,} rows/s). Speed layer: {self.reconciled}."
        )


def run_batch(
    config: Config,
    cutoff: int | None = None,
    final: bool = False,
    *,
    lake: Lake | None = None,
    speed: SpeedReader | None = None,
    engine: OpenEngine = open_duckdb,
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> BatchReport:
    """Makes the snapshot at a log hour (None: the newest possible) or, `final`, of the log's end as it is now.

    Raises Refused where the archive has not passed the cutoff or a newer snapshot is published.
    """
    lake = lake or open_lake(config.archive_url)
    with locked(lake, config.instance_id, now) as lock:
        at = request_flush(config, lake) if final else newest_cutoff(lake, cutoff)
        scratch = config.home / "scratch"
        return make_snapshot(
            lake, at, scratch, config.memory_limit, now(), speed,
            engine=engine, written_in=config.written_in, before_publishing=lock.check,
        )  # fmt: skip


def run_schedule(
    config: Config,
    *,
    lake: Lake | None = None,
    speed: SpeedReader | None = None,
    engine: OpenEngine = open_duckdb,
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    sleep: Callable[[float], object] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Runs the batch daily at 02:00 UTC until `stopped`; nights that were missed come first, in their order."""
    lake = lake or open_lake(config.archive_url)
    while not stopped():
        try:
            run_due_nights(config, lake, now, speed, engine)
            pause = until_next(now())
        except (Refused, DependencyDown) as error:
            log.warning("The batch waits %.0f s and tries again: %s", RETRY_S, error)
            pause = RETRY_S
        if not stopped():
            sleep(pause)


def run_due_nights(
    config: Config,
    lake: Lake,
    now: Callable[[], int],
    speed: SpeedReader | None = None,
    engine: OpenEngine = open_duckdb,
) -> list[BatchReport]:
    """Makes every snapshot that is due, one a night."""
    current = read_current(lake)
    reports = []
    for cutoff in due(now(), current.cutoff if current else None):
        reports.append(run_batch(config, cutoff, lake=lake, speed=speed, engine=engine, now=now))
        log.info("%s", reports[-1])
    return reports


def make_snapshot(
    lake: Lake,
    at: Cutoff,
    scratch: Path,
    memory_limit: str,
    created_at: int,
    speed: SpeedReader | None = None,
    *,
    engine: OpenEngine = open_duckdb,
    written_in: int | None = None,
    before_publishing: Callable[[], None] = lambda: None,
) -> BatchReport:
    """Makes and publishes one snapshot; the caller holds the lock, which `before_publishing` checks."""
    clock = _Clock()
    parent = parent_of(lake, at)
    manifest = _manifest(at, parent, created_at, written_in)
    with _folder(scratch) as folder, engine(lake, folder, memory_limit) as db:
        segments = _new_segments(lake, at, parent, folder)
        read_log(db, parent, segments)
        clock.end("read")
        duplicates = mark_duplicates(db)
        find_live(db, duplicates)
        clock.end("duplicates")
        ground_truth = join(db, FOREVER if at.final else at.hour * HOUR, _ground_truth_stem(manifest))
        clock.end("join")
        make_tables(db)
        clock.end("tables")
        manifest.covered = _covered(parent, segments, at)
        manifest.history = _history(parent, manifest)
        manifest.counts = _counts(db, segments, duplicates)
        manifest.models = _models(db, parent)
        manifest.recent = [s for s in (*_recent(parent), *segments) if s.log_hour >= at.hour - RECENT_HOURS]
        manifest.open = _still_open(parent, at) + write_open(db, manifest)
        manifest.ground_truth = _kept(parent, at) + [
            ViewFile("ground_truth", one.path, one.rows, one.times) for one in ground_truth
        ]
        files = write_tables(db, manifest.name)
        clock.end("write")
        manifest.files = compact(db, [*(parent.files if parent else ()), *files], at.hour, manifest.name)
        clock.end("compact")
        if speed is not None:
            manifest.reconciliation = reconcile(lake, manifest, parent, speed, folder)
            clock.end("reconcile")
    before_publishing()
    publish(lake, manifest)
    collect_garbage(lake, manifest, parent)
    clock.end("publish")
    return _report(manifest, len(files), clock)


def parent_of(lake: Lake, at: Cutoff) -> Manifest | None:
    """The snapshot to build on: the current one or, where that is this very one, its parent. Older cutoffs are refused."""
    current = read_current(lake)
    if at.final:
        at.sequence = current.sequence + 1 if current and current.cutoff >= at.hour else 1
        at.hour = max(at.hour, current.cutoff) if current else at.hour
        return current
    if current is None:
        return None
    name = Manifest(cutoff=at.hour, created_at=0, covered={}, owned_before=0).name
    if current.name > name:
        raise Refused(f"Snapshot {name} would be older than {current.name}, which is published.", "Choose a later cutoff.")
    if current.name < name:
        return current
    return read(lake, f"view/manifests/{current.parent}.json") if current.parent else None


def read_log(db: Engine, parent: Manifest | None, segments: Sequence[Segment]) -> None:
    """Makes `new_TOPIC`, `open_TOPIC` and `earlier_TOPIC`: the records of new segments, those that wait, and those
    that new ones may be copies of."""
    cutoff = parent.cutoff if parent else 0
    first_recent = (cutoff - RECENT_HOURS) * HOUR
    horizon = cutoff * HOUR - LIFE - CARRY
    for kind, schema in _OPEN_SCHEMAS.items():
        carried = [files.files[kind] for files in (parent.open if parent else ()) if kind in files.files]
        db.files(f"carried_{kind}", carried, schema)
    db.view("earlier_dropped_segment", "SELECT * FROM carried_dropped_segments")
    for topic in TOPICS:
        for name, source in (("segments_of", segments), ("recent", _recent(parent))):
            db.files(f"{name}_{topic}", [segment.path for segment in source if segment.topic == topic], SCHEMAS[topic])
        columns = ", ".join(_OPEN_SCHEMAS[topic].names)
        db.view(f"new_{topic}", f"SELECT {columns} FROM segments_of_{topic}")
        db.view(
            f"open_{topic}",
            f"""SELECT {columns} FROM carried_{topic}
            ANTI JOIN (SELECT * FROM carried_closed WHERE topic = '{topic}') AS closed USING (log_partition, log_offset)
            WHERE log_time >= {horizon}""",
        )
        db.view(
            f"earlier_{topic}",
            f"""SELECT id, log_time, log_partition, log_offset FROM recent_{topic}
            ANTI JOIN (SELECT * FROM carried_duplicates WHERE topic = '{topic}') AS copy USING (log_partition, log_offset)
            UNION ALL SELECT id, log_time, log_partition, log_offset FROM open_{topic} WHERE log_time < {first_recent}""",
        )


def write_open(db: Engine, manifest: Manifest) -> list[OpenFiles]:
    """Puts what this snapshot leaves open. A kind with several files is named once for each."""
    duplicates = " UNION ALL ".join(
        f"SELECT '{topic}' AS topic, log_partition, log_offset FROM duplicate_{topic}" for topic in TOPICS
    )
    queries = {
        "predictions": db.text("open_predictions", columns=", ".join(PREDICTION_COLUMNS)),
        "outcomes": db.text("open_outcomes"),
        "closed": db.text("closed"),
        "duplicates": duplicates,
        "dropped_segments": "SELECT * FROM dropped_segment EXCEPT SELECT * FROM earlier_dropped_segment",
    }
    stems = {kind: f"open/{manifest.name}-{kind}" for kind in queries}
    written = db.write({stem: queries[kind] for kind, stem in stems.items()})
    files = {kind: [one.path for one in written[stem]] for kind, stem in stems.items()}
    most = max(map(len, files.values()))
    return [
        OpenFiles(manifest.cutoff, {kind: paths[i] for kind, paths in files.items() if i < len(paths)})
        for i in range(most)
    ]  # fmt: skip


def _ground_truth_stem(manifest: Manifest) -> str:
    """Ground truth lies under the date (UTC) of the snapshot's last log hour."""
    date = format_time((manifest.cutoff - (0 if manifest.final else 1)) * HOUR)[:10]
    return f"ground_truth/date={date}/{manifest.name}"


def _manifest(at: Cutoff, parent: Manifest | None, created_at: int, written_in: int | None) -> Manifest:
    return Manifest(
        format=max(written_in or formats.WRITTEN, parent.format if parent else 0),
        cutoff=at.hour,
        sequence=at.sequence,
        parent=parent.name if parent else None,
        final=at.final,
        created_at=created_at,
        covered={},
        owned_before=max(owned_before(at.clock), parent.owned_before if parent else 0),
        retention_days=RETENTION_DAYS,
    )


def _new_segments(lake: Lake, at: Cutoff, parent: Manifest | None, folder: Path) -> list[Segment]:
    found = segments_after(lake, parent.covered if parent else {}, folder / "lake")
    return [segment for segment in found if at.includes(segment)]


def _recent(parent: Manifest | None) -> list[Segment]:
    return parent.recent if parent else []


def _covered(parent: Manifest | None, segments: Sequence[Segment], at: Cutoff) -> dict[str, dict[str, int]]:
    covered = {topic: dict(parent.covered.get(topic, {}) if parent else {}) for topic in TOPICS}
    closed = [(s.topic, str(s.partition), s.next_offset) for s in segments]
    flushed = [(topic, partition, offset) for topic, ends in at.reached.items() for partition, offset in ends.items()]
    for topic, partition, offset in (*closed, *flushed):
        covered[topic][partition] = max(offset, covered[topic].get(partition, 0))
    return covered


def _history(parent: Manifest | None, manifest: Manifest) -> list[Reach]:
    oldest = manifest.cutoff - (RETENTION_DAYS["archive"] + 1) * DAY // HOUR
    earlier = [reach for reach in (parent.history if parent else ()) if reach.cutoff >= oldest]
    return [*earlier[-MOST_REACHES:], Reach(manifest.cutoff, manifest.covered)]


def _counts(db: Engine, segments: Sequence[Segment], duplicates: dict[str, int]) -> dict[str, int]:
    names = ("joined", "late", "early")
    totals = ", ".join(f"coalesce(sum({name}), 0)::BIGINT" for name in names)
    (found,) = db.rows(f"SELECT {totals} FROM hourly WHERE part = 0")
    counts = dict(zip(names, found, strict=True))
    for topic in TOPICS:
        counts[topic] = sum(segment.rows for segment in segments if segment.topic == topic)
    return counts | {"duplicates": sum(duplicates.values())}


def _models(db: Engine, parent: Manifest | None) -> list[ModelSeen]:
    seen = {model.model: model for model in (parent.models if parent else ())}
    for model, version, task, first, last in db.rows(db.text("models_seen")):
        old = seen.get(model) or ModelSeen(model, None, [], first, last)
        versions = sorted({*old.versions, version})
        seen[model] = ModelSeen(model, task or old.task, versions, min(first, old.first), max(last, old.last))
    if len(seen) > MOST_MODELS:
        log.error("The archive has seen %d models; the view lists the %d seen last.", len(seen), MOST_MODELS)
    newest = sorted(seen.values(), key=lambda model: model.last)[-MOST_MODELS:]
    return sorted(newest, key=lambda model: model.model)


def _still_open(parent: Manifest | None, at: Cutoff) -> list[OpenFiles]:
    hours = (CARRY + LIFE) // HOUR
    return [files for files in (parent.open if parent else ()) if files.cutoff > at.hour - hours - 1]


def _kept(parent: Manifest | None, at: Cutoff) -> list[ViewFile]:
    oldest = format_time((at.hour * HOUR) - RETENTION_DAYS["ground_truth"] * DAY)[:10]
    return [file for file in (parent.ground_truth if parent else ()) if file.path.split("date=")[1][:10] >= oldest]


def _report(manifest: Manifest, files: int, clock: "_Clock") -> BatchReport:
    counts, compared = manifest.counts, manifest.reconciliation
    rows, seconds = counts["predictions"] + counts["outcomes"], sum(clock.phases.values())
    told = f"{compared.compared} values compared, {compared.differing} differ" if compared else "not compared"
    return BatchReport(
        snapshot=manifest.name, cutoff=format_time(manifest.cutoff * HOUR), parent=manifest.parent,
        predictions=counts["predictions"], outcomes=counts["outcomes"],
        joined=counts["joined"], late=counts["late"], early=counts["early"], duplicates=counts["duplicates"],
        files=files, seconds=round(seconds, 3), rows_per_second=int(rows / seconds), reconciled=told,
        phases={name: round(spent, 3) for name, spent in clock.phases.items()},
    )  # fmt: skip


class _Clock:
    """How long each phase has taken."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases[phase], self._since = now - self._since, now


@contextmanager
def _folder(scratch: Path) -> Iterator[Path]:
    """A folder of this run's own. What killed runs left goes first: the lock says that nobody else is at work."""
    shutil.rmtree(scratch / "batch", ignore_errors=True)
    (scratch / "batch").mkdir(parents=True)
    folder = Path(tempfile.mkdtemp(dir=scratch / "batch"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
