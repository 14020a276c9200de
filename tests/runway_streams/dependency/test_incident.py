"""Incidents: what ails is folded to the highest ailing ancestor."""

import itertools

import pytest

from runway_streams.dependency import incident
from runway_streams.dependency.incident import Condition, find_incidents
from runway_streams.dependency.refusals import BadQuestion
from tests.runway_streams.dependency.graphs import Beside, FixedGraph, edges, letter


def sick(names: str, state="AT_RISK", since=1) -> dict[str, Condition]:
    return {letter(name): Condition(state, since) for name in names.split()}


async def folded(graph: str, conditions: dict, **more) -> dict[str, list[str]]:
    found, _ = await find_incidents(FixedGraph(edges(graph)), conditions, **more)
    return {one.root: one.members for one in found}


async def test_models_at_risk_below_a_drifting_feature_are_one_incident():
    conditions = sick("A B") | sick("f", "DRIFTING")
    found, whole = await find_incidents(FixedGraph(edges("f>x x>A f>B C>A")), conditions)
    (one,) = found
    assert (one.root, one.state, one.members, whole) == ("dataset:n/f", "DRIFTING", ["model:A", "model:B"], True)
    assert one.paths["model:A"] == ["dataset:n/f", "dataset:n/x", "model:A"]
    assert one.models == ["model:A", "model:B"]


async def test_the_highest_of_a_chain_is_the_root():
    assert await folded("A>b b>B B>C", sick("A B C")) == {"model:A": ["model:B", "model:C"]}


async def test_what_is_healthy_passes_nothing_on():
    graph = "A>H H>C"
    assert set(await folded(graph, sick("A C") | sick("H", "HEALTHY"))) == {"model:A", "model:C"}
    assert set(await folded(graph, sick("A C") | sick("H", "UNKNOWN"))) == {"model:A"}


async def test_what_is_upstream_of_a_model_explains_its_versions_and_they_do_not_explain_each_other():
    graph = "A@1>A B@1>B B@2>B A>B f>B"
    found, whole = await find_incidents(FixedGraph(edges(graph)), sick("A@1 B@1 B@2"))
    (one,) = found
    assert (one.root, one.members, whole) == ("model:A@1", ["model:B@1", "model:B@2"], True)
    assert one.paths["model:B@2"] == ["model:A@1", "model:A", "model:B@2"]
    assert await folded("B@1>B B@2>B f>B", sick("B@1 B@2")) == {"model:B@1": [], "model:B@2": []}
    assert await folded("B@1>B B@2>B f>B", sick("B@1 B@2") | sick("f", "DRIFTING")) == {
        "dataset:n/f": ["model:B@1", "model:B@2"]
    }
    assert await folded(graph, sick("A@1 B@1") | sick("B", "HEALTHY")) == {"model:A@1": [], "model:B@1": []}
    # By its own predictions, on which its model is trained, one version is upstream of the other.
    assert await folded("B@1>B B@2>B B>f f>B", {letter("B@1"): Condition("FAILED")} | sick("B@2")) == {
        "model:B@1": ["model:B@2"]
    }


async def test_a_node_below_two_roots_is_with_the_one_that_explains_most():
    graph = "f>A f>B g>B g>C g>D"
    assert await folded(graph, sick("A B C D") | sick("f g", "DRIFTING")) == {
        "dataset:n/g": ["model:B", "model:C", "model:D"], "dataset:n/f": ["model:A"],
    }  # fmt: skip


async def test_a_loop_has_one_root_the_gravest_in_it():
    conditions = sick("A C") | sick("B", "FAILED")
    assert await folded("A>B B>C C>A C>x x>D", conditions | sick("D")) == {"model:B": ["model:A", "model:C", "model:D"]}
    longest = {letter(name): Condition("AT_RISK", since) for name, since in (("A", 3), ("B", 1))}
    assert await folded("A>B B>A", longest) == {"model:B": ["model:A"]}


async def test_what_nothing_explains_is_an_incident_of_its_own_and_depth_limits_explanations():
    assert await folded("a>A", sick("A Z")) == {"model:A": [], "model:Z": []}
    chain = "A>b b>c c>D"
    assert await folded(chain, sick("A D"), depth=3) == {"model:A": ["model:D"]}
    assert await folded(chain, sick("A D"), depth=2) == {"model:A": [], "model:D": []}
    assert await folded("A>B B>C", sick("A B C"), depth=1) == {"model:A": ["model:B"], "model:C": []}


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize("graph", ["A>B B>C C>D D>E E>F", "A>B B>C C>A", "A>B B>C C>D D>B", "A>C B>C C>D D>E E>D"])
async def test_each_that_ails_is_in_one_incident_however_deep_it_is_looked(graph: str, depth: int):
    names = sorted({name for pair in graph.split() for name in pair.split(">")})
    found = await folded(graph, sick(" ".join(names)), depth=depth)
    assert sorted([*found, *(node for members in found.values() for node in members)]) == [letter(name) for name in names]


async def test_nobody_ails_and_nothing_is_said():
    assert await folded("a>A", sick("A", "HEALTHY")) == {}
    with pytest.raises(BadQuestion):
        await folded("a>A", {}, depth=0)


async def test_limits_are_said(monkeypatch):
    monkeypatch.setattr(incident, "MAX_EDGES", 1)
    assert (await find_incidents(FixedGraph(edges("a>A b>A")), sick("A")))[1] is False
    clock = itertools.count(0, 10).__next__
    found, whole = await find_incidents(FixedGraph(edges("A>B")), sick("A B"), clock=clock)
    assert (len(found), whole) == (2, False)


async def test_a_store_that_stands_still_is_said():
    graph = FixedGraph(edges("a>A b>a"))
    graph.answers = 1
    found, whole = await find_incidents(graph, sick("A b"), limit_s=0.05)
    assert ([one.root for one in found], whole) == ([letter("b"), letter("A")], False)


async def test_others_are_answered_while_a_large_graph_is_folded(monkeypatch):
    monkeypatch.setattr(incident, "_ancestors", Beside(incident._ancestors))
    monkeypatch.setattr(incident, "fold", Beside(incident.fold))
    assert await folded("A>B", sick("A B")) == {"model:A": ["model:B"]}
