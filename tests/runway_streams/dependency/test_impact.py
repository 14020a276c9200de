"""Impact: ranked by criticality and distance, with the path and the edges that say so."""

from runway_streams.dependency.impact import affected, blast_radius, facts_wanted
from runway_streams.dependency.walk import walk
from tests.runway_streams.dependency.graphs import FixedGraph, edge, edges

GRAPH = [*edges("a>b b>Low b>Vital"), edge("dataset:n/a", "model:Near@1", 0.5), edge("model:Near@1", "model:Near", 1.0)]
FACTS = {
    "model:Vital": {"criticality": "critical", "owner": "payments", "title": "The vital one"},
    "model:Low": {"criticality": "low", "owner": "growth"},
    "model:Near": {"owner": "payments"},
}


async def test_the_critical_come_first_then_the_near():
    found = await walk(FixedGraph(GRAPH), "dataset:n/a", "downstream")
    ranked = affected(found, FACTS, {"model", "version"})
    assert [one.id for one in ranked] == ["model:Vital", "model:Near@1", "model:Near", "model:Low"]
    assert ranked[0].path == ["dataset:n/a", "dataset:n/b", "model:Vital"]
    assert (ranked[0].owner, ranked[0].title, ranked[1].owner, ranked[1].confidence) == (
        "payments", "The vital one", "payments", 0.5,
    )  # fmt: skip
    assert facts_wanted(found) == {one for step in GRAPH for one in (step.upstream, step.downstream)}


async def test_the_blast_radius_sums_up():
    radius = blast_radius(await walk(FixedGraph(GRAPH), "dataset:n/a", "downstream"), FACTS)
    assert (radius.nodes, radius.furthest, radius.owners) == (5, 2, ["growth", "payments"])
    assert radius.by_type == {"dataset": 1, "model": 3, "version": 1}
    assert radius.models_by_criticality == {"critical": 1, "medium": 1, "low": 1}
