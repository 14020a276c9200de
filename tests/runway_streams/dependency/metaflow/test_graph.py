"""From runs to the graph: what real runs tell makes one graph, and what a later run does not tell any more has ended."""

import json

import pytest

from runway_streams.dependency.metaflow.lineage import told_by
from runway_streams.dependency.metaflow.local import MetaflowFolder
from runway_streams.dependency.metaflow.run import MetaflowRun, gather_run
from runway_streams.dependency.walk import walk
from tests.runway_streams.dependency.memory_store import MemoryStore


@pytest.fixture
async def graph() -> MemoryStore:
    return MemoryStore()


def run(run_id: str, at: int, *features: str, name: str = "m") -> MetaflowRun:
    inputs = [{"type": "feature", "name": feature} for feature in features]
    document = {"schema": "runway.lineage/1", "model": {"name": name}, "inputs": inputs}
    return MetaflowRun("F", run_id, at, at, lineage=json.dumps(document))


async def reached(graph: MemoryStore, node: str, direction: str = "downstream", as_of: int | None = None) -> set[str]:
    return set((await walk(graph, node, direction, as_of=as_of)).steps)


async def test_a_table_of_the_feature_flow_reaches_the_models_further_down(graph, flows):
    folder = MetaflowFolder(flows.root)
    for flow, run_id in flows.ids.items():
        told = told_by(await gather_run(folder, await folder.run(flow, run_id)))
        await graph.apply(told.reports)
        await graph.apply(told.reports)  # the same again changes nothing
    found = await walk(graph, "dataset:s3%3A%2F%2Flake/raw%2Fpayments", "downstream", depth=6)
    assert found.path("model:fraud") in (
        [found.start, "flow:metaflow/FeatureFlow", "feature:payments/amount", "model:fraud"],
        [found.start, "flow:metaflow/FeatureFlow", "flow:metaflow/FraudFlow", "model:fraud"],
    )
    assert "model:device-risk" in found.steps
    upstream = await reached(graph, f"model:fraud@{flows.ids['FraudFlow']}", "upstream")
    assert {"feature:payments/amount", "model:device-risk@2026.02", "flow:metaflow/FraudFlow"} <= upstream


async def test_a_feature_that_the_next_version_does_not_read_has_ended_for_the_model(graph):
    for told in (told_by(run("1", 10, "a", "b")), told_by(run("2", 20, "a"))):
        await graph.apply(told.reports)
    assert await reached(graph, "feature:default/a") == {"model:m", "model:m@1", "model:m@2"}
    assert await reached(graph, "feature:default/b") == {"model:m@1"}
    assert await reached(graph, "feature:default/b", as_of=15) == {"model:m", "model:m@1"}
    assert "feature:default/b" not in await reached(graph, "model:m", "upstream")
    assert await reached(graph, "model:m@1", "upstream") >= {"feature:default/a", "feature:default/b"}


async def test_predictions_that_come_back_as_training_data_are_a_loop(graph):
    document = {
        "schema": "runway.lineage/1",
        "model": {"name": "m"},
        "inputs": [{"type": "dataset", "name": "labels"}],
        "outputs": [{"type": "dataset", "name": "scores"}],
    }
    feedback = {"schema": "runway.lineage/1", "inputs": document["outputs"], "outputs": document["inputs"]}
    for flow, one in (("Train", document), ("Label", feedback)):
        await graph.apply(told_by(MetaflowRun(flow, "1", 10, 20, lineage=json.dumps(one))).reports)
    assert {"dataset:default/scores", "flow:metaflow/Label", "dataset:default/labels"} <= await reached(graph, "model:m")
    assert "model:m" in await reached(graph, "dataset:default/labels")
