"""What waits in the lineage service's database: reports for the graph, runs for Metaflow, and how far followers have come."""

import asyncio
from contextlib import aclosing

import msgspec
import pytest
import sqlalchemy as sa

from runway_streams.database import Database
from runway_streams.dependency.cursors import Cursors
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.metaflow.discovery import GIVE_UP_MS, MAX_CHAIN, Discovery
from runway_streams.dependency.metaflow.poll import Cursor
from runway_streams.dependency.node import Node
from runway_streams.dependency.refusals import QueueFull
from runway_streams.dependency.report import Report
from runway_streams.dependency.stores import sql_discoveries, sql_report_queue, tables
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.dependency.stores.sql_discoveries import SqlDiscoveries
from runway_streams.dependency.stores.sql_report_queue import SqlReportQueue
from runway_streams.dependency.stores.sql_store import SqlStore
from tests.runway_streams.dependency.memory_store import MemoryStore

NOW = 1_700_000_000_000
REPORTS = [
    Report(
        "a", 1, [Claim("dataset:n/a", "model:m", "feeds", "declared", 0.5)], [Node("model:m", {"owner": "x"})], ["model:m"]
    ),
    Report("b", 2),
    Report("c", 3),
]


@pytest.fixture
async def lineage(database_url, tmp_path):
    opened = Database.open(database_url, tmp_path, MIGRATIONS)
    yield opened
    await opened.close()


async def test_reports_wait_in_order_over_a_restart_until_they_are_done(lineage, database_url, tmp_path):
    queue = SqlReportQueue(lineage)
    await queue.add(REPORTS[:2], NOW, "The graph is away\0.")
    await queue.add(REPORTS[2:], NOW)
    await queue.add([], NOW)
    await lineage.close()
    again = Database.open(database_url, tmp_path, MIGRATIONS)
    queue = SqlReportQueue(again)
    waiting = await queue.oldest()
    assert [one.report for one in waiting] == REPORTS
    await queue.failed([waiting[0].number], "still away")
    await queue.done([waiting[1].number])
    left = await queue.oldest(1)
    assert [(one.report, one.attempts) for one in left] == [(REPORTS[0], 1)]
    assert await queue.size() == 2
    await again.close()


async def test_a_number_that_was_given_is_never_given_again(lineage):
    queue = SqlReportQueue(lineage)
    await queue.add(REPORTS[:2], NOW)
    numbers = [one.number for one in await queue.oldest()]
    await queue.done(numbers)
    await queue.add(REPORTS[2:], NOW)
    await queue.done(numbers)  # by another process, which was slow to bring the same two
    assert [one.report for one in await queue.oldest()] == REPORTS[2:]


class Held(SqlStore):
    """A store that keeps reports waiting, as a process that is slow does."""

    def __init__(self, database):
        super().__init__(database)
        self.began, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def apply(self, reports):
        self.began.set()
        await self.may_go_on.wait()
        await super().apply(reports)


async def test_two_that_bring_the_same_reports_lose_none_and_come_to_what_one_does(lineage, database_url, tmp_path):
    def told(at: int, pairs: str, *whole: str) -> Report:
        ends = [pair.split(">") for pair in pairs.split()]
        return Report("one", at, [Claim(f"dataset:n/{up}", f"dataset:n/{down}") for up, down in ends], [], list(whole))

    b = "dataset:n/b"
    waiting = [told(10, "a>b c>b"), told(20, "a>b", b), told(30, "c>b"), told(40, "", b)]
    newer, last = told(50, "a>b"), told(60, "d>b", b)
    async with aclosing(Database.open(database_url, tmp_path, MIGRATIONS)) as other:
        held, store, queue = Held(lineage), SqlStore(other), SqlReportQueue(other)
        slow = LineageGraph(held, SqlReportQueue(lineage), lambda: NOW)
        quick = LineageGraph(store, queue, lambda: NOW)
        await queue.add(waiting, NOW)
        bringing = asyncio.create_task(slow.drain())
        await held.began.wait()
        assert [await quick.drain(), await quick.drain()] == [4, 0]
        assert await quick.tell([newer])
        await queue.add([last], NOW)
        held.may_go_on.set()
        assert await bringing == 4
        assert [one.report for one in await queue.oldest()] == [last]
        assert await quick.drain() == 1
        reference = MemoryStore()
        await reference.apply([*waiting, newer, last])
        for at in (*range(0, 70, 5), None):
            key = [edge.key for edge in await store.edges([b], "upstream", at)]
            assert key == [edge.key for edge in await reference.edges([b], "upstream", at)], at


