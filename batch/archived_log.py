"""ArchivedLog: the archive read as a log, for a partition whose state is lost and whose Kafka log was cut.

Exactly restorable are all counts, joins and metrics, for a segment keeps what each event says. Features are as far as they
were kept: the hours of predictions whose features were hashed or dropped, and would have been counted, are marked
incomplete. Bad events are in no segment, so the counters of dead letters are not restored.
"""

import heapq
import shutil
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch.lake import Lake
from batch.manifest import read_current
from batch.segments import SCHEMAS, Segment, first_offset, read_footer, read_progress
from runway_streams.errors import Refused
from runway_streams.ground_truth.events import NOT_KEPT, OutcomeEvent, PredictionEvent
from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.partition import PREDICTIONS
from runway_streams.ground_truth.recovery import LogRange
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import HOUR
from schemas.prediction import Prediction

BATCH = 4_000
"""Events that are handed over at a time; of each topic one segment is in memory."""

Events = Sequence[PredictionEvent] | Sequence[OutcomeEvent]


class ArchivedLog:
    """The archive's segments as they were read from the log. `scratch` is a local folder for downloads, emptied again."""

    def __init__(self, lake: Lake, history: SettingsHistory, scratch: Path):
        self._lake, self._history, self._scratch = lake, history, scratch

    def reach(self, number: int, log_time: int) -> dict[str, LogRange]:
        """By topic, the offsets that the archive has without a hole: from the first one at or after a log time up to its
        end. Topics of which it does not reach back that far are left out."""
        try:
            found = {topic: self._reach_of(topic, number, log_time // HOUR) for topic in SCHEMAS}
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        return {topic: offsets for topic, offsets in found.items() if offsets is not None}

    def read(self, number: int, ranges: dict[str, LogRange]) -> Iterator[tuple[str, Events, int]]:
        """The events in these offsets, oldest first, as (topic, at most 4,000 events in the order of the log, next offset).
        How the topics interleave makes no difference to the join; this way keeps its state small."""
        parts = [self._parts(topic, number, offsets) for topic, offsets in ranges.items()]
        try:
            for topic, events in heapq.merge(*parts, key=lambda part: part[1][0].head.log_time):
                yield topic, events, events[-1].offset + 1
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _reach_of(self, topic: str, number: int, hour: int) -> LogRange | None:
        progress = read_progress(self._lake, topic, number)
        if progress is None or progress.whole_since is None:
            return None
        paths = [path for path in self._segments(topic, number) if _first(path) < progress.open_since]
        start = bisect_left(paths, hour, key=lambda path: self._footer(path).log_hour)
        # What lies between the last segment before the hour and the first one in it are bad events alone.
        before = self._footer(paths[start - 1]).next_offset if start else 0
        if progress.whole_since > before or (start == 0 and self._has_deleted(topic, number, hour)):
            return None
        return LogRange(_first(paths[start]) if start < len(paths) else progress.open_since, progress.open_since)

    def _has_deleted(self, topic: str, number: int, hour: int) -> bool:
        """Whether segments of a log hour or later may have been deleted at the end of their retention."""
        manifest = read_current(self._lake)
        expired = manifest.last_expired(manifest.retention_days.get("archive", 0)) if manifest else None
        return expired is not None and expired.cutoff > hour and bool(expired.covered.get(topic, {}).get(str(number)))

    def _segments(self, topic: str, number: int) -> list[str]:
        return [path for path in self._lake.paths(f"archive/{topic}/{number}") if first_offset(path) is not None]

    def _footer(self, path: str) -> Segment:
        return read_footer(self._lake.fetch([path], self._scratch)[0])

    def _parts(self, topic: str, number: int, offsets: LogRange) -> Iterator[tuple[str, Any]]:
        paths = self._segments(topic, number)
        firsts = [_first(path) for path in paths]
        for i, path in enumerate(paths):
            if firsts[i] < offsets.end and (i + 1 == len(paths) or firsts[i + 1] > offsets.begin):
                table = self._table(topic, path, offsets)
                for start in range(0, table.num_rows, BATCH):
                    yield topic, self._events(topic, table.slice(start, BATCH))

    def _table(self, topic: str, path: str, offsets: LogRange) -> pa.Table:
        """One segment's rows with these offsets, in the order of the log."""
        (file,) = self._lake.fetch([path], self._scratch)
        table = pq.read_table(file, columns=_COLUMNS[topic])
        if file.is_relative_to(self._scratch):
            file.unlink()
        if table.num_columns < len(_COLUMNS[topic]):
            raise Refused(f"The segment {path} is of an older version and does not tell copies from conflicts.")
        inside = pc.and_(
            pc.greater_equal(table["log_offset"], offsets.begin), pc.less(table["log_offset"], offsets.end)
        )  # fmt: skip
        return table.filter(inside).sort_by("log_offset")

    def _events(self, topic: str, table: pa.Table) -> list[Any]:
        rows = zip(*(table[name].to_pylist() for name in _COLUMNS[topic]), strict=True)
        if topic == PREDICTIONS:
            return [self._prediction(row) for row in rows]
        return [_outcome(*row) for row in rows]

    def _prediction(self, row: tuple) -> PredictionEvent:
        id, offset, log_time, time, model, version, label, score, scores, value, lower, upper, digest, segments, given = row
        settings = self._history.at(model, log_time)
        features = _features(given, settings)
        segment = tuple((pair["key"], pair["value"]) for pair in msgspec.json.decode(segments)) if segments else ()
        source = Prediction(id, model, time, label or "", version, features)
        interval = None if lower is None or upper is None else (lower, upper)
        head = PredictionHead(
            log_time, digest, False, time, model, version, label, score, value, segment, interval,
            None if scores is None else dict(scores),
        )  # fmt: skip
        return PredictionEvent(id, offset, head, settings, source)


_COLUMNS = {
    "predictions": [
        "id", "log_offset", "log_time", "time", "model", "version", "label", "score", "scores", "value", "lower", "upper",
        "digest", "segments", "features",
    ],
    "outcomes": ["id", "log_offset", "log_time", "time", "label", "value", "digest"],
}  # fmt: skip


def _outcome(
    id: str, offset: int, log_time: int, time: int, label: str, value: float | None, digest: int
) -> OutcomeEvent:  # fmt: skip
    return OutcomeEvent(id, offset, OutcomeHead(log_time, digest, False, time, label, value))


def _first(path: str) -> int:
    first = first_offset(path)
    assert first is not None
    return first


def _features(given: str | None, settings: Settings) -> dict[str, Any] | None:
    """The features of a prediction; NOT_KEPT where its model's profile counts them and they were hashed or dropped."""
    if settings.profile is None or not settings.profile.features:
        return None
    if settings.features != "keep":
        return NOT_KEPT
    return msgspec.json.decode(given) if given else None
