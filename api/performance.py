"""`GET /v1/models/{model_id}/performance`: merged performance in windows of event time."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from api.merged_view import MergedView
from api.problems import Problem
from api.query import LATEST, Query, parse_query
from api.settled import SettledDays, settled_range
from api.speed_store import TOTAL
from api.windows import Item, Reading, window_items
from batch.manifest import ModelSeen
from runway_streams.ground_truth.merge_rule import (
    Tumbled,
    View,
    concat_windows,
    expected_label_rate,
    gap_hours,
    tumble,
    whole_range,
)
from runway_streams.ground_truth.performance import guess_task, positive_of
from runway_streams.ground_truth.slim import INDEX
from runway_streams.times import BIN, BINS_PER_HOUR, DAY, HOUR, YEAR_ONE, format_time

CURVE_DAYS = 7
"""The delay curve is taken from the last days of a model's events."""


async def get_performance(request: Request) -> Response:
    """The endpoint."""
    state = request.app.state
    now = state.now()
    query = parse_query(request.path_params["model_id"], request.query_params.multi_items(), now)
    document = answer(state.view, query, now, state.settled)
    return Response(msgspec.json.encode(document), media_type="application/json")


def answer(view: MergedView, query: Query, now: int, settled: SettledDays | None = None) -> dict[str, Any]:
    """The whole answer as a document; days that cannot change until the next batch come from `settled`, as a fragment."""
    seen = view.seen(query.model)
    if seen is None:
        raise _unknown(view, query)
    as_of, gaps = view.as_of(), _gaps(view, query)
    horizon, rate = _horizon(as_of, query.view), _expected(view, query, seen)
    days = None if settled is None or gaps else _Days.of(view, query, horizon, settled)
    edges = [_tumble(view, query, *edge, gaps) for edge in (days.edges if days else [(query.start, query.end)])]
    whole = whole_range(concat_windows([*edges, *([days.total] if days else [])]))
    reading = read(view, query, whole, now, seen.task)
    asked = concat_windows([*edges, whole])
    items: list[Any] = window_items(asked, reading, query, horizon, rate, set(_gap_windows(gaps, query)))
    total = items.pop()
    if days and (fragment := days.items(reading, horizon, rate)):
        # Many objects as one: between two others it reads as if they stood in the list one by one.
        items.insert(len(edges[0].starts) if days.follow_an_edge else 0, msgspec.Raw(fragment))
    lost = ["gap"] if gaps else []
    start, end = format_time(query.start), format_time(query.end)
    return {
        "model_id": query.model,
        "task": reading.task,
        "task_guessed": reading.guessed,
        "positive_label": reading.positive if reading.task == "binary" else None,
        "versions": seen.versions,
        "granularity": query.granularity,
        "start": start,
        "end": end,
        "segment": ":".join(query.segment) if query.segment != TOTAL else None,
        "view": query.view,
        "as_of": {layer: None if ms is None else format_time(ms) for layer, ms in as_of.items()},
        "expected_label_rate": rate,
        "expected_label_rate_reason": None if rate is not None else "fewer than 100 predictions in closed hours",
        "degraded": view.unavailable() + lost,
        "items": items,
        "totals": msgspec.structs.replace(total, start=start, end=end, incomplete=horizon < query.end, degraded=lost),
        "next_cursor": None,
    }


def totals(view: MergedView, query: Query, now: int) -> Item | None:
    """The whole range as one, as `answer` has it, at a fraction of the price: without windows, `incomplete` and
    `label_completeness`. None where nothing was ever seen of the model."""
    seen = view.seen(query.model)
    if seen is None:
        return None
    merged = view.layers(
        query.model, query.segment, query.start, query.end, hourly=query.hourly, version=query.version, view=query.view
    )
    first, last = query.start // BIN, query.end // BIN
    whole = whole_range(tumble(merged, first, last, last - first))
    (total,) = window_items(whole, read(view, query, whole, now, seen.task), query, LATEST, None)
    lost = ["gap"] if _gaps(view, query) else []
    return msgspec.structs.replace(total, start=format_time(query.start), end=format_time(query.end), degraded=lost)


