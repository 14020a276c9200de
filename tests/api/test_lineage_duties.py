"""Lineage by itself: the registry is followed, change after change, and what cannot be told holds up nothing."""

from dataclasses import replace

import pytest

from api import lineage_duties
from api.lineage_duties import SETTLED_MS, RegistryFollower
from runway_streams.dependency.metaflow.discovery import Discovery
from runway_streams.dependency.refusals import BadReport, QueueFull
from runway_streams.dependency.report import Report
from runway_streams.dependency.stores import sql_discoveries
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.registry import catalog, versions
from runway_streams.times import HOUR
from schemas.model import Model
from schemas.model_version import FeatureUse, ModelVersion
from tests.api.lineage_world import Away, edges, registered


@pytest.fixture(autouse=True)
def _today(api):
    """The flows ran today."""
    api.clock = wall_clock()


@pytest.fixture
def follower(api):
    return RegistryFollower(api.registry, api.lineage, "test")


def told_to(api, monkeypatch):
    """What the graph is told from now on."""
    told = []
    tell = api.lineage.graph.tell

    async def noted(reports):
        told.extend(report.nodes[0].id for report in reports)
        return await tell(reports)

    monkeypatch.setattr(api.lineage.graph, "tell", noted)
    return told


async def test_what_the_registry_says_is_in_the_graph_and_a_flow_that_is_changed_ends(api, follower):
    version = ModelVersion("7", features=[FeatureUse("payments/amount"), FeatureUse("age")], training_run="FraudFlow/7")
    await registered(
        api, Model("fraud", name="Fraud", owner="risk", criticality="critical", flow="FraudFlow"), ("fraud", version)
    )
    await follower.step()
    assert await edges(api, "model:fraud") == {
        ("flow:metaflow/FraudFlow", "produces", "model:fraud"), ("model:fraud@7", "version_of", "model:fraud"),
    }  # fmt: skip
    assert await edges(api, "model:fraud@7") == {
        ("feature:payments/amount", "feeds", "model:fraud@7"), ("feature:default/age", "feeds", "model:fraud@7"),
        ("run:metaflow/FraudFlow%2F7", "produces", "model:fraud@7"),
    }  # fmt: skip
    facts = (await api.lineage.graph.store.nodes(["model:fraud"]))["model:fraud"].facts
    assert (facts["title"], facts["owner"], facts["criticality"]) == ("Fraud", "risk", "critical")
    api.clock += 1_000
    async with api.registry.change("test") as change:
        before = (await catalog.get(change.connection, "fraud")).model
        await catalog.replace(change, Model("fraud", flow="NewFlow", features=before.features))
    await follower.step()
    assert ("flow:metaflow/FraudFlow", "produces", "model:fraud") not in await edges(api, "model:fraud")
    assert ("flow:metaflow/NewFlow", "produces", "model:fraud") in await edges(api, "model:fraud")


async def test_what_a_deprecated_version_was_made_from_reaches_its_model_no_more(api, follower):
    old = ModelVersion("1", features=[FeatureUse("f/old")])
    new = ModelVersion("2", features=[FeatureUse("f/new")])
    await registered(api, Model("m"), ("m", old, "production"), ("m", new, "production"))
    await follower.step()
    api.clock += 1_000
    async with api.registry.change("test") as change:
        await versions.move(change, "m", "1", "deprecated", "replaced")
    await follower.step()
    reached = {
        node: (await api.lineage.graph.walk(node, "downstream", 5)).found.walk.steps
        for node in ("feature:f/old", "feature:f/new")
    }
    assert set(reached["feature:f/old"]) == {"model:m@1"}
    assert set(reached["feature:f/new"]) == {"model:m@2", "model:m"}


async def test_a_run_whose_name_no_node_can_have_is_left_out_and_holds_up_nothing(api, follower):
    odd = [
        ModelVersion(str(number), training_run=run) for number, run in enumerate(["FraudFlow/12\r", "F/" + "\u8a31" * 460])
    ]
    await registered(api, Model("m"), *(("m", version) for version in odd), Model("n", flow="TrainN"))
    await follower.step()
    assert await edges(api, "model:n") == {("flow:metaflow/TrainN", "produces", "model:n")}
    assert ("model:m@0", "version_of", "model:m") in await edges(api, "model:m")


async def test_a_report_from_the_future_is_refused(api):
    with pytest.raises(BadReport, match="lies in the future"):
        await api.lineage.graph.tell([Report("clock", api.clock + 2 * HOUR)])


async def test_changes_that_are_committed_late_are_told_too_and_old_ones_once(api, follower, monkeypatch):
    await registered(api, Model("one"))
    await follower.step()
    assert await api.lineage.cursors.get("registry@", 0) == 0, "too young for another not to come before it"
    api.clock += SETTLED_MS + 1
    await registered(api, Model("two"))
    told = told_to(api, monkeypatch)
    await follower.step()
    await follower.step()
    assert told == ["model:two"]
    assert await api.lineage.cursors.get("registry@", 0) > 0
    await RegistryFollower(api.registry, api.lineage, "another").step()
    assert told == ["model:two", "model:two"], "another process goes on at the cursor"


