"""Replay: two files through the very join and accumulators of the stream, without a broker, at full speed."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from batch.event_files import read_events
from runway_streams.errors import ConfigError
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.performance import performance
from runway_streams.ground_truth.records import Key, parse_key, unpack_full, unpack_slim
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import DAY, HOUR, format_time
from schemas.model_settings import ModelSettings
from tables.memory_store import MemoryStore

COMMIT_EVENTS = 50_000
LATEST = 2**62
"""Reports are by a model's latest settings, as the API's answers are."""


@dataclass
class Tally:
    """What one model's records add up to: the whole and each UTC day, over all versions."""

    rows: dict[int | None, np.ndarray] = field(default_factory=dict)
    confusion: dict[int | None, Counter] = field(default_factory=dict)
    families: dict[int | None, dict[str, np.ndarray]] = field(default_factory=dict)

    def add(self, day: int | None, rows: np.ndarray, confusion: Counter) -> None:
        """Adds slim rows of one day, or of the whole (None)."""
        before = self.rows.get(day, slim.empty(1)[0])
        self.rows[day] = slim.merge(np.vstack([before[np.newaxis], rows]))[0]
        self.confusion.setdefault(day, Counter()).update(confusion)

    def add_families(self, day: int | None, families: dict[str, np.ndarray]) -> None:
        """Adds histograms of one day, or of the whole (None)."""
        sums = self.families.setdefault(day, {})
        for name, cells in families.items():
            sums[name] = sums.get(name, 0) + cells


def replay(predictions: Path, outcomes: Path, settings: Path | None = None) -> dict[str, Any]:
    """Joins the two files and reports every model's counts and metrics, in all and by UTC day of the prediction.

    `settings` is a JSON file with one ModelSettings document or a list of them. Late outcomes are counted but not measured,
    as in the speed layer.
    """
    began = time.perf_counter()
    history = read_settings(settings) if settings else SettingsHistory()
    partition = Partition(MemoryStore(), history)
    tallies: dict[str, Tally] = {}
    events = 0
    for topic, batch in in_log_order(read_events(predictions, PREDICTIONS), read_events(outcomes, OUTCOMES)):
        partition.apply(topic, batch)
        events += len(batch.values)
        if partition.uncommitted >= COMMIT_EVENTS:
            partition.commit()
            _collect(partition, tallies, partition.closable())
    partition.commit()
    _collect(partition, tallies, None)
    seconds = time.perf_counter() - began
    counters = dict(sorted(partition.state.counters.items()))
    return {
        "models": {model: _report(tally, history.at(model, LATEST)) for model, tally in sorted(tallies.items())},
        "counters": counters,
        "dead_letters": sum(n for name, n in counters.items() if name.startswith("dead_letters")),
        "events": events,
        "seconds": round(seconds, 3),
        "events_per_second": round(events / seconds),
    }


def in_log_order(predictions: Iterator[RawBatch], outcomes: Iterator[RawBatch]) -> Iterator[tuple[str, RawBatch]]:
    """Both topics' batches by their first log time: any order gives the same counts, this one keeps the state small."""
    waiting = {PREDICTIONS: next(predictions, None), OUTCOMES: next(outcomes, None)}
    sources = {PREDICTIONS: predictions, OUTCOMES: outcomes}
    while left := {topic: batch for topic, batch in waiting.items() if batch is not None}:
        topic = min(left, key=lambda name: left[name].timestamps[0])
        yield topic, left[topic]
        waiting[topic] = next(sources[topic], None)


def read_settings(path: Path) -> SettingsHistory:
    """The settings in a file; ConfigError where they cannot be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=ModelSettings | list[ModelSettings])
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Give a JSON file of settings.") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} holds no model settings: {error}.") from error
    history = SettingsHistory()
    for document in found if isinstance(found, list) else [found]:
        history.add(Settings.from_document(document))
    return history


def _collect(partition: Partition, tallies: dict[str, Tally], before: int | None) -> None:
    """Takes the records of closed log hours (None: all that are left) out of the partition's store."""
    for raw, record in partition.store.iter_records():
        key = parse_key(raw)
        assert key is not None
        if before is not None and key.log_hour >= before:
            continue
        if not key.segment_key:
            _add(tallies.setdefault(key.model, Tally()), key, record)
    if before is not None:
        partition.close_hours(before)
    partition.outbox.clear()
    partition.hourly_outbox.clear()


def _add(tally: Tally, key: Key, record: bytes) -> None:
    day = key.event_hour * HOUR // DAY
    if key.kind == "full":
        families = {name: cells for name, cells in unpack_full(record).families.items() if _is_measured(name)}
        tally.add_families(None, families)
        tally.add_families(day, families)
        return
    found = unpack_slim(record)
    confusion: Counter[tuple[str, str]] = Counter()
    for _, predicted, actual, n in found.confusion:
        confusion[predicted, actual] += n
    tally.add(None, found.matrix, confusion)
    tally.add(day, found.matrix, confusion)


def _is_measured(family: str) -> bool:
    """The others have the bins of a profile, and do not add up once it has changed."""
    return family in ("score_class", "calibration") or family.startswith("class:")


def _report(tally: Tally, settings: Settings) -> dict[str, Any]:
    days = sorted(day for day in tally.rows if day is not None)
    return {
        **_window(tally, None, settings),
        "days": [{"date": format_time(day * DAY)[:10], **_window(tally, day, settings)} for day in days],
    }


def _window(tally: Tally, day: int | None, settings: Settings) -> dict[str, Any]:
    row = tally.rows[day]
    counts = {name: int(row[slim.INDEX[name]]) for name in ("predictions", "joined", "late", "early")}
    confusion = tally.confusion[day]
    metrics = performance(row, confusion, settings, tally.families.get(day))
    pairs = [{"predicted": p, "actual": a, "n": n} for (p, a), n in sorted(confusion.items())]
    return {**counts, "metrics": metrics, "confusion": pairs}
