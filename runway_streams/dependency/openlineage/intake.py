"""OpenLineageIntake: brings events of OpenLineage to the graph, from wherever they come."""

import logging
from collections.abc import Callable, Sequence

from msgspec import Struct

from runway_streams.dependency.graph import AHEAD_MS, LineageGraph
from runway_streams.dependency.openlineage.event import read_event
from runway_streams.dependency.openlineage.execution import execution_key, executions
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.reports import event_report, execution_report, run_report, static_report
from runway_streams.dependency.openlineage.run import RunTold, told_by
from runway_streams.dependency.openlineage.runs import MAX_RUN_BYTES, OpenLineageRuns
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


class OpenLineageIntake:
    """Merges what runs tell, and tells the graph. `now` is the wall clock in ms.

    The merged run is kept before the graph is told: where that fails the sender sends again, and the same event twice is as one.
    """

    def __init__(self, graph: LineageGraph, runs: OpenLineageRuns, now: Callable[[], int]):
        self._graph, self._runs, self._now = graph, runs, now

    async def take(self, events: Sequence[bytes]) -> Taken:
        """Takes events; a bad one does not spoil the others. Raises QueueFull and DependencyDown: send them again."""
        read, refused, notes = _read(events, self._now() + AHEAD_MS)
        merged = await self._runs.merge([told for _, told in read if isinstance(told, RunTold)], self._now())
        found = iter(merged)
        runs: dict[str, tuple[int, RunTold]] = {}
        reports: list[tuple[int, Report]] = []
        for index, told in read:
            if isinstance(told, Report):
                reports.append((index, told))
            elif (run := next(found)) is None:
                refused.append(Refusal(index, f"The run {told.run} has told of more than {MAX_RUN_BYTES} bytes of lineage."))
            else:
                runs[run.run] = index, run
                if told.last < run.last or not run.ended or execution_key(run):  # else it is told with all of the run
                    reports.append((index, event_report(told, run)))
        reports += await self._ended([(index, run) for index, run in runs.values() if run.ended])
        reasons, in_graph = await self._tell(reports)
        refused += [Refusal(index, reason) for index, reason in reasons.items()]
        return Taken(len(events), sorted(refused, key=lambda one: one.index), in_graph, notes)

    async def _ended(self, runs: Sequence[tuple[int, RunTold]]) -> list[tuple[int, Report]]:
        """What is told once runs have ended: of each all that it told, and what the executions say that are over by it. Each with
        the place of an event of the run."""
        asked = {key: index for index, run in runs for key in (run.run, execution_key(run)) if key}
        # Asked once the runs are kept: of two that end at once, whoever is the later to ask finds both.
        by_key = await self._runs.found_by(asked)
        over = [(asked[key], found) for key, group in by_key.items() for found in executions(key, group)]
        over += [(index, [run]) for index, run in runs if run.succeeded and execution_key(run) is None]
        told = {run.run for _, found in over for run in found}
        reports = [(index, run_report(run)) for index, run in runs if run.run not in told]
        return reports + [(index, execution_report(found)) for index, found in over]

    async def _tell(self, reports: Sequence[tuple[int, Report]]) -> tuple[dict[int, str], bool]:
        """Why reports were refused, by the place of the event, and whether the others are in the graph."""
        try:
            return {}, await self._graph.tell([report for _, report in reports]) if reports else True
        except ReportsRefused as error:
            return {reports[place][0]: str(why) for place, why in error.errors.items()}, error.in_graph


def _read(events: Sequence[bytes], latest: int) -> tuple[list[tuple[int, RunTold | Report]], list[Refusal], list[EventNote]]:
    read: list[tuple[int, RunTold | Report]] = []
    refused, notes = [], []
    for index, raw in enumerate(events):
        left_out = LeftOut()
        try:
            read.append((index, _told(raw, latest, left_out)))
        except (BadReport, BadNode) as error:
            refused.append(Refusal(index, str(error)))
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