async def test_of_a_change_the_version_that_it_names_is_told_and_no_other(api, follower, monkeypatch):
    await registered(api, Model("m"), *(("m", ModelVersion(str(number))) for number in range(20)))
    await follower.step()
    told = told_to(api, monkeypatch)
    async with api.registry.change("test") as change:
        await versions.move(change, "m", "7", "training", "try it")
    await follower.step()
    assert told == ["model:m@7"]


async def test_many_versions_are_told_in_portions_and_their_runs_are_noted_each(api, follower, monkeypatch):
    api.lineage = follower._lineage = replace(api.lineage, metaflow=Away())
    monkeypatch.setattr(lineage_duties, "EDGES", 10)
    await registered(api, Model("m"), *(("m", ModelVersion(str(one), training_run=f"M/{one}")) for one in range(20)))
    sizes, tell = [], api.lineage.graph.tell

    async def noted(reports):
        sizes.append((len(reports), sum(len(report.claims) for report in reports)))
        return await tell(reports)

    monkeypatch.setattr(api.lineage.graph, "tell", noted)
    await follower.step()
    assert sum(reports for reports, _ in sizes) == 21
    assert max(claims for _, claims in sizes) <= 10
    assert await api.lineage.discoveries.counts() == {"pending": 20}


async def test_a_row_that_the_graph_refuses_holds_up_no_other_and_is_said(api, follower):
    await registered(api, Model("odd"))
    api.clock -= 2 * HOUR  # another process's clock was ahead
    await registered(api, Model("good", flow="TrainGood"))
    await follower.step()
    assert await edges(api, "model:good") == {("flow:metaflow/TrainGood", "produces", "model:good")}
    assert follower.left_out.startswith("The lineage graph has not all that the registry says: A report of registry lies in")
    await follower.step()
    assert follower.left_out, "until the next change is told as it should be"
    await registered(api, Model("other"))
    await follower.step()
    assert follower.left_out == ""


async def test_while_nothing_more_can_be_kept_changes_stay_and_are_told_later(api, follower, monkeypatch):
    api.lineage = follower._lineage = replace(api.lineage, metaflow=Away())
    monkeypatch.setattr(sql_discoveries, "MAX_PENDING", 1)
    await registered(api, Model("m"), ("m", ModelVersion("1", training_run="M/1")))
    await follower.step()
    await registered(api, ("m", ModelVersion("2", training_run="M/2")))
    api.clock += SETTLED_MS + 1
    for _ in range(2):
        with pytest.raises(QueueFull):
            await follower.step()
    await api.lineage.discoveries.done(Discovery(pathspec="M/1", model_id="m", version="1"), api.clock)
    await follower.step()
    assert await api.lineage.discoveries.counts() == {"done": 1, "pending": 1}
    assert ("run:metaflow/M%2F2", "produces", "model:m@2") in await edges(api, "model:m@2")


async def test_runs_that_were_noted_before_are_not_too_many(api, monkeypatch):
    monkeypatch.setattr(sql_discoveries, "MAX_PENDING", 2)
    both = [Discovery(pathspec="M/1"), Discovery(pathspec="M/2")]
    assert await api.lineage.discoveries.ask(both, api.clock) == 2
    assert await api.lineage.discoveries.ask(both, api.clock) == 0
    with pytest.raises(QueueFull):
        await api.lineage.discoveries.ask([Discovery(pathspec="M/3")], api.clock)
    assert await api.lineage.discoveries.counts() == {"pending": 2}


async def test_without_metaflow_no_run_is_asked_for(api, follower):
    await registered(api, Model("m"), ("m", ModelVersion("1", training_run="M/1")))
    await follower.step()
    assert await api.lineage.discoveries.counts() == {}


async def test_what_is_registered_is_in_the_graph_when_it_is_answered(api):
    client = api.as_()
    await client.post("/v1/models", json={"model_id": "m", "owner": "risk", "criticality": "high", "flow": "TrainM"})
    up = (await client.get("/v1/models/m/lineage")).json()
    assert [one["id"] for one in up["items"]] == ["flow:metaflow/TrainM"]
    await client.post("/v1/models/m/versions", json={"version": "1", "features": [{"name": "shop/amount"}]})
    told = (await client.get("/v1/impact", params={"node": "feature:shop/amount"})).json()
    assert [(one["id"], one["owner"], one["criticality"]) for one in told["items"]] == [
        ("model:m@1", "risk", "high"), ("model:m", "risk", "high"),
    ]  # fmt: skip
