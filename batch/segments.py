"""Segments: the archive of both topics. One file is one topic-partition's records of one log hour, split every 250,000
offsets, `archive/<predictions|outcomes>/<partition>/<first offset>.parquet`.

A segment holds all that the batch needs: predictions as their settings read them at their log time, so the batch knows
no settings. Rows are sorted by model, then offset: an export reads few of a segment's row groups.
A segment is written from its first offset again after a crash, and is the same file then. Bad events are not in it.
"""

import hmac
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from batch.lake import Lake
from runway_streams import formats
from runway_streams.ground_truth.events import OutcomeEvent, PredictionEvent
from runway_streams.times import HOUR

Topic = Literal["predictions", "outcomes"]
Events = Sequence[PredictionEvent] | Sequence[OutcomeEvent]

SPLIT = 250_000
"""Offsets of one segment: what a worker holds in memory while it closes one (some 300 bytes each)."""
ROW_GROUP = 8_192
TELL_EVERY = 10_000
"""`progress.json` is written when a segment closes, an hour passes or a partition falls idle, else this often (ms)."""
_TEXT = pa.string()

PREDICTIONS = pa.schema([
    ("log_partition", pa.int32()), ("log_offset", pa.int64()), ("log_time", pa.int64()),
    ("id", _TEXT), ("time", pa.int64()), ("model", _TEXT), ("version", _TEXT),
    ("label", _TEXT), ("score", pa.float64()), ("scores", pa.map_(_TEXT, pa.float64())), ("value", pa.float64()),
    ("lower", pa.float64()), ("upper", pa.float64()), ("level", pa.float64()),
    ("segments", _TEXT), ("entity_id", _TEXT), ("features", _TEXT), ("feature_timestamps", _TEXT),
    ("task", _TEXT), ("join_window", pa.int64()), ("positive", _TEXT), ("labels", _TEXT), ("digest", pa.int64()),
])  # fmt: skip
"""Times in epoch ms, `join_window` in ms; `digest` is the CRC-32 of the raw event, which tells a copy from a conflict.
JSON: `features`, `feature_timestamps`, `labels` (a list), `segments` (a list of {key, value, declared}); null where there
are none."""
OUTCOMES = pa.schema([
    ("log_partition", pa.int32()), ("log_offset", pa.int64()), ("log_time", pa.int64()),
    ("id", _TEXT), ("time", pa.int64()), ("label", _TEXT), ("value", pa.float64()), ("digest", pa.int64()),
])  # fmt: skip
SCHEMAS = {"predictions": PREDICTIONS, "outcomes": OUTCOMES}
_REPEATING = ["model", "version", "label", "task", "positive", "labels", "segments", "join_window", "log_partition"]


class Segment(Struct, frozen=True):
    """What a segment's footer says: its records have log hour `log_hour` and offsets first_offset..next_offset - 1."""

    path: str
    topic: str
    partition: int
    first_offset: int
    next_offset: int
    log_hour: int
    rows: int


class Progress(Struct):
    """How far a partition's archive reaches. Everything below `open_since` lies in closed segments; the archive has read
    up to `next_offset` and to the log time `clock`; `flushed` is the last flush request it has answered. `whole_since` is
    the offset from which on nothing was stepped over; None where that was not noted down yet."""

    next_offset: int
    open_since: int
    clock: int
    written_at: int
    flushed: str = ""
    whole_since: int | None = None
    format: int = 1


def progress_path(topic: str, partition: int) -> str:
    """Where a partition's progress is written."""
    return f"archive/{topic}/{partition}/progress.json"


def read_progress(lake: Lake, topic: str, partition: int) -> Progress | None:
    """A partition's progress, None where nothing was archived yet. Raises OtherFormat where this version does not read it."""
    path = progress_path(topic, partition)
    raw = lake.get_or_none(path)
    if raw is None:
        return None
    formats.check_json(raw, f"The archive's {path}")
    return msgspec.json.decode(raw, type=Progress)


def resume(lake: Lake, topic: str, partition: int) -> int | None:
    """The offset to seek to: the first that lies in no closed segment; None from the beginning."""
    progress = read_progress(lake, topic, partition)
    return None if progress is None else progress.open_since


def resume_whole(progress: Progress | None) -> int:
    """From which offset on an archive that goes on has stepped over nothing.

    >>> resume_whole(None), resume_whole(Progress(9, 7, 0, 0)), resume_whole(Progress(9, 7, 0, 0, whole_since=3))
    (0, 7, 3)
    """
    if progress is None:
        return 0
    return progress.open_since if progress.whole_since is None else progress.whole_since


def feature_key(lake: Lake) -> bytes:
    """The key of `features: hash`, made once. It lies apart from the archive, so that it can be closed to its readers."""
    path = "keys/features"
    lake.swap(path, None, secrets.token_hex(32).encode())
    return lake.get(path)


