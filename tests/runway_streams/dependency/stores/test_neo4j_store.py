"""Neo4jStore beyond the contract: what it makes in the graph, its limits, and a server that is gone."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from neo4j import AsyncGraphDatabase, GraphDatabase
from neo4j.exceptions import CypherSyntaxError

from runway_streams.dependency.edge import Claim
from runway_streams.dependency.node import Node, named
from runway_streams.dependency.refusals import BadReport
from runway_streams.dependency.report import Report
from runway_streams.dependency.stores.neo4j_store import Limits, Neo4jStore
from runway_streams.devstack.children import free_port
from runway_streams.devstack.neo4j import EmbeddedNeo4j
from runway_streams.errors import DependencyDown, TooSlow
from runway_streams.neo4j_address import Neo4jAddress

pytestmark = pytest.mark.neo4j

A, M = "dataset:n/a", "model:M"
REPORT = Report("one", 10, [Claim(A, M)])
T = TypeVar("T")


def ask(url: str, query: str, **parameters) -> list[dict]:
    """What a client of its own is told."""
    address = Neo4jAddress.parse(url)
    with GraphDatabase.driver(address.uri, auth=address.auth) as driver:
        records = driver.execute_query(query, parameters, database_=address.database).records
        return [record.data() for record in records]


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Neo4jStore]]:
    stores: list[Neo4jStore] = []

    def open_store(url: str, limits: Limits | None = None) -> Neo4jStore:
        stores.append(Neo4jStore.open(url, limits or Limits()))
        return stores[-1]

    yield open_store
    for store in stores:
        await store.close()


@pytest.fixture
async def store(neo4j, opened) -> Neo4jStore:
    ask(neo4j.url, "MATCH (n:LineageNode) DETACH DELETE n")
    made = opened(neo4j.url)
    await made.prepare()
    return made


async def answered(call: Callable[[], Awaitable[T]], limit_s: float = 60) -> T:
    """What a server that has just come back answers in the end: its first answers may take longer than a store waits."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return await call()
        except DependencyDown:
            assert time.monotonic() < deadline


async def told_down(call: Awaitable, limit_s: float) -> str:
    began = time.monotonic()
    with pytest.raises(DependencyDown) as raised:
        await call
    assert time.monotonic() - began < limit_s
    assert raised.value.remedy
    return str(raised.value)


async def test_it_makes_its_constraints_once_whoever_is_first(neo4j, opened):
    for found in ask(neo4j.url, "SHOW CONSTRAINTS YIELD name WHERE name STARTS WITH 'runway_lineage'"):
        ask(neo4j.url, f"DROP CONSTRAINT {found['name']}")
    stores = [opened(neo4j.url) for _ in range(4)]
    await asyncio.gather(*(store.prepare() for store in stores))
    await stores[0].prepare()
    constraints = ask(neo4j.url, "SHOW CONSTRAINTS YIELD type, labelsOrTypes, properties")
    assert {(one["type"], *one["labelsOrTypes"], *one["properties"]) for one in constraints} == {
        ("UNIQUENESS", "LineageNode", "id"),
        ("RELATIONSHIP_UNIQUENESS", "LINEAGE", "edge", "valid_from"),
    }
    indexes = ask(neo4j.url, "SHOW INDEXES YIELD type, state, properties WHERE type = 'TEXT'")
    assert indexes == [{"type": "TEXT", "state": "ONLINE", "properties": ["search_text"]}]


async def test_an_empty_graph_in_the_place_of_one_is_another_and_all_agree_on_which(neo4j, store, opened):
    before = await store.identity()
    assert before
    ask(neo4j.url, "MATCH (n) DETACH DELETE n")
    found = await asyncio.gather(*(one.identity() for one in (store, *(opened(neo4j.url) for _ in range(4)))))
    assert len(set(found)) == 1
    assert found[0] not in ("", before)
    (made,) = ask(neo4j.url, "MATCH (n:LineageNode) RETURN n")
    assert made["n"] == {"id": "graph", "identity": found[0]}


async def test_other_data_in_its_place_is_told_and_is_no_bug(neo4j, opened):
    ask(neo4j.url, "DROP CONSTRAINT runway_lineage_node IF EXISTS")
    ask(neo4j.url, "UNWIND [1, 1] AS id CREATE (:LineageNode {id: 'twice'})")
    try:
        told = await told_down(opened(neo4j.url).prepare(), 10)
        assert "other data is in its place" in told
        assert "Take away what has the label LineageNode" in told
    finally:
        ask(neo4j.url, "MATCH (n:LineageNode) DETACH DELETE n")
    ask(neo4j.url, "CREATE INDEX foreign FOR (n:LineageNode) ON (n.id)")
    try:
        assert "other data is in its place" in await told_down(opened(neo4j.url).prepare(), 10)
    finally:
        ask(neo4j.url, "DROP INDEX foreign")
    store = opened(neo4j.url)
    await store.prepare()
    ask(neo4j.url, "CREATE (:LineageNode {id: $id})", id=A)
    await store.apply([Report("one", 20, [Claim(A, M)], [Node(A, {"owner": "ann"})])])
    assert await store.nodes([A, M]) == {A: Node(A, {"owner": "ann"}), M: Node(M)}


