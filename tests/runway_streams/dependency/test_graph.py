"""The graph while its store is away: remembered answers that tell their age, reports that wait, and no waiting for time-outs."""

import asyncio

import pytest

from runway_streams.dependency import graph as graphs
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.incident import Condition
from runway_streams.dependency.refusals import BadNode, BadQuestion, UnknownNode
from runway_streams.dependency.report import Report
from runway_streams.dependency.report_queue import Waiting
from runway_streams.errors import DependencyDown
from tests.runway_streams.dependency.graphs import FixedGraph, edges

REPORT = Report("test", 1, [Claim("dataset:n/a", "model:B")])


class Failing(FixedGraph):
    """A store that can be taken away."""

    def __init__(self):
        super().__init__(edges("a>B B>c c>B"))
        self.down = self.slow = False
        self.asks = 0
        self.applied: list[Report] = []

    async def prepare(self):
        self.asks += 1
        if self.slow:
            await asyncio.sleep(60)
        if self.down:
            raise DependencyDown("The graph is away.")

    async def nodes(self, ids):
        await self.prepare()
        return await super().nodes(ids)

    async def edges(self, nodes, direction, as_of=None, limit=5_000):
        await self.prepare()
        return await super().edges(nodes, direction, as_of, limit)

    async def scan(self, as_of=None):
        await self.prepare()
        async for page in super().scan(as_of):
            yield page

    async def apply(self, reports):
        await self.prepare()
        self.applied += reports


class ListQueue:
    """A queue in memory."""

    def __init__(self):
        self.waiting: list[Waiting] = []

    async def add(self, reports, now, problem=""):
        self.waiting += [Waiting(len(self.waiting) + 1, report, 0) for report in reports]

    async def oldest(self, limit=200):
        return self.waiting[:limit]

    async def done(self, numbers):
        self.waiting = [one for one in self.waiting if one.number not in numbers]

    async def failed(self, numbers, problem):
        self.waiting = [Waiting(one.number, one.report, one.attempts + 1) for one in self.waiting]

    async def size(self):
        return len(self.waiting)


class Times:
    now_ms, seconds = 1_000, 0.0


@pytest.fixture
def store() -> Failing:
    return Failing()


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def graph(store: Failing, times: Times) -> LineageGraph:
    return LineageGraph(store, ListQueue(), lambda: times.now_ms, lambda: times.seconds)


async def test_while_the_store_is_away_the_last_answer_is_given_with_its_time(graph, store, times):
    first = await graph.walk("dataset:n/a", "downstream", 5)
    store.down, times.now_ms = True, 61_000
    second = await graph.walk("dataset:n/a", "downstream", 5)
    assert (second.found, second.at, second.degraded) == (first.found, 1_000, True)
    assert second.problem == "The graph is away."
    other = await graph.walk("dataset:n/a", "upstream", 5)
    assert (other.found, other.degraded) == (None, True)


async def test_a_store_that_failed_is_left_alone_for_a_while_and_then_found_again(graph, store, times):
    store.down = True
    await graph.loops()
    asks = store.asks
    await graph.loops()
    assert store.asks == asks, "asked though it has just failed"
    store.down, times.seconds = False, graphs.REST_S
    found = await graph.loops()
    assert (found.degraded, len(found.found.items), graph.problem) == (False, 1, "")


async def test_a_store_that_does_not_answer_in_time_is_down(graph, store):
    store.slow = True
    with pytest.raises(DependencyDown, match="has not answered within 0 s"):
        await graph._try(store.prepare, seconds=0.01)
    assert (await graph.walk("dataset:n/a", "downstream", 5)).problem.startswith("The lineage graph has not answered")


async def test_what_is_told_while_the_store_is_away_waits_and_is_brought_later(graph, store, times):
    assert await graph.tell([REPORT])
    store.down = True
    assert not await graph.tell([REPORT, REPORT])
    with pytest.raises(DependencyDown):
        await graph.drain()
    assert (await graph.queue.size(), store.applied) == (2, [REPORT])
    store.down, times.seconds = False, graphs.REST_S
    assert [await graph.drain(), await graph.drain()] == [2, 0]
    assert (await graph.queue.size(), store.applied) == (0, [REPORT] * 3)


async def test_what_is_told_later_does_not_overtake_what_waits(graph, store, times):
    later = Report("test", 2)
    store.down = True
    await graph.tell([REPORT])
    store.down, times.seconds = False, graphs.REST_S
    assert not await graph.tell([later])
    await graph.drain()
    assert store.applied == [REPORT, later]
    assert await graph.tell([later])


async def test_a_bad_report_is_refused_whole_and_never_waits(graph, store):
    store.down = True
    with pytest.raises(BadNode):
        await graph.tell([REPORT, Report("test", 1, [Claim("dataset:n/a", "nothing")])])
    assert await graph.queue.size() == 0


async def test_questions_that_are_not_answered_are_refused_also_while_the_store_is_away(graph, store):
    with pytest.raises(UnknownNode):
        await graph.walk("model:nobody", "downstream", 5)
    store.down = True
    with pytest.raises(BadQuestion):
        await graph.walk("dataset:n/a", "downstream", 10**9)
    with pytest.raises(BadQuestion):
        await graph.incidents({}, 0)


async def test_incidents_are_never_remembered(graph, store):
    sick = {"model:B": Condition("AT_RISK")}
    assert [one.root for one in (await graph.incidents(sick, 5)).found[0]] == ["model:B"]
    store.down = True
    answer = await graph.incidents(sick, 5)
    assert (answer.found, answer.degraded) == (None, True)
