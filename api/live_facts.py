"""Live facts: the merged performance of a version as promotion rules read it, `live.P1D.accuracy`."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from api.merged_view import MergedView
from api.performance import totals
from api.query import Query
from api.windows import Item
from runway_streams.ground_truth.performance import Metric
from runway_streams.registry.promotion import Live
from runway_streams.registry.rules import CompiledRule
from runway_streams.times import BIN, HOUR, parse_duration

COUNTS = ("predictions", "joined", "late", "early")
UNREADABLE = {
    "speed_unavailable": "the speed layer cannot be read now",
    "batch_unavailable": "the batch layer cannot be read now",
}

Path = tuple[str, ...]


def live_facts(view: MergedView, model_id: str, version: str, rules: Sequence[CompiledRule], now: int) -> Live:
    """What the rules ask for of the version's performance up to `now` (ms), and why where it is not known."""
    values: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    missing = _unreadable(view)
    for window in dict.fromkeys(window for rule in rules for window in rule.windows):
        found, why = ({}, {}) if missing else window_facts(view, model_id, version, window, now)
        if found:
            values[window] = found
        for path in _reads(rules, window):
            name = path[2] if len(path) == 3 else ".".join(path[2:])
            if found.get(name) is None:
                reasons[".".join(path)] = missing or why.get(name) or why.get("") or "there is no such metric"
    return Live(values, reasons)


def window_facts(
    view: MergedView, model_id: str, version: str, window: str, now: int
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The values of one window by name, and by name why one is null; under "" why all are that are not named."""
    total = totals(view, window_query(model_id, version, window, now), now)
    if total is None:
        return dict.fromkeys(COUNTS, 0.0), {"": "no predictions"}
    if total.degraded:
        return {}, {"": "a part of the window is in neither layer"}
    return _values(total)


def window_query(model_id: str, version: str, window: str, now: int) -> Query:
    """The window up to now, widened to whole hours, to five minutes where it is no whole hours itself: as a query for the
    performance from `now` less the window to `now` would be.

    >>> query = window_query("m", "1", "PT1H", 7 * HOUR + 60_000)
    >>> query.start // HOUR, query.end // HOUR
    (6, 8)
    """
    length = parse_duration(window)
    unit = BIN if length % HOUR else HOUR
    return Query(model_id, (now - length) // unit * unit, -(-now // unit) * unit, unit, version)


def _unreadable(view: MergedView) -> str:
    missing = view.unavailable() or ([] if view.batch.loaded else ["batch_unavailable"])
    return UNREADABLE[missing[0]] if missing else ""


def _reads(rules: Iterable[CompiledRule], window: str) -> Iterator[Path]:
    return (path for rule in rules for path in rule.reads if path[0] == "live" and path[1] == window)


def _values(total: Item) -> tuple[dict[str, float | None], dict[str, str]]:
    values: dict[str, float | None] = {name: float(getattr(total, name)) for name in COUNTS}
    reasons: dict[str, str] = {}
    rate = total.label_rate
    values["label_rate"] = None if rate is None or math.isnan(rate) else rate
    if values["label_rate"] is None:
        reasons["label_rate"] = "no predictions"
    for name in (field.name for field in msgspec.structs.fields(total.metrics)):
        metric = getattr(total.metrics, name)
        if isinstance(metric, Metric):
            values[name] = metric.value
            if metric.value is None:
                reasons[name] = metric.reason or "no labelled predictions"
    return values, reasons
