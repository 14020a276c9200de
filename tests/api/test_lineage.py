"""`/v1/models/{id}/lineage`, `/v1/impact`, `/v1/lineage/...`, `/v1/incidents`, over both databases."""

from urllib.parse import quote

import pytest

from api.pages import MAX_CURSOR
from runway_streams.dependency.node import MAX_ID
from runway_streams.errors import DependencyDown
from runway_streams.registry import catalog, statuses, versions
from runway_streams.times import format_time
from schemas.model import Model
from schemas.model_version import ModelVersion

EDGES = [
    ("source:erp/orders", "dataset:lake/raw%20orders"),
    ("dataset:lake/raw%20orders", "feature:shop/amount"),
    ("feature:shop/amount", "model:fraud"),
    ("feature:shop/amount", "model:churn"),
    ("model:fraud", "consumer:bi/board"),
    ("model:fraud", "dataset:lake/scored"),
    ("dataset:lake/scored", "model:fraud"),
]
NODES = [
    {"id": "model:fraud", "facts": {"criticality": "critical", "owner": "risk", "title": "Fraud"}},
    {"id": "model:churn", "facts": {"criticality": "low", "owner": "growth"}},
]


def document(**more):
    return {"edges": [{"upstream": up, "downstream": down} for up, down in EDGES], "nodes": NODES, **more}


@pytest.fixture
async def client(api):
    client = api.as_()
    answer = await client.post("/v1/lineage/declarations", json=document())
    assert (answer.status_code, answer.json()) == (200, {"in_graph": True, "edges": 7})
    return client


async def test_impact_ranks_by_criticality_then_distance_and_tells_the_path(client):
    answer = await client.get("/v1/impact", params={"node": "source:erp/orders", "type": "model"})
    told = answer.json()
    assert [(one["id"], one["distance"]) for one in told["items"]] == [("model:fraud", 3), ("model:churn", 3)]
    first = told["items"][0]
    assert first["path"] == ["source:erp/orders", "dataset:lake/raw%20orders", "feature:shop/amount", "model:fraud"]
    assert [(edge["reporter"], edge["source"], edge["kind"]) for edge in first["edges"]] == [
        ("declared:ada:declared", "declared", "feeds")
    ] * 3
    assert (first["criticality"], first["owner"], first["title"]) == ("critical", "risk", "Fraud")
    assert told["blast_radius"] == {
        "nodes": 6,
        "by_type": {"consumer": 1, "dataset": 2, "feature": 1, "model": 2},
        "models_by_criticality": {"critical": 1, "low": 1},
        "owners": ["growth", "risk"],
        "furthest": 4,
    }
    assert (told["stopped"], told["degraded"], told["next_cursor"]) == ("", [], None)


async def test_pages_give_every_node_once(client):
    found, cursor = [], None
    while True:
        parameters = {"node": "source:erp/orders", "limit": 2} | ({"cursor": cursor} if cursor else {})
        told = (await client.get("/v1/impact", params=parameters)).json()
        found += [one["id"] for one in told["items"]]
        cursor = told["next_cursor"]
        if cursor is None:
            break
    assert (len(found), len(set(found))) == (6, 6)


