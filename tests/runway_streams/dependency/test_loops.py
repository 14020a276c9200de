"""Loops: feedback, told with a shortest path; against networkx's components on random graphs."""

import itertools

import networkx
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency import loops
from runway_streams.dependency.loops import MAX_SHOWN, feedback_of, find_loops
from tests.runway_streams.dependency.graphs import TIME, Beside, FixedGraph, edge, edges, letter


async def test_predictions_that_come_back_as_training_data_are_feedback_with_the_loop_as_evidence():
    found = await find_loops(FixedGraph(edges("M>log log>x x>M log>y y>log a>M M>z")))
    (loop,) = found.items
    assert loop.path == ["model:M", "dataset:n/log", "dataset:n/x", "model:M"]
    assert (loop.size, loop.models, loop.feedback) == (4, ["model:M"], True)
    assert feedback_of(found.items, "model:M") == [loop]
    assert feedback_of(found.items, "model:N") == []


async def test_a_self_loop_is_one_and_loops_of_models_come_first():
    found = await find_loops(FixedGraph(edges("a>b b>c c>a M>M")))
    assert [loop.path for loop in found.items] == [["model:M", "model:M"], [*map(letter, "abca")]]
    assert [loop.feedback for loop in found.items] == [True, False]


async def test_a_loop_that_has_ended_was_one():
    graph = FixedGraph([*edges("M>a"), edge("dataset:n/a", "model:M", valid_to=TIME + 5)])
    assert (await find_loops(graph)).items == []
    assert len((await find_loops(graph, as_of=TIME)).items) == 1


async def test_no_edges_no_loops_and_too_many_are_said():
    assert (await find_loops(FixedGraph([]))).items == []
    found = await find_loops(FixedGraph(edges("a>b b>a c>d d>e e>f")), max_edges=3)
    assert (found.whole, found.edges) == (False, 3)


async def test_a_loop_of_ten_thousand_is_found_and_shown_in_part():
    ring = [edge(letter(f"n{number:05}"), letter(f"n{(number + 1) % 10_000:05}")) for number in range(10_000)]
    (loop,) = (await find_loops(FixedGraph(ring))).items
    assert (loop.size, len(loop.nodes)) == (10_000, MAX_SHOWN)
    assert (loop.path, len(loop.path)) == (loop.nodes, MAX_SHOWN)


async def test_more_loops_than_are_told_are_said_and_the_largest_come_first(monkeypatch):
    monkeypatch.setattr(loops, "MAX_LOOPS", 2)
    graph = "x>x a>b b>a M>M y>y"
    found = await find_loops(FixedGraph(edges(graph)))
    assert ([loop.size for loop in found.items], found.whole) == ([1, 2], False)
    found = await find_loops(FixedGraph(edges(graph[:-8])))
    assert (len(found.items), found.whole) == (2, True)


async def test_a_graph_that_takes_too_long_to_read_is_searched_as_far_as_it_was_read():
    graph = FixedGraph(edges("a>b b>a c>d d>c"))
    graph.answers = 1
    found = await find_loops(graph, limit_s=0.05)
    assert ([loop.path for loop in found.items], found.edges, found.whole) == ([[*map(letter, "aba")]], 3, False)


async def test_others_are_answered_while_a_large_graph_is_searched(monkeypatch):
    monkeypatch.setattr(loops, "loops_of", Beside(loops.loops_of))
    assert len((await find_loops(FixedGraph(edges("a>b b>a")))).items) == 1


@given(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40))
async def test_components_are_those_of_networkx(pairs: set):
    graph = [edge(letter(f"n{one}"), letter(f"n{other}")) for one, other in pairs]
    peer = networkx.DiGraph([(one.upstream, one.downstream) for one in graph])
    found = await find_loops(FixedGraph(graph))
    parts = [part for part in networkx.strongly_connected_components(peer) if len(part) > 1 or peer.has_edge(*[*part] * 2)]
    assert sorted(sorted(loop.nodes) for loop in found.items) == sorted(sorted(part) for part in parts)
    for loop in found.items:
        assert loop.path[0] == loop.path[-1]
        assert all(peer.has_edge(*pair) for pair in itertools.pairwise(loop.path))
        assert len(set(loop.path)) == len(loop.path) - 1