class SegmentWriter:
    """Archives one topic-partition.

    `next_offset` is where reading starts (`resume`), `whole_since` as in Progress; `spool` is a local folder for the open
    segment, of which memory holds nothing; `now` is the wall clock in ms, which says how often to tell the progress and
    nothing else; `written_in` is the format, as `formats.WRITTEN` by default.
    """

    def __init__(self, lake: Lake, topic: Topic, partition: int, next_offset: int = 0, *, spool: Path | None = None,
                 key: bytes = b"", now: Callable[[], int] = lambda: 0, whole_since: int = 0,
                 written_in: int | None = None) -> None:  # fmt: skip
        self.lake, self.topic, self.partition = lake, topic, partition
        self.schema = SCHEMAS[topic]
        self.next_offset = next_offset
        self.whole_since = whole_since
        self.clock = 0
        self._columns: Any = _prediction_columns if topic == "predictions" else _outcome_columns
        self._spool, self._key, self._now = spool, key, now
        self._written_in = written_in or formats.WRITTEN
        self._open: _OpenSegment | None = None
        self._told: Progress | None = None
        self._flushed = ""

    @property
    def open_since(self) -> int:
        """The first offset of the open segment: where a restart must read from."""
        return self._open.first_offset if self._open else self.next_offset

    def step_over(self, offset: int) -> None:
        """The log has nothing before `offset` that was not read: what is missing was cut away before the archive came by."""
        self.whole_since = offset

    def append(self, events: Events, next_offset: int, clock: int) -> list[Segment]:
        """Takes events in the order of the log, `next_offset` being the first offset after them and `clock` the
        partition's log time; closes and returns the segments whose hour has passed or that are full."""
        closed: list[Segment] = []
        start = 0
        while start < len(events):
            first = events[start]
            if self._open and not self._open.takes(first):
                closed.append(self._close())
            if self._open is None:
                self._open = _OpenSegment(self.schema, first.offset, first.head.log_time // HOUR, self._spool)
            end = self._open.end(events, start)
            self._open.add(self._columns(events[start:end], self.partition, self._key))
            self.next_offset = events[end - 1].offset + 1
            start = end
        self.next_offset = max(self.next_offset, next_offset)
        self.clock = max(self.clock, clock)
        if self._open and self.clock // HOUR > self._open.log_hour:
            closed.append(self._close())
        if closed or self._is_stale(idle=not events):
            self._tell()
        return closed

    def _is_stale(self, idle: bool) -> bool:
        told = self._told
        if told is None or self.clock // HOUR > told.clock // HOUR:
            return True
        return self.next_offset > told.next_offset and (idle or self._now() - told.written_at >= TELL_EVERY)

    def flush_open(self, request: str = "") -> Segment | None:
        """Closes the open segment as it is, and says in `progress.json` that the request was answered."""
        segment = self._close() if self._open else None
        self._flushed = request or self._flushed
        self._tell()
        return segment

    def _close(self) -> Segment:
        assert self._open is not None
        table = self._open.table()
        segment = Segment(
            path=f"archive/{self.topic}/{self.partition}/{self._open.first_offset:020d}.parquet",
            topic=self.topic,
            partition=self.partition,
            first_offset=self._open.first_offset,
            next_offset=table["log_offset"][-1].as_py() + 1,
            log_hour=self._open.log_hour,
            rows=table.num_rows,
        )
        self.lake.put(segment.path, parquet_of(table, segment, self._written_in))
        self._open.discard()
        self._open = None
        return segment

    def _tell(self) -> None:
        self._told = Progress(
            self.next_offset, self.open_since, self.clock, self._now(), self._flushed, self.whole_since, self._written_in
        )  # fmt: skip
        self.lake.put(progress_path(self.topic, self.partition), msgspec.json.encode(self._told))


class _OpenSegment:
    """Record batches of one segment, spooled to a file without a name that a crash leaves nothing of."""

    def __init__(self, schema: pa.Schema, first_offset: int, log_hour: int, spool: Path | None) -> None:
        self.first_offset, self.log_hour = first_offset, log_hour
        if spool is not None:
            spool.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115 - closed by discard
        self._writer = pa.ipc.new_stream(self._file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def takes(self, event: PredictionEvent | OutcomeEvent) -> bool:
        # An event below the hour came after the hour was closed by the idle clock: it stays in order of the log.
        return event.head.log_time // HOUR <= self.log_hour and event.offset < self.first_offset + SPLIT

    def end(self, events: Events, start: int) -> int:
        """The index of the first event after `start` that belongs to another segment."""
        if self.takes(events[-1]):
            return len(events)
        return next(i for i in range(start, len(events)) if not self.takes(events[i]))

    def add(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def table(self) -> pa.Table:
        self._writer.close()
        self._file.seek(0)
        return pa.ipc.open_stream(self._file).read_all()

    def discard(self) -> None:
        self._file.close()


def parquet_of(table: pa.Table, segment: Segment, written_in: int = 1) -> bytes:
    """The file of a segment."""
    order = [("model", "ascending"), ("log_offset", "ascending")] if "model" in table.column_names else "log_offset"
    footer = msgspec.json.encode(segment)
    table = table.sort_by(order).replace_schema_metadata({"runway.segment": footer, "runway.format": str(written_in)})
    sink = pa.BufferOutputStream()
    repeating = [name for name in _REPEATING if name in table.column_names]
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=repeating,
                   row_group_size=ROW_GROUP)  # fmt: skip
    return sink.getvalue().to_pybytes()


def read_footer(file: Path) -> Segment:
    """The segment that a local file holds. Raises OtherFormat where this version does not read it."""
    told = pq.read_metadata(file).metadata
    formats.check(int(told[b"runway.format"]), f"The segment {file.name}")
    return msgspec.json.decode(told[b"runway.segment"], type=Segment)


def segments_after(lake: Lake, covered: dict[str, dict[str, int]], scratch: Path) -> list[Segment]:
    """All closed segments that begin at or after the covered offsets (topic -> partition -> next offset)."""
    paths = [path for topic in SCHEMAS for path in lake.paths(f"archive/{topic}") if _is_new(path, covered)]
    return [read_footer(file) for file in lake.fetch(paths, scratch)]


def first_offset(path: str) -> int | None:
    """The first offset of the segment at a path; None where it is no segment's.

    >>> first_offset("archive/outcomes/3/00000000000000000012.parquet"), first_offset("archive/outcomes/3/progress.json")
    (12, None)
    """
    name, _, kind = path.rsplit("/", 1)[-1].partition(".")
    return int(name) if kind == "parquet" else None


def _is_new(path: str, covered: dict[str, dict[str, int]]) -> bool:
    _, topic, partition, _ = path.split("/")
    first = first_offset(path)
    return first is not None and first >= covered.get(topic, {}).get(partition, 0)


def _outcome_columns(events: Sequence[OutcomeEvent], partition: int, key: bytes) -> pa.RecordBatch:
    heads = [event.head for event in events]
    columns = [
        [partition] * len(events),
        [event.offset for event in events],
        [head.log_time for head in heads],
        [event.id for event in events],
        [head.time for head in heads],
        [head.label for head in heads],
        [head.value for head in heads],
        [head.digest for head in heads],
    ]
    return _batch(columns, OUTCOMES)


def _prediction_columns(events: Sequence[PredictionEvent], partition: int, key: bytes) -> pa.RecordBatch:
    settings = [event.settings for event in events]
    heads = [event.head for event in events]
    columns = [
        [partition] * len(events),
        [event.offset for event in events],
        [head.log_time for head in heads],
        [event.id for event in events],
        [head.time for head in heads],
        [head.model for head in heads],
        [head.version for head in heads],
        [head.label for head in heads],
        [head.score for head in heads],
        [head.scores and list(head.scores.items()) for head in heads],
        [head.value for head in heads],
        [head.interval and head.interval[0] for head in heads],
        [head.interval and head.interval[1] for head in heads],
        [_level(event) for event in events],
        _segments(events),
        [event.source.entity_id for event in events],
        [_features(event, key) for event in events],
        [_json(event.source.feature_timestamps) for event in events],
        [one.task for one in settings],
        [one.window for one in settings],
        [one.positive for one in settings],
        [_json(one.labels) for one in settings],
        [head.digest for head in heads],
    ]
    return _batch(columns, PREDICTIONS)


def _batch(columns: list, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _segments(events: Sequence[PredictionEvent]) -> list[str | None]:
    """The texts of the events' segments; few segments stand for many events."""
    texts: dict[tuple, str | None] = {((), frozenset()): None}
    found = []
    for event in events:
        segment = event.head.segment
        declared = event.settings.segments if segment else frozenset()
        text = texts.get((segment, declared), "")
        if text == "":
            pairs = [{"key": key, "value": value, "declared": key in declared} for key, value in segment]
            text = texts[segment, declared] = msgspec.json.encode(pairs).decode()
        found.append(text)
    return found


def _level(event: PredictionEvent) -> float | None:
    interval = getattr(event.source.prediction, "interval", None)
    return interval.level if interval and event.head.interval is not None else None


def _json(value: dict | tuple | None) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


def _features(event: PredictionEvent, key: bytes) -> str | None:
    features = event.source.features
    if not features or event.settings.features == "drop":
        return None
    if event.settings.features == "hash":
        features = {name: _keyed_hash(key, value) for name, value in features.items()}
    return _json(features)


def _keyed_hash(key: bytes, value: object) -> str:
    return hmac.digest(key, msgspec.json.encode(value, order="deterministic"), "sha256").hex()
