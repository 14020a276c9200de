"""LineageGraph: the graph as its users have it, whether or not its store answers just now.

Questions are answered by the store; while it is down, from what was answered before, with the time of that answer. Reports go
to the store; while it is down, and until those that waited have been brought by `drain`, they wait in a queue in their order.
A store that has just failed is not asked again for REST_S, so that nobody waits for time-outs one after the other.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.impact import facts_wanted
from runway_streams.dependency.incident import Condition, Incident, find_incidents
from runway_streams.dependency.loops import Loops, find_loops
from runway_streams.dependency.node import Node
from runway_streams.dependency.refusals import BadReport
from runway_streams.dependency.remembered import Remembered
from runway_streams.dependency.report import Report, check_report
from runway_streams.dependency.report_queue import BATCH, ReportQueue
from runway_streams.dependency.store import LineageStore
from runway_streams.dependency.walk import Walk, check_depth, walk
from runway_streams.errors import DependencyDown

AHEAD_MS = 3_600_000
"""A report of a time further ahead than this is refused: it would hide what is told rightly until then."""
REST_S = 5.0
"""How long a store that did not answer is left alone."""
ANSWER_S = 10.0
"""The longest that a question may take; beyond, the store counts as down."""
LOOPS_S = 60.0
"""The same for a question to the whole graph."""
Facts = Mapping[str, Mapping[str, Any]]
T = TypeVar("T")


class Answer(Struct, Generic[T], frozen=True):
    """What was found, when (epoch ms), and whether that is old because the graph does not answer now. `found` is None where
    nothing is remembered either; `problem` says what is wrong with the graph, "" for nothing."""

    found: T | None
    at: int
    problem: str = ""

    @property
    def degraded(self) -> bool:
        return bool(self.problem)


class Walked(Struct, frozen=True):
    """A walk, with the facts by which it is ranked."""

    walk: Walk
    facts: dict[str, dict[str, Any]]


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
        self._remembered: Remembered[Any] = Remembered()
        self._down_until = 0.0
        self._prepared = False
        self.problem = ""
        """What is wrong with the store, "" for nothing that is known."""

    async def walk(self, node: str, direction: Direction, depth: int, as_of: int | None = None) -> Answer[Walked]:
        """What lies in a direction from a node. Raises BadQuestion, and UnknownNode where the graph says so."""
        check_depth(depth)

        async def ask() -> tuple[Walked, int]:
            found = await walk(self.store, node, direction, depth, as_of)
            facts = {one.id: one.facts for one in (await self.store.nodes(facts_wanted(found))).values()}
            return Walked(found, facts), len(found.steps)

        return await self._answer(("walk", node, direction, depth, as_of), ask)

    async def loops(self, as_of: int | None = None) -> Answer[Loops]:
        """The feedback loops of the whole graph."""

        async def ask() -> tuple[Loops, int]:
            found = await find_loops(self.store, as_of)
            return found, sum(len(loop.nodes) for loop in found.items)

        return await self._answer(("loops", as_of), ask, LOOPS_S)

    async def incidents(self, conditions: Mapping[str, Condition], depth: int) -> Answer[tuple[list[Incident], bool]]:
        """What ails, folded to its roots. While the graph is down, each ailing node is told on its own by the caller: an old
        answer would be about other conditions. Raises BadQuestion."""
        check_depth(depth)

        async def ask() -> tuple[tuple[list[Incident], bool], int]:
            return await find_incidents(self.store, conditions, depth), 0

        return await self._answer(None, ask)

    async def find(self, text: str, types: Sequence[str], limit: int) -> Answer[list[Node]]:
        """Nodes whose name contains a text."""

        async def ask() -> tuple[list[Node], int]:
            found = await self.store.find(text, types, limit)
            return found, len(found)

        return await self._answer(("find", text, tuple(types), limit), ask)

    async def edges(self, nodes: Sequence[str], direction: Direction, as_of: int | None, limit: int) -> Answer[list[Edge]]:
        """The edges next to some nodes."""

        async def ask() -> tuple[list[Edge], int]:
            found = await self.store.edges(nodes, direction, as_of, limit)
            return found, len(found)

        return await self._answer(("edges", tuple(sorted(nodes)), direction, as_of, limit), ask)

    async def tell(self, reports: Sequence[Report]) -> bool:
        """Takes reports: True once they are in the graph, False where they wait in the queue for it.

        Raises BadReport or BadNode where one cannot be taken (then none is), QueueFull, and DependencyDown where the queue
        does not answer either.
        """
        for report in reports:
            check_report(report)
            if report.at > self.now() + AHEAD_MS:
                raise BadReport(f"A report of {report.reporter} lies in the future.", "Set the clock of its sender right.")
        # What waits comes first: a report that overtakes an older one may leave open what that one would not have begun.
        waiting = await self.queue.size()
        try:
            if not waiting:
                await self._try(lambda: self.store.apply(reports))
                return True
        except DependencyDown:
            pass
        await self.queue.add(reports, self.now(), self.problem)
        return False

    async def drain(self) -> int:
        """Brings what waits to the graph, at most BATCH reports; tells how many it was. Raises DependencyDown."""
        waiting = await self.queue.oldest(BATCH)
        if not waiting:
            return 0
        numbers = [one.number for one in waiting]
        try:
            await self._try(lambda: self.store.apply([one.report for one in waiting]))
        except DependencyDown as error:
            await self.queue.failed(numbers, str(error))
            raise
        await self.queue.done(numbers)
        return len(numbers)

    async def _answer(
        self, question: Hashable, ask: Callable[[], Awaitable[tuple[T, int]]], seconds: float = ANSWER_S
    ) -> Answer[T]:
        try:
            found, weight = await self._try(ask, seconds)
        except DependencyDown as error:
            kept = self._remembered.recall(question, now=self.now()) if question is not None else None
            return Answer(kept[0], kept[1], str(error)) if kept else Answer(None, self.now(), str(error))
        at = self.now()
        if question is not None:
            self._remembered.keep(question, found, weight=1 + weight, now=at)
        return Answer(found, at)

    async def _try(self, ask: Callable[[], Awaitable[T]], seconds: float = ANSWER_S) -> T:
        if self._clock() < self._down_until:
            raise DependencyDown(self.problem)
        with self._noted(seconds):
            async with asyncio.timeout(seconds):
                if not self._prepared:
                    await self.store.prepare()
                    self._prepared = True
                found = await ask()
        self.problem = ""
        return found

    @contextlib.contextmanager
    def _noted(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except (DependencyDown, TimeoutError) as error:
            told = (
                str(error)
                if isinstance(error, DependencyDown)
                else f"The lineage graph has not answered within {seconds:.0f} s."
            )
            self.problem, self._down_until = told, self._clock() + REST_S
            self._prepared = False  # it may come back without what was made there
            raise DependencyDown(told) from error
