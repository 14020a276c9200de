"""LineageGraph: the graph as its users have it, whether or not its store answers just now.

Questions are answered by the store; while it is down, from what was answered before, with the time of that answer. Reports go
to the store; while it is down, and until those that waited have been brought by `drain`, they wait in a queue in their order.
A store that has just failed is not asked again for REST_S, so that nobody waits for time-outs one after the other. One that
was too slow for one question, but answers a small one, is not down: the others go on.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.impact import facts_wanted, ranking_facts
from runway_streams.dependency.incident import Condition, Incident, find_incidents
from runway_streams.dependency.loops import Loops, find_loops
from runway_streams.dependency.node import Node
from runway_streams.dependency.refusals import BadNode, BadReport, ReportsRefused
from runway_streams.dependency.remembered import Remembered
from runway_streams.dependency.report import Report, check_report
from runway_streams.dependency.report_queue import BATCH, MAX_ATTEMPTS, ReportQueue
from runway_streams.dependency.store import LineageStore
from runway_streams.dependency.walk import FRONTIER, Walk, check_depth, walk
from runway_streams.errors import DependencyDown, RunwayError, TooSlow

AHEAD_MS = 3_600_000
"""A report of a time further ahead than this is refused: it would hide what is told rightly until then."""
REST_S = 5.0
"""How long a store that did not answer is left alone."""
ANSWER_S = 10.0
"""The longest that a question may take, and a report for whose answer somebody waits: that waits in the queue then."""
LOOPS_S = 60.0
"""The same for a question to the whole graph."""
WRITE_S = 60.0
"""The longest that it may take to bring some of what waits."""
PROBE_S = 2.0
"""Within this a store that was too slow for something answers a small question, or it is down."""
PROBE = "model:runway"
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Answer(Struct, Generic[T], frozen=True):
    """What was found, when (epoch ms), and whether that is old because the graph does not answer now. `found` and `at` are None
    where nothing is remembered either; `problem` says what is wrong with the graph, "" for nothing."""

    found: T | None
    at: int | None
    problem: str = ""

    @property
    def degraded(self) -> bool:
        return bool(self.problem)


class Walked(Struct, frozen=True):
    """A walk, with the facts by which it is ranked."""

    walk: Walk
    facts: dict[str, dict[str, str]]


class LineageGraph:
    """A store with a memory and a queue. `now` is the wall clock in ms, `clock` a monotonic one in s."""

    def __init__(
        self,
        store: LineageStore,
        queue: ReportQueue,
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.store, self.queue, self.now = store, queue, now
        self._clock = clock
        self._remembered = Remembered()
        self._down_until = 0.0
        self._prepared = False
        self._at_once = BATCH
        """Reports that are brought at a time: fewer once the store was too slow for so many, until it is not."""
        self.problem = ""
        """What is wrong with the store, "" for nothing that is known."""

    async def walk(self, node: str, direction: Direction, depth: int, as_of: int | None = None) -> Answer[Walked]:
        """What lies in a direction from a node. Raises BadQuestion, and UnknownNode where the graph says so."""
        check_depth(depth)

        async def ask() -> Walked:
            found = await walk(self.store, node, direction, depth, as_of)
            return Walked(found, await self._facts(sorted(facts_wanted(found))))

        return await self._answer(("walk", node, direction, depth, as_of), Walked, ask)

    async def loops(self, as_of: int | None = None) -> Answer[Loops]:
        """The feedback loops of the whole graph."""
        return await self._answer(("loops", as_of), Loops, lambda: find_loops(self.store, as_of), LOOPS_S)

    async def incidents(self, conditions: Mapping[str, Condition], depth: int) -> Answer[tuple[list[Incident], bool]]:
        """What ails, folded to its roots. While the graph is down, each ailing node is told on its own by the caller: an old
        answer would be about other conditions. Raises BadQuestion."""
        check_depth(depth)
        return await self._answer(None, tuple, lambda: find_incidents(self.store, conditions, depth))

    async def find(self, text: str, types: Sequence[str], limit: int) -> Answer[list[Node]]:
        """Nodes whose name contains a text."""
        question = ("find", text, tuple(types), limit)
        return await self._answer(question, list[Node], lambda: self.store.find(text, types, limit))

    async def edges(self, nodes: Sequence[str], direction: Direction, as_of: int | None, limit: int) -> Answer[list[Edge]]:
        """The edges next to some nodes."""
        question = ("edges", sorted(nodes), direction, as_of, limit)
        return await self._answer(question, list[Edge], lambda: self.store.edges(nodes, direction, as_of, limit))

    async def identity(self) -> str | None:
        """Which graph it is now (`LineageStore.identity`), None while it does not answer."""
        try:
            return await self._try(self.store.identity, ANSWER_S)
        except DependencyDown:
            return None

    async def tell(self, reports: Sequence[Report]) -> bool:
        """Takes reports: True once they are in the graph, False where they wait in the queue for it.

        Raises ReportsRefused once the others are taken where some cannot be, QueueFull, and DependencyDown where the queue
        does not answer either.
        """
        errors = self._refusals(reports)
        good = {place: report for place, report in enumerate(reports) if place not in errors}
        in_graph = True
        # What waits comes first: a report that overtakes an older one may leave open what that one would not have begun.
        if good and await self.queue.size():
            in_graph = False
        elif good:
            try:
                errors |= await self._bring(good, ANSWER_S)
            except DependencyDown:
                in_graph = False
        if not in_graph:
            await self.queue.add(list(good.values()), self.now(), self.problem)
        if errors:
            raise ReportsRefused(errors, in_graph)
        return in_graph

    async def drain(self) -> int:
        """Brings the oldest of what waits to the graph, and tells how many that was. What the graph does not take is set aside.
        Raises TooSlow, after which fewer are brought at a time, and DependencyDown."""
        waiting = await self.queue.oldest(self._at_once)
        if not waiting:
            return 0
        reports = {one.number: one.report for one in waiting}
        try:
            refused = await self._bring(reports, WRITE_S)
        except TooSlow as error:
            self._at_once = max(1, len(waiting) // 2)
            await self.queue.failed(list(reports), str(error))
            if len(waiting) > 1 or waiting[0].attempts + 1 < MAX_ATTEMPTS:
                raise
            refused = {waiting[0].number: error}
        else:
            self._at_once = min(2 * self._at_once, BATCH)
        if refused:
            await self._set_aside(reports, refused)
        await self.queue.done([number for number in reports if number not in refused])
        return len(waiting)

    def _refusals(self, reports: Sequence[Report]) -> dict[int, RunwayError]:
        """What is wrong with reports whatever the graph has, by their places."""
        errors: dict[int, RunwayError] = {}
        for place, report in enumerate(reports):
            try:
                check_report(report)
                if report.at > self.now() + AHEAD_MS:
                    raise BadReport(
                        f"A report of {report.reporter} lies in the future.", "Set the clock of its sender right."
                    )
            except (BadReport, BadNode) as error:
                errors[place] = error
        return errors

    async def _bring(self, reports: Mapping[int, Report], seconds: float) -> dict[int, RunwayError]:
        """Brings reports to the store, and tells why it refuses which: of several that are too much together each half is tried
        alone."""
        try:
            await self._try(lambda: self.store.apply(list(reports.values())), seconds)
        except BadReport as error:
            if len(reports) == 1:
                return dict.fromkeys(reports, error)
            numbers = list(reports)
            middle = len(numbers) // 2
            halves = ({number: reports[number] for number in half} for half in (numbers[:middle], numbers[middle:]))
            return {number: why for half in halves for number, why in (await self._bring(half, seconds)).items()}
        return {}

    async def _set_aside(self, reports: Mapping[int, Report], refused: Mapping[int, RunwayError]) -> None:
        for number, error in refused.items():
            one = reports[number]
            _log.error("A report of %s with %d edges is set aside: %s", one.reporter, len(one.claims), error)
        await self.queue.set_aside({number: str(error) for number, error in refused.items()})

    async def _facts(self, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for begin in range(0, len(ids), FRONTIER):
            nodes = await self.store.nodes(ids[begin : begin + FRONTIER])
            found |= {one.id: ranking_facts(one.facts) for one in nodes.values()}
        return found

    async def _answer(
        self, question: tuple | None, kind: type[T], ask: Callable[[], Awaitable[T]], seconds: float = ANSWER_S
    ) -> Answer[T]:
        try:
            found = await self._try(ask, seconds)
        except DependencyDown as error:
            kept = self._remembered.recall(question, kind, now=self.now()) if question is not None else None
            return Answer(kept[0], kept[1], str(error)) if kept else Answer(None, None, str(error))
        at = self.now()
        if question is not None:
            self._remembered.keep(question, found, now=at)
        return Answer(found, at)

    async def _try(self, ask: Callable[[], Awaitable[T]], seconds: float) -> T:
        if self._clock() < self._down_until:
            raise DependencyDown(self.problem)
        try:
            async with asyncio.timeout(seconds):
                if not self._prepared:
                    await self.store.prepare()
                    self._prepared = True
                found = await ask()
        except (DependencyDown, TimeoutError) as error:
            raise await self._failure(error, seconds) from error
        self.problem = ""
        return found

    async def _failure(self, error: DependencyDown | TimeoutError, seconds: float) -> DependencyDown:
        """What it means that the store did not answer: that it was too much to ask, or that the store is down."""
        told = (
            f"The lineage graph has not answered within {seconds:.0f} s." if isinstance(error, TimeoutError) else str(error)
        )
        # One that has not even been made ready answers nobody: its indexes may still be made.
        if self._prepared and isinstance(error, TimeoutError | TooSlow) and await self._is_there():
            return TooSlow(f"The lineage graph answers others, but not this. {told}")
        self.problem, self._down_until = told, self._clock() + REST_S
        self._prepared = False  # it may come back without what was made there
        return DependencyDown(told)

    async def _is_there(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_S):
                await self.store.nodes([PROBE])
        except (DependencyDown, TimeoutError):
            return False
        return True
