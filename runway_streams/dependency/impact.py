"""Impact: what a change of one thing reaches, what matters most of it first, with the path as evidence."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from runway_streams.dependency.node import NodeType
from runway_streams.dependency.walk import Step, Stopped, Walk

CRITICALITY: dict[str, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
UNRANKED = 2
"""What is not told counts as medium."""
FACTS = ("criticality", "owner", "title")
"""What ranking needs of a node's facts, and what an answer shows of them."""
MAX_FACT = 512
"""Characters of each that are kept."""


class Affected(Struct, frozen=True):
    """A node that is reached: by which shortest path, and how sure that is (the product along it)."""

    id: str
    type: NodeType
    distance: int
    path: list[str]
    confidence: float
    criticality: str = ""
    owner: str = ""
    title: str = ""


class BlastRadius(Struct, frozen=True):
    """How far a change reaches: nodes by type, models by criticality, owners to talk to, the furthest distance."""

    nodes: int
    by_type: dict[str, int]
    models_by_criticality: dict[str, int]
    owners: list[str]
    furthest: int
    stopped: Stopped


def affected(walk: Walk, facts: Mapping[str, Mapping[str, Any]], types: Collection[str] = ()) -> list[Affected]:
    """The nodes of a walk, of some types or all, ranked: the most critical first, then the nearest, then the surest, then by
    name. `facts` are the nodes' own; a version ranks as its model does.

    >>> from runway_streams.dependency.edge import Edge
    >>> edges = [Edge("dataset:a/b", f"model:{name}", "feeds", "r", "declared", 1.0, 0, 0) for name in ("near", "vital")]
    >>> walk = Walk("dataset:a/b", "downstream", {edge.downstream: Step(edge.downstream, 1, edge, edge.upstream) for edge in edges})
    >>> [one.id for one in affected(walk, {"model:vital": {"criticality": "critical"}})]
    ['model:vital', 'model:near']
    """
    chosen = [step for step in walk.steps.values() if not types or step.type in types]
    found = [_affected(walk, step, _facts_of(step.id, facts)) for step in chosen]
    return sorted(found, key=lambda one: (rank(one), one.distance, -one.confidence, one.id))


def blast_radius(walk: Walk, facts: Mapping[str, Mapping[str, Any]]) -> BlastRadius:
    """The sum of a walk, whatever page of it is shown."""
    models = [_facts_of(step.id, facts) for step in walk.steps.values() if step.type == "model"]
    owners = {str(one["owner"]) for step in walk.steps.values() if (one := _facts_of(step.id, facts)).get("owner")}
    by_criticality = Counter(str(one.get("criticality") or "medium") for one in models)
    return BlastRadius(
        nodes=len(walk.steps),
        by_type=dict(sorted(Counter(step.type for step in walk.steps.values()).items())),
        models_by_criticality={name: by_criticality[name] for name in CRITICALITY if name in by_criticality},
        owners=sorted(owners),
        furthest=max((step.distance for step in walk.steps.values()), default=0),
        stopped=walk.stopped,
    )


def facts_wanted(walk: Walk) -> set[str]:
    """The nodes whose facts ranking needs: those reached, and the models of versions among them."""
    reached = {walk.start, *walk.steps}
    return reached | {_model_of(node_id) for node_id in reached}


def ranking_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Of all that is known of a node, what is used here.

    >>> ranking_facts({"owner": "risk", "title": "", "columns": ["a", "b"]})
    {'owner': 'risk'}
    """
    return {name: str(facts[name])[:MAX_FACT] for name in FACTS if facts.get(name)}


def rank(one: Affected) -> int:
    """Where a node stands by its criticality, the most critical first."""
    return CRITICALITY.get(one.criticality, UNRANKED)


def _affected(walk: Walk, step: Step, facts: Mapping[str, Any]) -> Affected:
    return Affected(
        id=step.id,
        type=step.type,
        distance=step.distance,
        path=walk.path(step.id),
        confidence=round(walk.confidence(step.id), 6),
        criticality=str(facts.get("criticality") or ""),
        owner=str(facts.get("owner") or ""),
        title=str(facts.get("title") or ""),
    )


def _facts_of(node_id: str, facts: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    own = facts.get(node_id, {})
    model = _model_of(node_id)
    return own if model == node_id else {**facts.get(model, {}), **own}


def _model_of(node_id: str) -> str:
    return node_id.partition("@")[0] if node_id.startswith("model:") else node_id