async def test_pages_of_the_longest_names_give_every_node_once(client):
    """Names that differ in their last character alone, about a node whose name is as long: all of it has to fit into a URL."""
    long = quote("\u8cc7" * 200, safe="")
    start, ends = f"dataset:{long}/{long}", [f"dataset:{long}/{long}{number}" for number in range(5)]
    ends.append(f"dataset:{long}/" + quote("\u8cc7" * (MAX_ID // 9 - 202), safe=""))
    assert len(start) > 3_600
    assert MAX_ID - 20 < max(map(len, ends)) <= MAX_ID
    edges = [{"upstream": start, "downstream": end} for end in ends]
    assert (await client.post("/v1/lineage/declarations", json={"edges": edges})).status_code == 200
    found, cursor = [], None
    while True:
        answer = await client.get("/v1/impact", params={"node": start, "limit": 1} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        found += [one["id"] for one in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break
        assert len(cursor) < MAX_CURSOR
    assert sorted(found) == sorted(ends)


async def test_a_model_s_lineage_is_what_it_is_made_from_or_what_uses_it(client):
    up = (await client.get("/v1/models/fraud/lineage")).json()
    assert {one["id"] for one in up["items"]} == {
        "feature:shop/amount", "dataset:lake/raw%20orders", "source:erp/orders", "dataset:lake/scored",
    }  # fmt: skip
    down = (await client.get("/v1/models/fraud/lineage", params={"direction": "downstream", "depth": 1})).json()
    assert {one["id"] for one in down["items"]} == {"consumer:bi/board", "dataset:lake/scored"}


async def test_what_is_not_declared_again_ends_and_can_be_asked_for_as_it_was(client, api):
    api.clock += 1_000
    left = [{"upstream": "feature:shop/amount", "downstream": "model:fraud"}]
    changed = {"edges": left, "whole_inputs": ["model:fraud", "model:churn"]}
    assert (await client.post("/v1/lineage/declarations", json=changed)).status_code == 200
    now = (await client.get("/v1/impact", params={"node": "feature:shop/amount"})).json()
    assert "model:churn" not in {one["id"] for one in now["items"]}
    before = {"node": "feature:shop/amount", "as_of": "2024-10-06T12:00:00Z"}
    then = (await client.get("/v1/impact", params=before)).json()
    assert "model:churn" in {one["id"] for one in then["items"]}


async def test_feedback_loops_are_told_with_their_path(client):
    told = (await client.get("/v1/lineage/cycles")).json()
    (loop,) = told["items"]
    assert (loop["path"], loop["feedback"]) == (["model:fraud", "dataset:lake/scored", "model:fraud"], True)
    assert (told["whole"], told["edges"]) == (True, 7)


async def test_nodes_are_found_by_a_part_of_their_name(client):
    told = (await client.get("/v1/lineage/nodes", params={"q": "RAW ord"})).json()
    assert [one["id"] for one in told["items"]] == ["dataset:lake/raw%20orders"]
    told = (await client.get("/v1/lineage/nodes", params={"q": "", "type": "model"})).json()
    assert [(one["id"], one["facts"]["owner"]) for one in told["items"]] == [
        ("model:churn", "growth"),
        ("model:fraud", "risk"),
    ]


async def test_models_at_risk_below_one_another_are_one_incident(client, api):
    edge = [{"upstream": "model:fraud@1", "downstream": "model:churn@1"}]
    await client.post("/v1/lineage/declarations", json={"edges": edge})
    async with api.registry.change("test") as change:
        for name in ("fraud", "churn", "other"):
            await catalog.register(change, Model(name))
            await versions.create(change, name, ModelVersion("1"))
            await statuses.set_status(change, name, "1", "AT_RISK", "drift")
    told = (await client.get("/v1/incidents")).json()
    assert [(one["root"], [member["id"] for member in one["members"]]) for one in told["items"]] == [
        ("model:fraud@1", ["model:churn@1"]), ("model:other@1", []),
    ]  # fmt: skip
    assert told["items"][0]["members"][0]["path"] == ["model:fraud@1", "model:churn@1"]
    assert (told["whole"], told["degraded"]) == (True, [])


@pytest.mark.parametrize(
    ("parameters", "slug"),
    [
        ({}, "missing-parameter"),
        ({"node": "fraud"}, "bad-node"),
        ({"node": "dataset:a/b/c"}, "bad-node"),
        ({"node": "model:fraud", "depth": "0"}, "bad-depth"),
        ({"node": "model:fraud", "depth": "1000000000"}, "bad-depth"),
        ({"node": "model:fraud", "depth": "-1"}, "bad-depth"),
        ({"node": "model:fraud", "direction": "sideways"}, "bad-direction"),
        ({"node": "model:fraud", "type": "table"}, "bad-type"),
        ({"node": "model:fraud", "as_of": "yesterday"}, "bad-range"),
        ({"node": "model:fraud", "as_of": "2999-01-01"}, "bad-as-of"),
        ({"node": "model:fraud", "nodes": "1"}, "unknown-parameter"),
    ],
)
async def test_a_bad_question_is_a_400_that_names_what_is_wrong(client, parameters, slug):
    answer = await client.get("/v1/impact", params=parameters)
    assert (answer.status_code, answer.json()["type"]) == (400, f"urn:runway:problem:{slug}")


async def test_a_node_that_nobody_told_of_is_a_404(client):
    assert (await client.get("/v1/impact", params={"node": "model:nobody"})).status_code == 404
    assert (await client.get("/v1/models/nobody/lineage")).status_code == 404
    assert (await client.get("/v1/models/no%20body/lineage")).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"edges": [{"upstream": "nothing", "downstream": "model:m"}]},
        {"edges": [{"upstream": "dataset:a/b", "downstream": "model:m", "confidence": 2}]},
        {"edges": [{"upstream": "dataset:a/b"}]},
        {"edges": [{"upstream": "dataset:a/b", "downstream": "model:m", "kind": "eats"}]},
        {"whole_inputs": ["model:a b"]},
    ],
)
async def test_a_bad_declaration_is_refused_whole(client, change):
    answer = await client.post("/v1/lineage/declarations", json=document(**change))
    assert answer.status_code == 400, answer.text


async def test_a_declaration_that_touches_too_much_of_the_graph_is_a_400(client, api, monkeypatch):
    monkeypatch.setattr(api.lineage.graph.store, "_max_spans", 2)
    answer = await client.post("/v1/lineage/declarations", json=document())
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:runway:problem:bad-report")
    assert "touch more than 2 spans of edges. Send fewer at a time." in answer.json()["detail"]
    assert await api.lineage.graph.queue.size() == 0


async def test_readers_may_ask_and_not_declare(api, client):
    reader = api.as_("eve", "reader")
    assert (await reader.get("/v1/impact", params={"node": "model:fraud"})).status_code == 200
    assert (await reader.post("/v1/lineage/declarations", json=document())).status_code == 403


EMPTY = {"items": [], "next_cursor": None, "answered_at": None, "degraded": ["lineage"]}


async def test_without_the_graph_answers_are_old_or_empty_and_say_so_and_declarations_are_kept(client, api, monkeypatch):
    question = {"node": "source:erp/orders"}
    known = (await client.get("/v1/impact", params=question)).json()
    graph = api.lineage.graph
    api.clock += 5_000

    async def down(*_args, **_kwargs):
        raise DependencyDown("The graph is away.")

    for name in ("apply", "nodes", "edges", "find"):
        monkeypatch.setattr(graph.store, name, down)
    told = (await client.get("/v1/impact", params=question)).json()
    assert (told["items"], told["degraded"]) == (known["items"], ["lineage"])
    assert told["answered_at"] == known["answered_at"] != format_time(api.clock)
    for path in ("/v1/models/churn/lineage", "/v1/lineage/cycles", "/v1/lineage/nodes?q=churn"):
        other = await client.get(path)
        assert other.status_code == 200
        assert {key: other.json()[key] for key in EMPTY} == EMPTY
    incidents = (await client.get("/v1/incidents")).json()
    assert (incidents["answered_at"], incidents["degraded"]) == (format_time(api.clock), ["lineage"])
    kept = await client.post("/v1/lineage/declarations", json=document())
    assert (kept.status_code, kept.json()["in_graph"]) == (202, False)
    monkeypatch.undo()
    graph._down_until = 0.0
    assert await graph.drain() == 1