async def test_few_large_reports_are_brought_at_a_time(lineage, monkeypatch):
    queue = SqlReportQueue(lineage)
    size = len(msgspec.json.encode(REPORTS[1]))
    await queue.add([*REPORTS[1:], *REPORTS], NOW)
    monkeypatch.setattr(sql_report_queue, "BATCH_BYTES", 2 * size)
    first = await queue.oldest()
    assert [one.report for one in first] == REPORTS[1:]
    await queue.done([one.number for one in first])
    assert [one.report for one in await queue.oldest()] == REPORTS[:1], "one that is larger than all may be, alone"


async def test_what_is_set_aside_waits_no_more_and_the_last_are_kept(lineage, monkeypatch):
    monkeypatch.setattr(sql_report_queue, "MAX_ASIDE", 1)
    queue = SqlReportQueue(lineage)
    await queue.add(REPORTS, NOW)
    numbers = [one.number for one in await queue.oldest()]
    await queue.set_aside({numbers[0]: "Too much.\0", numbers[1]: "Too much."})
    assert ([one.number for one in await queue.oldest()], await queue.size(), await queue.aside()) == (numbers[2:], 1, 1)
    async with lineage.read() as connection:
        kept = sa.select(tables.waiting_reports).where(tables.waiting_reports.c.set_aside)
        (row,) = await connection.execute(kept)
    assert (row.number, row.problem) == (numbers[1], "Too much.")


async def test_reports_of_too_many_bytes_do_not_wait(lineage):
    size = len(msgspec.json.encode(REPORTS[1]))
    queue = SqlReportQueue(lineage, max_bytes=2 * size)
    await queue.add(REPORTS[1:2], NOW)
    with pytest.raises(QueueFull):
        await queue.add(REPORTS[:1], NOW)
    await queue.add(REPORTS[2:], NOW)
    assert await queue.size() == 2


async def test_a_full_queue_takes_none_of_what_comes(lineage):
    queue = SqlReportQueue(lineage, max_waiting=2)
    await queue.add(REPORTS[:1], NOW)
    with pytest.raises(QueueFull, match="1 reports wait for it already"):
        await queue.add(REPORTS[1:], NOW)
    assert await queue.size() == 1


async def test_a_run_is_asked_for_once_and_then_later_and_later(lineage):
    discoveries = SqlDiscoveries(lineage)
    wanted = Discovery(pathspec="F/1", model_id="m", version="1")
    assert [await discoveries.ask([wanted], NOW), await discoveries.ask([wanted], NOW + 5)] == [1, 0]
    (one,) = await discoveries.due(NOW)
    assert (one.pathspec, one.model_id, one.state, one.attempts) == ("F/1", "m", "pending", 0)
    await discoveries.failed(one, "Metaflow is away.", NOW, 1.0)
    assert await discoveries.due(NOW + 1_999) == []
    (again,) = await discoveries.due(NOW + 2_000)
    assert (again.attempts, again.problem) == (1, "Metaflow is away.")
    await discoveries.done(one, NOW + 3_000)
    assert await discoveries.due(NOW + GIVE_UP_MS) == []
    assert (await discoveries.of_version("m", "1")).state == "done"
    assert await discoveries.of_version("m", "2") is None
    assert await discoveries.counts() == {"done": 1}


