"""Who may declare what, under whose name."""

import pytest

from runway_streams.registry import catalog
from schemas.model import Model

PATH = "/v1/lineage/declarations"
READ = {"upstream": "dataset:shop/orders", "downstream": "consumer:bi/board"}


async def reporters(api):
    found = await api.lineage.graph.edges(["dataset:shop/orders"], "downstream", None, 10)
    return sorted(edge.reporter for edge in found.found)


async def test_nobody_takes_back_what_another_has_declared(api):
    await api.as_("key:ada", "owner").post(PATH, json={"edges": [READ], "reporter": "bi"})
    api.clock += 1_000
    whole = {"whole_inputs": ["consumer:bi/board"], "reporter": "bi"}
    assert (await api.as_("key:eve", "owner").post(PATH, json=whole)).status_code == 200
    assert await reporters(api) == ["declared:key:ada:bi"]
    assert (await api.as_("key:ada", "owner").post(PATH, json=whole)).status_code == 200
    assert await reporters(api) == []


async def test_an_operator_alone_declares_on_behalf_of_others(api):
    await api.as_("key:gone", "owner").post(PATH, json={"edges": [READ]})
    api.clock += 1_000
    takes_back = {"whole_inputs": ["consumer:bi/board"], "on_behalf_of": "key:gone"}
    assert (await api.as_("key:eve", "owner").post(PATH, json=takes_back)).status_code == 403
    assert await reporters(api) == ["declared:key:gone:declared"]
    assert (await api.as_("key:ops", "operator").post(PATH, json=takes_back)).status_code == 200
    assert await reporters(api) == []
    own = {"edges": [READ], "on_behalf_of": "key:eve"}
    assert (await api.as_("key:eve", "owner").post(PATH, json=own)).status_code == 200


@pytest.mark.parametrize("node", ["model:fraud", "model:fraud@7", "model:nobody"])
async def test_facts_of_a_model_are_of_those_who_may_write_it(api, node):
    async with api.registry.change("test") as change:
        await catalog.register(change, Model("fraud", owner="risk", criticality="critical"))
    facts = {"nodes": [{"id": node, "facts": {"criticality": "low"}}], "edges": [READ]}
    answer = await api.as_("key:eve", "owner", "growth").post(PATH, json=facts)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:runway:problem:not-your-facts")
    name = node.removeprefix("model:").partition("@")[0]
    assert answer.json()["detail"].startswith(
        f"Facts of the model {name} come from the registry, and key:eve may not write it"
    )
    assert await reporters(api) == [], "a declaration is refused whole"
    taken = 403 if name == "nobody" else 200
    assert (await api.as_("key:ada", "owner", "risk").post(PATH, json=facts)).status_code == taken
    assert (await api.as_("key:ops", "operator").post(PATH, json=facts)).status_code == 200


async def test_edges_of_any_model_and_facts_of_anything_else_are_of_every_owner(api):
    edge = {"upstream": "model:fraud", "downstream": "consumer:bi/board"}
    nodes = [{"id": "model:fraud"}, {"id": "consumer:bi/board", "facts": {"owner": "bi"}}]
    answer = await api.as_("key:eve", "owner").post(PATH, json={"edges": [edge], "nodes": nodes})
    assert (answer.status_code, answer.json()) == (200, {"in_graph": True, "edges": 1})


@pytest.mark.parametrize("more", [{"reporter": "a\0b"}, {"on_behalf_of": "key:\0"}, {"reporter": "x" * 41}])
async def test_a_name_that_nothing_can_keep_is_a_400(api, more):
    assert (await api.as_("key:ops", "operator").post(PATH, json={"edges": [READ], **more})).status_code == 400


async def test_the_longest_names_are_kept_as_they_are(api):
    name = "oidc:" + "s" * 195
    answer = await api.as_(name, "owner").post(PATH, json={"edges": [READ], "reporter": "r" * 40})
    assert answer.status_code == 200
    assert await reporters(api) == [f"declared:{name}:{'r' * 40}"]
