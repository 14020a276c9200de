"""The walk: shortest paths, cycles, limits; against networkx's answers on random graphs."""

import itertools

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency.refusals import BadQuestion, UnknownNode
from runway_streams.dependency.walk import MAX_DEPTH, Limits, walk
from tests.runway_streams.dependency.graphs import TIME, FixedGraph, edge, edges, letter

DIAMOND = edges("a>b a>c b>D c>D D>e e>a D>D")


async def test_each_node_is_reached_once_by_a_shortest_path_though_there_are_cycles():
    found = await walk(FixedGraph(DIAMOND), "dataset:n/a", "downstream", depth=MAX_DEPTH)
    assert {name: step.distance for name, step in found.steps.items()} == {
        "dataset:n/b": 1, "dataset:n/c": 1, "model:D": 2, "dataset:n/e": 3,
    }  # fmt: skip
    assert found.path("dataset:n/e") == ["dataset:n/a", "dataset:n/b", "model:D", "dataset:n/e"]
    assert found.stopped == ""


async def test_upstream_is_the_other_way_round():
    found = await walk(FixedGraph(DIAMOND), "model:D", "upstream", depth=1)
    assert set(found.steps) == {"dataset:n/b", "dataset:n/c"}
    assert [one.downstream for one in found.edges("dataset:n/b")] == ["model:D"]


async def test_of_two_edges_to_a_node_the_surer_one_is_the_evidence():
    graph = FixedGraph([edge("dataset:n/a", "model:M", 0.5), edge("dataset:n/a", "model:M", 0.9), *edges("M>b")])
    found = await walk(graph, "dataset:n/a", "downstream")
    assert found.confidence("dataset:n/b") == 0.9


async def test_lineage_is_as_of_a_time():
    graph = FixedGraph([edge("dataset:n/a", "model:M", valid_to=TIME + 10), *edges("a>b")])
    assert set((await walk(graph, "dataset:n/a", "downstream", as_of=TIME + 9)).steps) == {"model:M", "dataset:n/b"}
    assert set((await walk(graph, "dataset:n/a", "downstream")).steps) == {"dataset:n/b"}


@pytest.mark.parametrize("depth", [0, -1, MAX_DEPTH + 1, 10**9])
async def test_a_depth_that_is_not_answered_is_refused(depth: int):
    with pytest.raises(BadQuestion, match=f"A depth of {depth} is not answered"):
        await walk(FixedGraph(DIAMOND), "dataset:n/a", "downstream", depth=depth)


async def test_a_node_that_nobody_told_of_is_unknown():
    with pytest.raises(UnknownNode, match="There is no node 'model:nobody'"):
        await walk(FixedGraph(DIAMOND), "model:nobody", "downstream")


async def test_limits_keep_what_is_nearest():
    chain = FixedGraph(edges("a>b b>c c>d") + [edge("dataset:n/a", f"dataset:m/{number:05}") for number in range(10_000)])
    found = await walk(chain, "dataset:n/a", "downstream", limits=Limits(nodes=100))
    assert (len(found.steps), found.stopped) == (100, "nodes")
    assert {step.distance for step in found.steps.values()} == {1}
    found = await walk(chain, "dataset:n/a", "downstream", limits=Limits(edges=7))
    assert (len(found.steps), found.edges_seen, found.stopped) == (7, 7, "edges")


async def test_a_walk_that_takes_too_long_answers_with_what_it_has():
    clock = itertools.count().__next__
    found = await walk(
        FixedGraph(edges("a>b b>c c>d")), "dataset:n/a", "downstream", limits=Limits(seconds=1.5), clock=clock
    )
    assert (set(found.steps), found.stopped) == ({"dataset:n/b"}, "time")


async def test_a_store_that_stands_still_in_a_walk_ends_it_with_what_it_has():
    graph = FixedGraph(edges("a>b b>c c>d"))
    graph.answers = 1
    found = await walk(graph, "dataset:n/a", "downstream", limits=Limits(seconds=0.05))
    assert (set(found.steps), found.stopped) == ({"dataset:n/b"}, "time")


async def test_a_store_is_asked_for_a_thousand_nodes_at_a_time():
    wide = [edge("dataset:n/a", f"dataset:m/{number:05}") for number in range(2_500)]
    graph = FixedGraph(wide)
    await walk(graph, "dataset:n/a", "downstream")
    assert graph.asked == [1, 1_000, 1_000, 500]


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40), st.integers(1, 6))
async def test_distances_are_those_of_networkx(pairs: set, depth: int):
    graph = FixedGraph([edge(letter(f"n{one}"), letter(f"n{other}")) for one, other in pairs | {(0, 0)}])
    peer = networkx.DiGraph([(letter(f"n{one}"), letter(f"n{other}")) for one, other in pairs | {(0, 0)}])
    start = letter("n0")
    found = await walk(graph, start, "downstream", depth=depth)
    wanted = networkx.single_source_shortest_path_length(peer, start, cutoff=depth)
    assert {name: step.distance for name, step in found.steps.items()} | {start: 0} == dict(wanted)
    for name, step in found.steps.items():
        path = found.path(name)
        assert len(path) == step.distance + 1
        assert all(peer.has_edge(*pair) for pair in itertools.pairwise(path))
