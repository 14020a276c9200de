"""The contract of `LineageStore`, over every adapter. Another one is a function that opens it, and a line in ADAPTERS.

An adapter's graph may have been used before: each test names nodes of a namespace of its own.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neo4j import GraphDatabase

from runway_streams.dependency.edge import Claim, Edge
from runway_streams.dependency.node import MAX_ID, Node, named
from runway_streams.dependency.report import MAX_REPORTER, Report, check_report
from runway_streams.dependency.store import PAGE, LineageStore
from runway_streams.dependency.stores.neo4j_store import Neo4jStore
from runway_streams.dependency.stores.sql_store import SqlStore
from runway_streams.dependency.walk import walk
from runway_streams.neo4j_address import Neo4jAddress
from tests.runway_streams.dependency.memory_store import MemoryStore

_numbers = count(1)

Open = Callable[[], LineageStore]


def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    one = MemoryStore()
    return lambda: one


def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda: SqlStore.open(None, tmp_path)


def postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    url = request.getfixturevalue("postgres").create(f"lineage{next(_numbers)}")
    return lambda: SqlStore.open(url, tmp_path)


def neo4j(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    url = request.getfixturevalue("neo4j").url
    address = Neo4jAddress.parse(url)
    with GraphDatabase.driver(address.uri, auth=address.auth) as driver:
        driver.execute_query("MATCH (n:LineageNode) DETACH DELETE n", database_=address.database)
    return lambda: Neo4jStore.open(url)


ADAPTERS = {adapter.__name__: adapter for adapter in (memory, sqlite, postgresql, neo4j)}
"""Each gives what opens one more store on the same graph, as another process would."""


@pytest.fixture(params=ADAPTERS)
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[LineageStore]]]:
    open_store = ADAPTERS[request.param](request, tmp_path)
    async with AsyncExitStack() as stack:

        async def opened() -> LineageStore:
            store = open_store()
            stack.push_async_callback(store.close)
            await store.prepare()
            return store

        yield opened


@pytest.fixture
async def store(another) -> LineageStore:
    return await another()


class Space:
    """Names that no other test has, and what a store knows under them."""

    def __init__(self):
        self.namespace = f"space{next(_numbers)}"

    def dataset(self, name: str) -> str:
        return str(named("dataset", self.namespace, name))

    def claim(self, pair: str, **more) -> Claim:
        """`a>b`"""
        return Claim(*map(self.dataset, pair.split(">")), **more)

    def report(self, at: int, pairs: str = "", *, reporter: str = "one", inputs: str = "", outputs: str = "") -> Report:
        claims = [self.claim(pair) for pair in pairs.split()]
        inputs, outputs = ([self.dataset(name) for name in names.split()] for names in (inputs, outputs))
        return Report(reporter, at, claims, whole_inputs=inputs, whole_outputs=outputs)

    async def spans(self, store: LineageStore, pair: str, times: range = range(0, 100, 5)) -> list[tuple]:
        """(valid_from, last_seen, valid_to) of an edge of the reporter `one`, as asked for over some times."""
        upstream, downstream = map(self.dataset, pair.split(">"))
        found = {}
        for at in (*times, None):
            for edge in await store.edges([upstream], "downstream", at):
                if edge.downstream == downstream and edge.reporter == "one":
                    found[edge.valid_from] = (edge.valid_from, edge.last_seen, edge.valid_to)
        return sorted(found.values())

    async def scanned(self, store: LineageStore, as_of: int | None = None) -> list[Edge]:
        prefix = self.dataset("x")[:-1]
        return [edge async for page in store.scan(as_of) for edge in page if edge.upstream.startswith(prefix)]


@pytest.fixture
def space() -> Space:
    return Space()


async def test_an_edge_is_found_from_both_ends(store, space):
    await store.apply([Report("one", 10, [space.claim("a>b", kind="produces", source="declared", confidence=0.25)])])
    edge = Edge(space.dataset("a"), space.dataset("b"), "produces", "one", "declared", 0.25, 10, 10)
    assert await store.edges([space.dataset("a")], "downstream") == [edge]
    assert await store.edges([space.dataset("b")], "upstream") == [edge]
    assert await store.edges([space.dataset("a")], "upstream") == []
    assert await store.edges([space.dataset("b")], "downstream") == []
    assert await store.edges([], "downstream") == []
    assert await space.scanned(store) == [edge]


async def test_nodes_are_known_once_somebody_has_named_them(store, space):
    a, b, c, d = map(space.dataset, "abcd")
    await store.apply([space.report(10, "a>b", inputs="c")])
    assert await store.nodes([a, b, c, d]) == {name: Node(name) for name in (a, b, c)}
    assert await store.nodes([]) == {}


async def test_a_graph_says_which_it_is_the_same_to_all_that_use_it_and_no_question_finds_that(another, space):
    one, two = await another(), await another()
    identity = await one.identity()
    await one.prepare()
    await one.apply([space.report(10, "a>b")])
    assert [await one.identity(), await two.identity()] == [identity, identity]
    assert await one.find("graph") == []
    assert len([edge async for page in one.scan() for edge in page]) == 1


async def test_no_reports_change_nothing(store, space):
    await store.apply([])
    await store.apply([Report("one", 10)])
    assert await space.scanned(store) == []


async def test_the_same_report_again_changes_nothing(store, space):
    reports = [space.report(10, "a>b c>b"), space.report(20, "a>b", inputs="b")]
    await store.apply(reports)
    told = await space.scanned(store), await space.scanned(store, 15)
    await store.apply(reports)
    await store.apply(reports[:1])
    await store.apply(reports * 2)
    assert (await space.scanned(store), await space.scanned(store, 15)) == told
    assert await space.spans(store, "a>b") == [(10, 20, None)]
    assert await space.spans(store, "c>b") == [(10, 10, 20)]


async def test_sightings_may_come_in_any_order(store, space):
    for at in (20, 30, 10, 25):
        await store.apply([space.report(at, "a>b")])
    assert await space.spans(store, "a>b") == [(10, 30, None)]


async def test_an_absence_may_come_after_the_sighting_that_followed_it(store, space):
    for report in (space.report(10, "a>b"), space.report(30, "a>b"), space.report(20, inputs="b")):
        await store.apply([report])
    assert await space.spans(store, "a>b") == [(10, 10, 20), (30, 30, None)]


async def test_what_is_told_late_does_not_bring_back_what_had_ended(store, space):
    await store.apply([space.report(20, inputs="b")])
    await store.apply([space.report(30, outputs="c")])
    for report in (space.report(10, "a>b"), space.report(15, "c>d"), space.report(25, "a>b")):
        await store.apply([report])
    assert await space.spans(store, "a>b") == [(10, 10, 20), (25, 25, None)]
    assert await space.spans(store, "c>d") == [(15, 15, 30)]


async def test_what_ended_may_return(store, space):
    await store.apply([space.report(10, "a>b")])
    await store.apply([space.report(20, inputs="b")])
    assert await store.edges([space.dataset("a")], "downstream") == []
    await store.apply([space.report(30, "a>b")])
    assert await space.spans(store, "a>b") == [(10, 10, 20), (30, 30, None)]
    assert [len(await space.scanned(store, at)) for at in (9, 10, 19, 20, 29, 30)] == [0, 1, 1, 0, 0, 1]


async def test_whole_outputs_end_what_leads_away(store, space):
    await store.apply([space.report(10, "a>b a>c d>c")])
    await store.apply([space.report(20, "a>b", outputs="a")])
    assert [(edge.upstream, edge.downstream) for edge in await space.scanned(store)] == [
        tuple(map(space.dataset, pair)) for pair in ("ab", "dc")
    ]


async def test_a_reporter_takes_back_only_its_own_word(store, space):
    await store.apply([space.report(10, "a>b"), space.report(10, "a>b", reporter="two")])
    await store.apply([space.report(20, inputs="b")])
    assert [edge.reporter for edge in await space.scanned(store)] == ["two"]
    assert [edge.reporter for edge in await space.scanned(store, 15)] == ["one", "two"]


async def test_an_edge_that_is_named_and_ended_in_one_batch(store, space):
    await store.apply([space.report(20, inputs="b"), space.report(10, "a>b")])
    assert await space.spans(store, "a>b") == [(10, 10, 20)]


async def test_an_edge_of_a_node_to_itself(store, space):
    await store.apply([space.report(10, "a>a")])
    assert len(await store.edges([space.dataset("a")], "upstream")) == 1
    await store.apply([space.report(20, inputs="a", outputs="a")])
    assert await space.scanned(store) == []


async def test_the_word_of_the_last_sighting_counts(store, space):
    for at, confidence in ((10, 0.5), (30, 0.25), (20, 0.75)):
        await store.apply([Report("one", at, [space.claim("a>b", confidence=confidence, source="inferred")])])
    (edge,) = await space.scanned(store)
    assert (edge.confidence, edge.source) == (0.25, "inferred")


async def test_two_at_once_lose_nothing_of_either(another, space):
    stores = [await another() for _ in range(3)]

    async def write(number: int) -> None:
        # All share nodes, named in other orders.
        names = [f"hub>n{other}" for other in range(20)]
        turned = names[number:] + names[:number]
        await stores[number % 3].apply([space.report(10 + number, " ".join(turned), reporter=f"r{number % 4}")])

    await asyncio.gather(*map(write, range(12)))
    found = await space.scanned(stores[0])
    assert {(edge.reporter, edge.valid_from, edge.last_seen) for edge in found} == {
        (f"r{number}", 10 + number, 18 + number) for number in range(4)
    }
    assert len(found) == 80


async def test_two_that_see_and_end_one_edge_at_once(another, space):
    stores = [await another() for _ in range(2)]
    await stores[0].apply([space.report(10, "a>b c>b")])
    ends = [stores[0].apply([space.report(20 + number, "a>b", inputs="b")]) for number in range(5)]
    sights = [stores[1].apply([space.report(30 + number, "a>b")]) for number in range(5)]
    await asyncio.gather(*ends, *sights)
    assert await space.spans(stores[0], "a>b", range(100)) == [(10, 34, None)]
    assert (await space.spans(stores[0], "c>b", range(100)))[0][2] == 20


async def test_two_that_hold_crosswise_what_the_other_wants_lose_nothing(another, space):
    # One knows its ends by their inputs, the other by their outputs: neither names what the other has locked.
    one, other = await another(), await another()
    ups, downs = ([f"{side}{number}" for number in range(8)] for side in ("u", "d"))
    every = [space.dataset(up) for up in ups]
    for turn in range(5):
        at = turn * 100
        await one.apply([space.report(at, " ".join(f"{up}>{down}" for up in ups for down in downs))])
        await asyncio.gather(
            *(one.apply([space.report(at + 20, inputs=down)]) for down in downs),
            *(other.apply([space.report(at + 20, outputs=up)]) for up in ups),
        )
        assert await one.edges(every, "downstream") == []
        assert {edge.valid_to for edge in await one.edges(every, "downstream", at + 10)} == {at + 20}


@pytest.mark.parametrize("seed", range(3))
async def test_many_that_write_about_the_same_nodes_at_once_come_to_what_one_after_the_other_does(another, space, seed):
    rng, reference = random.Random(seed), MemoryStore()
    names = [space.dataset(name) for name in "abcdef"]

    def batch(reporter: str) -> list[Report]:
        return [
            Report(
                reporter,
                at := rng.randrange(20),
                [Claim(*rng.sample(names, 2)) for _ in range(rng.randrange(6))],
                [Node(rng.choice(names), {"seen": at, reporter: at})],
                rng.sample(names, rng.randrange(3)),
                rng.sample(names, rng.randrange(2)),
            )
            for _ in range(rng.randrange(1, 4))
        ]

    work = {reporter: [batch(reporter) for _ in range(12)] for reporter in ("one", "two", "three", "four")}

    async def write(batches: list[list[Report]]) -> None:
        store = await another()
        for reports in batches:
            await store.apply(reports)

    await asyncio.gather(*map(write, work.values()))
    for batches in work.values():
        for reports in batches:
            await reference.apply(reports)
    store = await another()
    for as_of in (None, *range(0, 20, 3)):
        assert await space.scanned(store, as_of) == await space.scanned(reference, as_of)
    assert await store.nodes(names) == await reference.nodes(names)


async def test_facts_are_those_of_the_newest_report_key_by_key(store, space):
    a = space.dataset("a")

    def telling(at: int, **facts) -> Report:
        return Report("one", at, nodes=[Node(a, facts)])

    await store.apply([telling(20, owner="ann", tier={"nested": [1, None, "ü\0"]})])
    await store.apply([telling(10, owner="bob", title="older"), telling(30, tier=2)])
    await store.apply([space.report(40, "a>b"), telling(50)])
    assert (await store.nodes([a]))[a].facts == {"owner": "ann", "title": "older", "tier": 2}
    assert (await store.find(a))[0].facts["owner"] == "ann"


async def test_reports_are_taken_all_or_none(store, space):
    b = space.dataset("b")
    broken = [Report("one", 10, nodes=[Node(b, {"owner": value})]) for value in (object(), object())]
    with pytest.raises(TypeError, match="object"):
        await store.apply([space.report(10, "a>b"), *broken])
    assert await space.scanned(store) == []
    assert await store.nodes([space.dataset("a")]) == {}


async def test_answers_have_a_limit_and_an_order(store, space):
    await store.apply([space.report(10, "b>z b>y a>z a>y"), space.report(10, "b>y", reporter="none")])
    ends = [space.dataset(name) for name in "ba"]
    found = await store.edges(ends, "downstream")
    told = [(edge.upstream[-1], edge.downstream[-1], edge.reporter) for edge in found]
    assert told == [("a", "y", "one"), ("a", "z", "one"), ("b", "y", "none"), ("b", "y", "one"), ("b", "z", "one")]
    for limit in range(1, 6):
        assert await store.edges(ends, "downstream", limit=limit) == found[:limit]
    up = [
        (edge.downstream[-1], edge.upstream[-1]) for edge in await store.edges([space.dataset(n) for n in "zy"], "upstream")
    ]
    assert up == [("y", "a"), ("y", "b"), ("y", "b"), ("z", "a"), ("z", "b")]


async def test_ten_thousand_edges_at_one_node(store, space):
    hub, leaves = space.dataset("hub"), [f"n{number:05}" for number in range(10_000)]
    await store.apply([space.report(10, " ".join(f"hub>{name}" for name in leaves))])
    found = await store.edges([hub], "downstream", limit=20_000)
    assert [edge.downstream for edge in found] == [space.dataset(name) for name in leaves]
    assert await store.edges([hub], "downstream") == found[:PAGE]
    assert await store.edges([space.dataset(name) for name in leaves[:1_000]], "upstream") == found[:1_000]
    pages = [page async for page in store.scan()]
    assert max(map(len, pages)) <= PAGE
    assert [edge for page in pages for edge in page if edge.upstream == hub] == found
    assert len((await walk(store, hub, "downstream")).steps) == 10_000
    await store.apply([space.report(20, "hub>n00007", outputs="hub")])
    assert [edge.downstream for edge in await store.edges([hub], "downstream")] == [space.dataset("n00007")]
    assert len(await store.edges([hub], "downstream", 15, 20_000)) == 10_000


async def test_a_scan_has_every_edge_once_and_in_order(store, space):
    pairs = [f"n{number % 1_500:04}>m{number % 7}" for number in range(6_000)]
    await store.apply([space.report(10, " ".join(pairs))])
    found = await space.scanned(store)
    keys = [edge.key for edge in found]
    assert keys == sorted(set(keys))
    assert len(keys) == len(set(pairs))


ODD = ["a b", "it's \"so\"", "100%_off", "\\", "ünï💥", ";DROP TABLE x--", "$a{b}`c`", "/", ":@", "x" * 512, "x" * 511 + "y", "漢" * 170, "é" * 512]  # fmt: skip


async def test_odd_names(store, space):
    reporter = "ü'\"%" + "r" * (MAX_REPORTER - 4)
    names = [space.dataset(name) for name in ODD]
    assert max(map(len, names)) > MAX_ID / 2
    report = Report(reporter, 10, [Claim(name, other) for name in names for other in names])
    check_report(report)
    await store.apply([report])
    assert set(await store.nodes(names)) == set(names)
    found = await space.scanned(store)
    assert [(edge.upstream, edge.downstream) for edge in found] == sorted((a, b) for a in names for b in names)
    assert {edge.reporter for edge in found} == {reporter}
    for name in names:
        assert [edge.downstream for edge in await store.edges([name], "downstream")] == sorted(names)
    for name, node in zip(ODD, names, strict=True):
        assert node in {found.id for found in await store.find(f"{space.namespace}/{name}".upper())}


async def test_nodes_are_found_by_a_part_of_their_name_in_any_case(store, space):
    model = f"Model-{space.namespace}"
    raw = space.dataset("Raw Flights")
    await store.apply([Report("one", 10, [Claim(raw, f"model:{model}"), Claim(raw, f"model:{model}@1")])])
    found = [node.id for node in await store.find(space.namespace.upper())]
    assert found == [raw, f"model:{model}", f"model:{model}@1"]
    assert [node.id for node in await store.find(f"{space.namespace}/raw fl")] == [raw]
    assert [node.id for node in await store.find(f"{space.namespace}/raw%20fl")] == [raw]
    assert [node.id for node in await store.find(space.namespace, ["version"])] == [f"model:{model}@1"]
    assert [node.id for node in await store.find(space.namespace, ["version", "dataset"])] == [raw, f"model:{model}@1"]
    assert [node.id for node in await store.find(space.namespace, limit=2)] == found[:2]
    assert await store.find(space.namespace + "?") == []


async def test_what_is_looked_for_is_no_pattern(store, space):
    names = {name: space.dataset(name) for name in ("a%b", "a_b", "axb", "a.b", "a\\b", "a/b")}
    await store.apply([Report("one", 10, nodes=[Node(name) for name in names.values()])])
    for name, node in names.items():
        assert [found.id for found in await store.find(f"{space.namespace}/{name}")] == [node]
    for text in ("a\0b", "a\nb", "\ud800", "x" * 100_000, ".*"):
        assert [node for node in await store.find(text) if space.namespace in node.id] == []


async def test_another_store_sees_what_one_has_written(another, space):
    one = await another()
    await one.apply([space.report(10, "a>b")])
    other = await another()
    assert await space.scanned(other) == await space.scanned(one)


_pairs = st.lists(st.sampled_from(["a>b", "b>a", "a>a", "c>b", "b>c"]), max_size=4).map(" ".join)
_some = st.sampled_from(["", "", "a", "b", "b c"])
_reports = st.tuples(st.integers(0, 12), _pairs, st.sampled_from(["one", "two"]), _some, _some)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.lists(_reports, min_size=1, max_size=4), max_size=5))
async def test_any_reports_come_to_what_the_reference_has(store, batches):
    space, reference = Space(), MemoryStore()
    for batch in batches:
        reports = [space.report(at, pairs, reporter=who, inputs=ins, outputs=outs) for at, pairs, who, ins, outs in batch]
        await store.apply(reports)
        await reference.apply(reports)
    names = [space.dataset(name) for name in "abc"]
    assert await store.nodes(names) == await reference.nodes(names)
    for as_of in (None, 0, 3, 6, 9, 12):
        assert await space.scanned(store, as_of) == await space.scanned(reference, as_of)
        for direction in ("upstream", "downstream"):
            assert await store.edges(names, direction, as_of) == await reference.edges(names, direction, as_of)