class _Days:
    """The settled days of one query: as they are kept, or made now and kept."""

    def __init__(self, view: MergedView, query: Query, days: tuple[int, int], settled: SettledDays):
        self._view, self._query, self._days, self._settled = view, query, days, settled
        whose = (query.model, query.segment, query.version, query.view, query.width)
        self._key = (view.batch.name, view.ownership(), whose, days)
        self._kept = settled.get(self._key)

    @classmethod
    def of(cls, view: MergedView, query: Query, horizon: int, settled: SettledDays) -> "_Days | None":
        """The days of a query, None where it has none."""
        days = settled_range(query, view.speed_share(query), horizon)
        return cls(view, query, days, settled) if days else None

    @property
    def edges(self) -> list[tuple[int, int]]:
        """The ranges before and after the days, as far as there are any."""
        edges = [(self._query.start, self._days[0]), (self._days[1], self._query.end)]
        return [(start, end) for start, end in edges if start < end]

    @property
    def follow_an_edge(self) -> bool:
        """Whether there is a range before the days."""
        return self._query.start < self._days[0]

    @cached_property
    def windows(self) -> Tumbled:
        """The days' windows."""
        return _tumble(self._view, self._query, *self._days, [])

    @cached_property
    def total(self) -> Tumbled:
        """The sum of the days' windows."""
        return self._kept.total if self._kept else whole_range(self.windows)

    def items(self, reading: Reading, horizon: int, rate: float | None) -> bytes:
        """The days' windows as JSON objects with commas between them."""
        kept = self._kept
        if kept and (kept.reading, kept.rate) == (reading, rate):
            return kept.items
        windows = self.windows.renumbered(reading.labels, self.windows.families)
        text = msgspec.json.encode(window_items(windows, reading, self._query, horizon, rate))[1:-1]
        self._settled.keep(self._key, self.total, reading, rate, text)
        return text


def _tumble(view: MergedView, query: Query, start: int, end: int, gaps: Sequence[int]) -> Tumbled:
    merged = view.layers(query.model, query.segment, start, end, hourly=query.hourly, version=query.version, view=query.view)
    extra = [first for first in _gap_windows(gaps, query) if start // BIN <= first < end // BIN]
    return tumble(merged, start // BIN, end // BIN, query.width // BIN, extra)


def read(view: MergedView, query: Query, whole: Tumbled, now: int, stated: str | None) -> Reading:
    """The task that the settings state, else a guess from what all partitions have seen in the range."""
    settings = view.settings(query.model, now)
    seen = (whole.confusion + whole.late_confusion).sum(axis=0)
    present = (seen.sum(axis=0) + seen.sum(axis=1) > 0).tolist()
    labels = tuple(label for label, some in zip(whole.labels, present, strict=True) if some)
    task = settings.task or stated
    guess = task or guess_task(labels, float(whole.rows[:, INDEX["errors"]].sum()))
    positive = settings.positive if task else positive_of(settings, labels)
    return Reading(guess, task is None, positive, whole.labels)


def _horizon(as_of: Mapping[str, int | None], view: View) -> int:
    """The log time up to which every prediction is counted."""
    layers = {"batch": ["batch"], "merged": ["speed", "batch"], "speed": ["speed"]}[view]
    known = [as_of[layer] for layer in layers]
    return next((ms for ms in known if ms is not None), YEAR_ONE)


def _expected(view: MergedView, query: Query, seen: ModelSeen) -> float | None:
    """The share of labels that a model gets in the end, of its last days; closed hours alone count."""
    closed = view.closed_before(query.view)
    if closed is None:
        return None
    last = seen.last // DAY * DAY
    rows = view.label_rows(
        query.model, query.segment, last - CURVE_DAYS * DAY, last + DAY, version=query.version, view=query.view
    )
    return expected_label_rate(rows, closed)


def _gaps(view: MergedView, query: Query) -> list[int]:
    """Log hours that are missing; a prediction's log hour is taken to be that of its event time."""
    if query.view == "batch":
        return []
    marks = view.speed.store.marks.values()
    incomplete = {hour for mark in marks for hour in mark.incomplete_hours}
    return gap_hours(query.start // HOUR, -(-query.end // HOUR), view.ownership(), view.speed.complete_from, incomplete)


def _gap_windows(gaps: Sequence[int], query: Query) -> list[int]:
    """The starts, in bins, of all windows that have a part in missing hours."""
    if not gaps:
        return []
    bins = (np.array(gaps, dtype=np.int64)[:, np.newaxis] * BINS_PER_HOUR + np.arange(BINS_PER_HOUR)).ravel()
    first, width = query.start // BIN, query.width // BIN
    return np.unique(bins[(bins >= first) & (bins < query.end // BIN)] // width * width).tolist()


def _unknown(view: MergedView, query: Query) -> Problem:
    if view.unavailable() or not view.batch.loaded:
        detail = f"Whether there is a model {query.model} is not known yet. {' '.join(view.problems())}"
        return Problem(503, "not-ready", detail, {"Retry-After": "2"})
    return Problem(404, "unknown-model", f"No prediction of a model {query.model!r} has been seen; /v1/models lists all.")