async def test_the_graph_can_be_read_by_people(neo4j, store):
    await store.apply([REPORT, Report("one", 20, nodes=[Node(A, {"owner": "ann"})])])
    (found,) = ask(neo4j.url, "MATCH (a:LineageNode)-[s:LINEAGE]->(b) RETURN a, properties(s) AS s, b.type AS type")
    assert found["a"] == {
        "id": A, "type": "dataset", "search_text": A, "facts": '{"owner": [20, "ann"]}', "wholes": "{}",
    }  # fmt: skip
    assert found["type"] == "model"
    assert {name: found["s"][name] for name in ("kind", "reporter", "valid_from")} == {
        "kind": "feeds",
        "reporter": "one",
        "valid_from": 10,
    }


async def test_names_are_never_cypher(neo4j, store):
    evil = "x'}) DETACH DELETE n //"
    names = [str(named("dataset", text, text)) for text in (evil, '"}) RETURN 1 //', "`$rows`", "\\u0027", "{id: 1}")]
    await store.apply([Report(evil, 10, [Claim(A, name) for name in names], [Node(A, {evil: evil})])])
    await store.apply([Report(evil, 20, [Claim(A, names[0])], whole_outputs=[A])])
    assert [edge.downstream for edge in await store.edges([A, evil], "downstream")] == [names[0]]
    assert [node.id for node in await store.find(evil)] == [names[0]]
    assert (await store.nodes([A, evil])) == {A: Node(A, {evil: evil})}
    assert ask(neo4j.url, "MATCH (n) RETURN count(n) AS nodes") == [{"nodes": 6}]


async def test_reports_that_touch_too_much_are_refused(neo4j, opened, store):
    few = opened(neo4j.url, Limits(spans=3))
    await store.apply([Report("one", 10, [Claim(f"dataset:n/{number}", M) for number in range(4)])])
    with pytest.raises(BadReport, match="more than 3 spans"):
        await few.apply([Report("one", 20, whole_inputs=[M])])
    assert len(await store.edges([M], "upstream")) == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url: url.replace("//neo4j:", "//neo4j:s3cret"), "'neo4j' in: Unauthorized. Check the user and the password"),
        (lambda url: url.replace("//neo4j:", "//s3:cret"), "does not let 's3' in"),
        (lambda url: url + "x", "no database 'neo4jx'"),
    ],
)
async def test_one_that_is_not_let_in_is_told_what_to_check(neo4j, opened, change, told):
    url = change(neo4j.url)
    text = await told_down(opened(url).nodes([A]), 10)
    assert told in text
    assert Neo4jAddress.parse(url).password not in text


async def test_an_address_where_nobody_is_is_down_soon(opened):
    assert "does not answer" in await told_down(opened(f"bolt://127.0.0.1:{free_port()}").nodes([A]), 12)
    assert "does not answer" in await told_down(opened("neo4j://no-such-host.invalid").apply([REPORT]), 35)


async def test_a_change_that_waits_for_another_gives_up_and_leaves_nothing_behind(neo4j, opened, store):
    await store.apply([REPORT])
    hasty = opened(neo4j.url, Limits(write_s=1.5))
    address = Neo4jAddress.parse(neo4j.url)
    async with AsyncGraphDatabase.driver(address.uri, auth=address.auth) as driver, driver.session() as session:
        holding = await session.begin_transaction()
        await holding.run("MATCH (n:LineageNode {id: $id}) SET n.held = true", id=M)
        with pytest.raises(TooSlow):
            await hasty.apply([Report("two", 20, [Claim(A, M), Claim("dataset:n/new", M)])])
        await holding.rollback()
    assert [edge.reporter for edge in await store.edges([M], "upstream")] == ["one"]
    assert await store.nodes(["dataset:n/new"]) == {}
    await hasty.apply([Report("two", 20, [Claim(A, M)])])
    assert [edge.reporter for edge in await store.edges([M], "upstream")] == ["one", "two"]


async def test_a_mistake_of_ours_is_no_outage(store):
    async def nonsense(work):
        await work.run("NONSENSE")

    with pytest.raises(CypherSyntaxError):
        await store._read(nonsense)


async def test_what_takes_more_memory_than_there_is_for_all_is_too_much_and_no_outage(store):
    async def much(work):
        await work.run("UNWIND range(1, 1000000000) AS number RETURN collect(number)")

    with pytest.raises(TooSlow, match="memory"):
        await store._read(much)
    await store.apply([REPORT])


@pytest.mark.fault
async def test_a_server_that_is_killed_or_stands_still_is_down_and_comes_back(tmp_path: Path, opened):
    with EmbeddedNeo4j(tmp_path / "own", heap="384m", page_cache="32m") as own:
        store = opened(own.url, Limits(read_s=4, write_s=6))
        await answered(store.prepare)
        await answered(lambda: store.apply([REPORT]))
        process = psutil.Process(own.pid)
        process.send_signal(signal.SIGSTOP)
        try:
            await told_down(store.edges([M], "upstream"), 10)
        finally:
            process.send_signal(signal.SIGCONT)
        assert len(await answered(lambda: store.edges([M], "upstream"))) == 1
        applying = asyncio.create_task(store.apply([Report("one", 20, [Claim(f"dataset:n/{n}", M) for n in range(5_000)])]))
        await asyncio.sleep(0)
        own.kill()
        await told_down(applying, 12)
        await told_down(store.nodes([A]), 10)
        own.start()
        found = await answered(lambda: store.edges([M], "upstream"))
        assert [edge.upstream for edge in found] == [A]
        await answered(lambda: store.apply([Report("one", 30, [Claim(A, M)])]))
        assert [edge.last_seen for edge in await answered(lambda: store.edges([M], "upstream"))] == [30]
