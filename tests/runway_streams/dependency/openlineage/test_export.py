"""OpenLineage and DOT out: the same graph gives the same text; what is read back is what was there; names harm nothing."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency.dot import to_dot
from runway_streams.dependency.edge import Edge
from runway_streams.dependency.node import named, node_type
from runway_streams.dependency.openlineage.event import read_event
from runway_streams.dependency.openlineage.export import to_events
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.reports import static_report
from runway_streams.dependency.report import Report
from schemas.openlineage import DatasetEvent
from tests.runway_streams.dependency.openlineage.test_reports import SAMPLES, reports, sample

AT = 1_772_400_000_000


def edge(upstream: str, downstream: str, kind: str = "feeds", source: str = "observed") -> Edge:
    return Edge(upstream, downstream, kind, "test", source, 1.0, 1, 1)  # type: ignore[arg-type]


def as_edges(found: list[Report]) -> list[Edge]:
    return [
        Edge(claim.upstream, claim.downstream, claim.kind, report.reporter, claim.source, 1.0, report.at, report.at)
        for report in found
        for claim in report.claims
    ]


def triples(edges: list[Edge]) -> set[tuple[str, str, str]]:
    return {(one.upstream, one.downstream, one.kind) for one in edges}


def read_back(events: list[dict]) -> list[Edge]:
    return as_edges([static_report(read_event(json.dumps(event).encode()), LeftOut()) for event in events])  # type: ignore[arg-type]


def facets(value):
    """Every facet anywhere in an event."""
    if isinstance(value, dict):
        yield from value.get("facets", {}).values()
        for inner in value.values():
            yield from facets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from facets(inner)


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_what_is_read_back_has_the_same_edges(name: str):
    edges = as_edges(reports(sample(name)))
    events = to_events(edges, AT)
    expected = {one for one in triples(edges) if one[2] != "triggers"}
    if name == "feast":  # columns of which nothing is told but that they are
        expected = {one for one in expected if node_type(one[1]) != "feature"}
    back = triples(read_back(events))
    assert expected <= back
    assert all(node_type(one[1]) == "feature" for one in back - expected)
    for event in events:
        assert event["schemaURL"].endswith(("#/$defs/JobEvent", "#/$defs/DatasetEvent"))
        assert all(facet["_producer"] and facet["_schemaURL"] for facet in facets(event))


def test_the_order_of_edges_does_not_matter():
    edges = [one for name in ("airflow", "spark", "model") for one in as_edges(reports(sample(name)))]
    shuffled = random.Random(1).sample(edges + edges[:5], k=len(edges) + 5)
    assert to_events(shuffled, AT) == to_events(edges, AT)
    assert to_dot(shuffled) == to_dot(edges)


def test_what_openlineage_has_no_word_for():
    events = to_events([
        edge("flow:etl/first", "flow:etl/second", "triggers"),
        edge("dataset:db/t", "model:fraud@1", source="declared"),
        edge("feature:pay/amount", "model:fraud@1", source="declared"),
        edge("model:fraud@1", "model:fraud", "version_of"),
        edge("model:fraud", "consumer:bi/board", source="declared"),
        edge("source:crm/salesforce", "dataset:db/t", source="declared"),
        edge("flow:etl/first", "run:etl/7", "produces"),
        edge("dataset:db/t", "dataset:db/t"),
    ], AT)  # fmt: skip
    shown = {
        (event["job"]["namespace"], event["job"]["name"]): (
            [d["name"] for d in event.get("inputs", [])],
            [d["name"] for d in event.get("outputs", [])],
        )
        for event in events
    }
    assert shown == {
        ("bi", "board"): (["fraud"], []),
        ("etl", "second"): ([], []),
        ("runway", "dataset:db/t"): (["salesforce"], ["t"]),
        ("runway", "model:fraud@1"): (["t", "amount"], ["fraud"]),
    }
    (second,) = [event for event in events if event["job"]["name"] == "second"]
    assert second["job"]["facets"]["runway_triggered_by"]["jobs"] == [{"namespace": "etl", "name": "first"}]
    assert "inputs" not in second


def test_a_dataset_event_of_columns_alone():
    (event,) = to_events([edge("feature:db/a.x", "feature:db/b.y"), edge("feature:db/a.x", "dataset:db/b")], AT)
    read = read_event(json.dumps(event).encode())
    assert isinstance(read, DatasetEvent)
    assert event["dataset"]["facets"]["columnLineage"]["fields"] == {
        "y": {"inputFields": [{"namespace": "db", "name": "a", "field": "x"}]}
    }
    assert event["dataset"]["facets"]["columnLineage"]["dataset"] == [{"namespace": "db", "name": "a", "field": "x"}]


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(TEXTS, TEXTS)
def test_no_name_ends_a_string_of_dot(namespace: str, name: str):
    node = str(named("dataset", namespace, name))
    text = to_dot([edge(node, "model:m")])
    assert len(text.split("\n")) == 7
    for line in text.split("\n")[2:5]:
        inside, escaped = False, False
        for letter in line:
            if escaped:
                escaped = False
            elif letter == "\\":
                escaped = True
            elif letter == '"':
                inside = not inside
        assert not inside
        assert line.endswith("];")


def test_dot_draws_what_is_only_inferred_dashed():
    text = to_dot([edge("dataset:a/b", "model:m", source="inferred")], ["model:alone"])
    assert '"dataset:a/b" -> "model:m" [label="feeds", style=dashed];' in text
    assert '"model:alone" [label="alone", shape=hexagon];' in text
    both = [edge("dataset:a/b", "model:m", source="inferred"), edge("dataset:a/b", "model:m", source="observed")]
    assert to_dot(both).count("->") == 1
    assert "dashed" not in to_dot(both)
