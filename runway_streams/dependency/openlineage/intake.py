"""OpenLineageIntake: brings events of OpenLineage to the graph, from wherever they come."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from msgspec import Struct

from runway_streams.dependency.graph import AHEAD_MS, LineageGraph
from runway_streams.dependency.openlineage.event import read_event
from runway_streams.dependency.openlineage.execution import execution_key, executions
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.reports import event_report, execution_report, run_report, static_report
from runway_streams.dependency.openlineage.run import RunTold, told_by
from runway_streams.dependency.openlineage.runs import AT_ONCE_BYTES, MAX_RUN_BYTES, OpenLineageRuns, portions
from runway_streams.dependency.refusals import BadNode, BadReport, ReportsRefused
from runway_streams.dependency.report import Report, check_report
from schemas.openlineage import RunEvent

_log = logging.getLogger(__name__)


class Refusal(Struct, frozen=True):
    """An event that was not taken: its place in what was sent, and why."""

    index: int
    reason: str


class EventNote(Struct, frozen=True):
    """What of an event was left out, though the event was taken: its place in what was sent, and a sentence."""

    index: int
    note: str


class Taken(Struct, frozen=True):
    """What became of some events. `in_graph` is False where they wait in the queue for the graph."""

    received: int
    refused: list[Refusal]
    in_graph: bool = True
    notes: list[EventNote] = []


class _Fate(Struct):
    """What becomes of events while they are taken: why some are refused, by their places, and whether all others are in the
    graph."""

    refused: dict[int, str]
    in_graph: bool = True


class OpenLineageIntake:
    """Merges what runs tell, and tells the graph. `now` is the wall clock in ms; `at_once` bounds what is read of runs at a time,
    in bytes as they are kept.

    The merged run is kept before the graph is told: where that fails the sender sends again, and the same event twice is as one.
    """

    def __init__(self, graph: LineageGraph, runs: OpenLineageRuns, now: Callable[[], int], at_once: int = AT_ONCE_BYTES):
        self._graph, self._runs, self._now, self._at_once = graph, runs, now, at_once

    async def take(self, events: Sequence[bytes]) -> Taken:
        """Takes events; a bad one does not spoil the others. Raises QueueFull and DependencyDown: send them again."""
        read, refused, notes = _read(events, self._now() + AHEAD_MS)
        fate = _Fate(refused)
        await self._tell([(index, told) for index, told in read if isinstance(told, Report)], fate)
        by_run: dict[str, list[tuple[int, RunTold]]] = {}
        for index, told in read:
            if isinstance(told, RunTold):
                by_run.setdefault(told.run, []).append((index, told))
        for portion in await self._portions(by_run, self._runs.sizes):
            await self._take([one for run in portion for one in by_run[run]], fate)
        refusals = [Refusal(index, reason) for index, reason in sorted(fate.refused.items())]
        return Taken(len(events), refusals, fate.in_graph, notes)

    async def _take(self, told: Sequence[tuple[int, RunTold]], fate: _Fate) -> None:
        merged = await self._runs.merge([one for _, one in told], self._now())
        runs: dict[str, tuple[int, RunTold]] = {}
        reports: list[tuple[int, Report]] = []
        for (index, one), run in zip(told, merged, strict=True):
            if run is None:
                fate.refused[index] = f"The run {one.run} has told of more than {MAX_RUN_BYTES} bytes of lineage."
                continue
            runs[run.run] = index, run
            if one.last < run.last or not run.ended or execution_key(run):  # else it is told with all of the run
                reports.append((index, event_report(one, run)))
        await self._tell_with_ended(reports, [(index, run) for index, run in runs.values() if run.ended], fate)

    async def _tell_with_ended(
        self, reports: list[tuple[int, Report]], runs: Sequence[tuple[int, RunTold]], fate: _Fate
    ) -> None:
        """Tells reports, and what is told once runs have ended: of each all that it told, and what the executions say that are
        over by it. Each with the place of an event of the run."""
        asked = {key: index for index, run in runs for key in (run.run, execution_key(run)) if key}
        over = [(index, [run]) for index, run in runs if run.succeeded and execution_key(run) is None]
        told: set[str] = set()
        # Asked once the runs are kept: of two that end at once, whoever is the later to ask finds both.
        for portion in await self._portions(asked, self._runs.found_sizes):
            by_key = await self._runs.found_by(portion)
            over += [(asked[key], found) for key, group in by_key.items() for found in executions(key, group)]
            told |= {run.run for _, found in over for run in found}
            await self._tell(reports + [(index, execution_report(found)) for index, found in over], fate)
            reports, over = [], []
        await self._tell([(index, run_report(run)) for index, run in runs if run.run not in told] + reports, fate)

    async def _portions(
        self, names: Collection[str], ask: Callable[[Collection[str]], Awaitable[dict[str, int]]]
    ) -> list[list[str]]:
        """Runs, or keys, in portions that are read at a time; `ask` tells the bytes of each."""
        if len(names) * MAX_RUN_BYTES <= self._at_once:  # whatever they have
            return [list(names)] if names else []
        sizes = await ask(names)
        return list(portions({name: sizes.get(name, 0) for name in names}, self._at_once))

    async def _tell(self, reports: Sequence[tuple[int, Report]], fate: _Fate) -> None:
        if not reports:
            return
        try:
            in_graph = await self._graph.tell([report for _, report in reports])
        except ReportsRefused as error:
            fate.refused |= {reports[place][0]: str(why) for place, why in error.errors.items()}
            in_graph = error.in_graph
        fate.in_graph = fate.in_graph and in_graph


def _read(
    events: Sequence[bytes], latest: int
) -> tuple[list[tuple[int, RunTold | Report]], dict[int, str], list[EventNote]]:
    read: list[tuple[int, RunTold | Report]] = []
    refused: dict[int, str] = {}
    notes: list[EventNote] = []
    for index, raw in enumerate(events):
        left_out = LeftOut()
        try:
            read.append((index, _told(raw, latest, left_out)))
        except (BadReport, BadNode) as error:
            refused[index] = str(error)
        else:
            notes += [EventNote(index, note) for note in left_out.notes]
    if notes:  # one line, however many events: their senders are told of each
        _log.warning("Parts of OpenLineage's events are left out, %d in all; the first: %s", len(notes), notes[0].note)
    return read, refused, notes


def _told(raw: bytes, latest: int, left_out: LeftOut) -> RunTold | Report:
    event = read_event(raw)
    told = told_by(event, left_out) if isinstance(event, RunEvent) else static_report(event, left_out)
    alone = event_report(told, told) if isinstance(told, RunTold) else told
    check_report(alone)  # before it is merged: what cannot be told would keep the run's other events from it
    if alone.at > latest:
        raise BadReport("eventTime lies in the future.", "Set the clock of the sender right.")
    return told