async def test_each_version_that_names_a_run_has_it_asked_for(lineage):
    discoveries = SqlDiscoveries(lineage)
    askers = [("", ""), ("m", "1"), ("m", "2"), ("n", "1")]
    wanted = [Discovery(pathspec="F/1", model_id=model_id, version=version) for model_id, version in askers]
    for one in wanted:
        assert await discoveries.ask([one], NOW) == 1
    assert {(one.model_id, one.version) for one in await discoveries.due(NOW)} == set(askers)
    await discoveries.done(wanted[1], NOW)
    await discoveries.failed(wanted[3], "no", NOW, 1.0)
    assert [(await discoveries.of_version(*asker)).state for asker in askers] == ["pending", "done", "pending", "pending"]
    assert [(await discoveries.of_version(*asker)).attempts for asker in askers] == [0, 0, 0, 1]


async def test_a_run_that_nobody_knows_is_given_up_after_a_week_one_that_is_not_answered_never(lineage):
    discoveries = SqlDiscoveries(lineage)
    await discoveries.ask([Discovery(pathspec="F/1"), Discovery(pathspec="F/2")], NOW)
    later = NOW + GIVE_UP_MS + 1
    for one, is_unknown in zip(await discoveries.due(later), (True, False), strict=True):
        await discoveries.failed(one, "no", later, 0.5, is_unknown=is_unknown)
    assert await discoveries.counts() == {"unknown": 1, "pending": 1}


async def test_all_runs_that_were_done_are_asked_for_again_however_many_and_no_others(lineage, monkeypatch):
    monkeypatch.setattr(sql_discoveries, "AGAIN", 2)
    discoveries = SqlDiscoveries(lineage)
    done = [Discovery(pathspec=f"F/{number}", model_id="m", version=str(number)) for number in range(4)]
    waits, gone = Discovery(pathspec="G/1"), Discovery(pathspec="G/2")
    await discoveries.ask([*done, waits, gone], NOW)
    for one in done:
        await discoveries.failed(one, "no", NOW, 1.0)
        await discoveries.done(one, NOW, "It has not ended well.")
    await discoveries.failed(waits, "not yet", NOW, 1.0)
    (lost,) = [one for one in await discoveries.due(NOW) if one.pathspec == "G/2"]
    later = NOW + GIVE_UP_MS + 1
    await discoveries.failed(lost, "no", later, 1.0, is_unknown=True)
    monkeypatch.setattr(sql_discoveries, "MAX_PENDING", 1)
    await discoveries.ask_again(later)
    assert await discoveries.counts() == {"pending": 5, "unknown": 1}
    again = [one for one in await discoveries.due(later) if one.pathspec.startswith("F/")]
    assert [(one.pathspec, one.attempts, one.problem) for one in again] == [(one.pathspec, 0, "") for one in done]
    assert [one.attempts for one in await discoveries.due(later) if one.pathspec == "G/1"] == [1], "as it was"


async def test_chains_and_what_waits_have_an_end(lineage, monkeypatch):
    discoveries = SqlDiscoveries(lineage)
    assert await discoveries.ask([Discovery(pathspec="F/1", depth=MAX_CHAIN + 1)], NOW) == 0
    monkeypatch.setattr(sql_discoveries, "MAX_PENDING", 1)
    await discoveries.ask([Discovery(pathspec="F/1")], NOW)
    with pytest.raises(QueueFull):
        await discoveries.ask([Discovery(pathspec="F/2")], NOW)


async def test_a_cursor_is_what_was_put_last(lineage):
    cursors = Cursors(lineage)
    assert await cursors.get("flow", Cursor()) == Cursor()
    await cursors.put("flow", Cursor(7, ("a", "b"), {"c": 8}))
    assert await cursors.graph() == ""
    await cursors.put("registry", 3)
    await cursors.put("registry", 4)
    assert (await cursors.get("flow", Cursor()), await cursors.get("registry", 0)) == (Cursor(7, ("a", "b"), {"c": 8}), 4)


async def test_followers_of_another_graph_begin_anew(lineage):
    cursors = Cursors(lineage)
    await cursors.put("registry", 4)
    for graph in ("one", "two"):
        await cursors.begin_anew(graph)
        assert (await cursors.graph(), await cursors.get("registry", 0)) == (graph, 0)
        await cursors.put("registry", 5)
