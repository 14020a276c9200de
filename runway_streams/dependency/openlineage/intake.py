"""OpenLineageIntake: brings events of OpenLineage to the graph, from wherever they come."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from runway_streams.dependency.graph import AHEAD_MS, LineageGraph
from runway_streams.dependency.openlineage.event import read_event
from runway_streams.dependency.openlineage.reports import run_report, run_reports, static_report
from runway_streams.dependency.openlineage.run import RunTold, told_by
from runway_streams.dependency.openlineage.runs import MAX_RUN_BYTES, OpenLineageRuns
from runway_streams.dependency.refusals import BadNode, BadReport, ReportsRefused
from runway_streams.dependency.report import Report, check_report
from schemas.openlineage import RunEvent


class Refusal(Struct, frozen=True):
    """An event that was not taken: its place in what was sent, and why."""

    index: int
    reason: str


class Taken(Struct, frozen=True):
    """What became of some events. `in_graph` is False where they wait in the queue for the graph."""

    received: int
    refused: list[Refusal]
    in_graph: bool = True


class OpenLineageIntake:
    """Merges what runs tell, and tells the graph. `now` is the wall clock in ms.

    The merged run is kept before the graph is told: where that fails the sender sends again, and the same event twice is as one.
    """

    def __init__(self, graph: LineageGraph, runs: OpenLineageRuns, now: Callable[[], int]):
        self._graph, self._runs, self._now = graph, runs, now

    async def take(self, events: Sequence[bytes]) -> Taken:
        """Takes events; a bad one does not spoil the others. Raises QueueFull and DependencyDown: send them again."""
        read, refused = _read(events, self._now() + AHEAD_MS)
        merged = await self._runs.merge([told for _, told in read if isinstance(told, RunTold)], self._now())
        found = iter(merged)
        whole: dict[str, tuple[int, RunTold]] = {}
        reports: list[tuple[int, Report]] = []
        for index, told in read:
            if isinstance(told, Report):
                reports.append((index, told))
            elif (run := next(found)) is None:
                refused.append(Refusal(index, f"The run {told.run} has told of more than {MAX_RUN_BYTES} bytes of lineage."))
            else:
                whole[run.run] = index, run
                reports += [(index, report) for report in run_reports(told, run)[1:]]
        reports += [(index, run_report(run)) for index, run in whole.values()]
        try:
            in_graph = await self._graph.tell([report for _, report in reports]) if reports else True
        except ReportsRefused as error:
            reasons = {reports[place][0]: str(why) for place, why in error.errors.items()}
            refused += [Refusal(index, reason) for index, reason in reasons.items()]
            in_graph = error.in_graph
        return Taken(len(events), sorted(refused, key=lambda one: one.index), in_graph)


def _read(events: Sequence[bytes], latest: int) -> tuple[list[tuple[int, RunTold | Report]], list[Refusal]]:
    read: list[tuple[int, RunTold | Report]] = []
    refused = []
    for index, raw in enumerate(events):
        try:
            event = read_event(raw)
            told = told_by(event) if isinstance(event, RunEvent) else static_report(event)
            alone = run_report(told) if isinstance(told, RunTold) else told
            check_report(alone)  # before it is merged: what cannot be told would keep the run's other events from it
            if alone.at > latest:
                raise BadReport("eventTime lies in the future.", "Set the clock of the sender right.")
        except (BadReport, BadNode) as error:
            refused.append(Refusal(index, str(error)))
        else:
            read.append((index, told))
    return read, refused
