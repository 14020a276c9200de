"""The graph while its store is away: remembered answers that tell their age, reports that wait, and no waiting for time-outs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from runway_streams.database import Database
from runway_streams.dependency import graph as graphs
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.impact import MAX_FACT
from runway_streams.dependency.incident import Condition
from runway_streams.dependency.refusals import BadQuestion, BadReport, ReportsRefused, UnknownNode
from runway_streams.dependency.report import Report
from runway_streams.dependency.report_queue import MAX_ATTEMPTS
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.dependency.stores.sql_report_queue import SqlReportQueue
from runway_streams.errors import DependencyDown, TooSlow
from tests.runway_streams.dependency.graphs import FixedGraph, edges

REPORT = Report("test", 1, [Claim("dataset:n/a", "model:B")])


class Failing(FixedGraph):
    """A store that can be taken away."""

    def __init__(self):
        super().__init__(edges("a>B B>c c>B"))
        self.down = self.slow = False
        self.asks, self.most = 0, 100
        self.ready = asyncio.Event()
        self.ready.set()
        self.refused: list[Report] = []
        self.slow_for: Report | None = None
        self.scans: asyncio.Event | None = None
        self.applied: list[Report] = []

    async def prepare(self):
        await self._ask()
        await self.ready.wait()

    async def _ask(self):
        self.asks += 1
        if self.slow:
            await asyncio.sleep(60)
        if self.down:
            raise DependencyDown("The graph is away.")

    async def nodes(self, ids):
        await self._ask()
        return await super().nodes(ids)

    async def edges(self, nodes, direction, as_of=None, limit=5_000):
        await self._ask()
        return await super().edges(nodes, direction, as_of, limit)

    async def scan(self, as_of=None):
        await self._ask()
        if self.scans:
            await self.scans.wait()
        async for page in super().scan(as_of):
            yield page

    async def apply(self, reports):
        await self._ask()
        if any(one in self.refused for one in reports):
            raise BadReport("Too much.", "Send less.")
        if len(reports) > self.most or self.slow_for in reports:
            await asyncio.Event().wait()
        self.applied += reports


class Times:
    now_ms, seconds = 1_000, 0.0


@pytest.fixture
def store() -> Failing:
    return Failing()


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
async def queue(tmp_path) -> AsyncIterator[SqlReportQueue]:
    async with aclosing(Database.open(None, tmp_path, MIGRATIONS)) as database:
        yield SqlReportQueue(database)


@pytest.fixture
def graph(store: Failing, queue: SqlReportQueue, times: Times) -> LineageGraph:
    return LineageGraph(store, queue, lambda: times.now_ms, lambda: times.seconds)


async def test_while_the_store_is_away_the_last_answer_is_given_with_its_time(graph, store, times):
    first = await graph.walk("dataset:n/a", "downstream", 5)
    store.down, times.now_ms = True, 61_000
    second = await graph.walk("dataset:n/a", "downstream", 5)
    assert (second.found, second.at, second.degraded) == (first.found, 1_000, True)
    assert second.problem == "The graph is away."
    other = await graph.walk("dataset:n/a", "upstream", 5)
    assert (other.found, other.degraded) == (None, True)


async def test_of_all_facts_those_are_kept_by_which_is_ranked(graph, store):
    store.facts["model:B"] = {"owner": "o" * 1_000, "criticality": "high", "columns": ["x"] * 1_000}
    found = (await graph.walk("dataset:n/a", "downstream", 5)).found
    assert found.facts["model:B"] == {"criticality": "high", "owner": "o" * MAX_FACT}


async def test_a_store_that_failed_is_left_alone_for_a_while_and_then_found_again(graph, store, times):
    store.down = True
    await graph.loops()
    asks = store.asks
    await graph.loops()
    assert store.asks == asks, "asked though it has just failed"
    store.down, times.seconds = False, graphs.REST_S
    found = await graph.loops()
    assert (found.degraded, len(found.found.items), graph.problem) == (False, 1, "")


@pytest.mark.parametrize("was_there", [False, True])
async def test_a_store_that_does_not_answer_in_time_is_down(graph, store, monkeypatch, was_there):
    monkeypatch.setattr(graphs, "PROBE_S", 0.01)
    if was_there:
        await graph.tell([REPORT])
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


@pytest.mark.parametrize("down", [False, True])
async def test_a_bad_report_is_refused_and_the_others_are_taken(graph, store, down):
    store.down = down
    with pytest.raises(ReportsRefused, match="'nothing' has no type") as raised:
        await graph.tell([Report("test", 1, [Claim("dataset:n/a", "nothing")]), REPORT])
    assert (list(raised.value.errors), raised.value.in_graph) == ([0], not down)
    assert (await graph.queue.size(), store.applied) == ((1, []) if down else (0, [REPORT]))


async def test_what_the_store_refuses_holds_up_neither_the_others_nor_the_queue(graph, store, times, caplog):
    reports = [Report("test", number) for number in range(5)]
    store.refused = [reports[1], reports[4]]
    with pytest.raises(ReportsRefused) as raised:
        await graph.tell(reports)
    good = [one for one in reports if one not in store.refused]
    assert (list(raised.value.errors), store.applied) == ([1, 4], good)
    store.down = True
    assert not await graph.tell(reports)
    store.down, times.seconds, store.applied = False, graphs.REST_S, []
    assert [await graph.drain(), await graph.drain()] == [5, 0]
    assert (store.applied, await graph.queue.size(), await graph.queue.aside()) == (good, 0, 2)
    assert caplog.messages == ["A report of test with 0 edges is set aside: Too much. Send less."] * 2


async def test_a_batch_for_which_the_store_is_too_slow_is_brought_in_parts(graph, store, times, monkeypatch):
    reports = [Report("test", number) for number in range(7)]
    store.down = True
    await graph.tell(reports)
    store.down, times.seconds, store.most = False, graphs.REST_S, 2
    monkeypatch.setattr(graphs, "WRITE_S", 0.01)
    for _ in range(2):
        with pytest.raises(TooSlow):
            await graph.drain()
    assert [await graph.drain() for _ in range(2)] == [1, 2]
    assert not (await graph.walk("dataset:n/a", "downstream", 5)).degraded, "down for all, though it answers"
    with pytest.raises(TooSlow):
        await graph.drain()
    store.most = 100
    assert [await graph.drain() for _ in range(3)] == [2, 2, 0]
    assert store.applied == reports


async def test_a_report_for_which_the_store_is_always_too_slow_is_set_aside_in_the_end(graph, store, times, monkeypatch):
    slow, other = Report("test", 1, whole_inputs=["model:B"]), Report("test", 2)
    store.down = True
    await graph.tell([slow, other])
    store.down, times.seconds, store.slow_for = False, graphs.REST_S, slow
    monkeypatch.setattr(graphs, "WRITE_S", 0.001)
    for _ in range(MAX_ATTEMPTS - 1):
        with pytest.raises(TooSlow):
            await graph.drain()
    assert (await graph.queue.size(), await graph.queue.aside()) == (2, 0)
    assert [await graph.drain() for _ in range(3)] == [1, 1, 0]
    assert (store.applied, await graph.queue.aside()) == ([other], 1)


async def test_a_store_that_takes_long_to_be_made_ready_is_down_though_it_answers(graph, store, times, monkeypatch):
    monkeypatch.setattr(graphs, "LOOPS_S", 0.01)
    store.ready.clear()
    for _ in range(2):
        assert (await graph.loops()).problem == "The lineage graph has not answered within 0 s."
    assert store.asks == 1, "everybody waits for it"
    store.ready.set()
    monkeypatch.undo()
    times.seconds = graphs.REST_S
    assert not (await graph.loops()).degraded


async def test_a_slow_question_is_no_outage(graph, store, monkeypatch):
    first = await graph.loops()
    store.scans = asyncio.Event()
    monkeypatch.setattr(graphs, "LOOPS_S", 0.01)
    slow = await graph.loops()
    assert (slow.found, slow.degraded) == (first.found, True)
    assert slow.problem == "The lineage graph answers others, but not this. The lineage graph has not answered within 0 s."
    assert not (await graph.walk("dataset:n/a", "downstream", 5)).degraded
    store.scans.set()
    assert not (await graph.loops()).degraded


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
