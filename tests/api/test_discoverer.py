"""Metaflow is asked when a version is registered and when a run has ended, and what could not be had is had later, over
restarts; a finished run becomes a version.
"""

import asyncio
import shutil

import pytest
import sqlalchemy as sa

from api.discoverer import POLL_MS, Discoverer, as_version, create_version
from api.lineage_parts import open_lineage
from runway_streams.config import Config
from runway_streams.dependency.metaflow import poll
from runway_streams.dependency.metaflow.discovery import FIRST_WAIT_MS, Discovery
from runway_streams.dependency.metaflow.local import MetaflowFolder
from runway_streams.dependency.metaflow.poll import GIVE_UP
from runway_streams.dependency.metaflow.version import VersionFromRun
from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.registry import versions
from runway_streams.times import HOUR
from schemas.model import Model
from schemas.model_version import ModelVersion
from tests.api.lineage_world import Away, edges, registered


@pytest.fixture(autouse=True)
def _today(api):
    """The flows ran today."""
    api.clock = wall_clock()


@pytest.fixture
def discoverer(api, flows):
    return Discoverer(api.registry, api.lineage, MetaflowFolder(flows.root))


def full_share() -> float:
    return 1.0


async def test_a_run_that_cannot_be_taken_holds_up_no_other(api, flows, discoverer, monkeypatch):
    await registered(api, Model("fraud", flow="FraudFlow"))
    wanted = [f"{flow}/{flows.ids[flow]}" for flow in ("DeviceRiskFlow", "FraudFlow")]
    await api.lineage.discoveries.ask([Discovery(pathspec=one) for one in wanted], api.clock)
    tell = api.lineage.graph.tell

    async def refusing(reports):
        if any("DeviceRisk" in report.reporter for report in reports):
            raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")
        return await tell(reports)

    monkeypatch.setattr(api.lineage.graph, "tell", refusing)
    assert await discoverer.discover_due(full_share) == 2
    assert (await api.lineage.discoveries.counts())["done"] == 1
    await discoverer.follow_flows()
    async with api.registry.read() as connection:
        assert len(await versions.page(connection, "fraud", 10)) == 1


async def test_a_registration_asks_metaflow_at_once_and_runs_upstream_afterwards(api, flows, discoverer):
    api.discoverer = discoverer
    run = f"DeviceRiskFlow/{flows.ids['DeviceRiskFlow']}"
    client = api.as_()
    await client.post("/v1/models", json={"model_id": "device-risk"})
    answer = await client.post("/v1/models/device-risk/versions", json={"version": "9", "training_run": run})
    assert answer.status_code == 201
    told = (await client.get("/v1/models/device-risk/versions/9/discovery")).json()
    assert (told["run"], told["state"], told["attempts"]) == (run, "done", 0)
    up = (await client.get("/v1/models/device-risk/lineage")).json()
    assert any(one["type"] == "feature" for one in up["items"]), "what the run's artifact says"
    assert await api.lineage.discoveries.counts() == {"done": 1, "pending": 1}
    assert await discoverer.discover_due(full_share) == 1
    assert await api.lineage.discoveries.counts() == {"done": 2}, "the run that had triggered it"


async def test_while_metaflow_is_away_registrations_are_answered_and_asked_for_later_over_a_restart(
    api, flows, database_url, tmp_path
):
    api.discoverer = Discoverer(api.registry, api.lineage, Away())
    run = f"FraudFlow/{flows.ids['FraudFlow']}"
    client = api.as_()
    await client.post("/v1/models", json={"model_id": "fraud"})
    assert (await client.post("/v1/models/fraud/versions", json={"version": "7", "training_run": run})).status_code == 201
    with pytest.raises(DependencyDown):
        await api.discoverer.discover_due(full_share)
    told = (await client.get("/v1/models/fraud/versions/7/discovery")).json()
    assert (told["state"], told["attempts"], told["problem"]) == ("pending", 1, "Metaflow does not answer.")
    assert await api.discoverer.discover_due(full_share) == 0, "not before its time"
    api.clock += FIRST_WAIT_MS
    restarted = open_lineage(Config(home=tmp_path, database=database_url), lambda: api.clock)
    assert await Discoverer(api.registry, restarted, MetaflowFolder(flows.root)).discover_due(full_share) == 1
    assert ("feature:payments/amount", "feeds", "model:fraud") in await edges(api, "model:fraud")
    await restarted.close()


async def test_a_finished_run_of_a_model_s_flow_becomes_a_version_and_a_failed_one_does_not(api, flows, discoverer):
    await registered(api, Model("fraud", flow="FraudFlow"), Model("broken", flow="BrokenFlow"))
    await discoverer.follow_flows()
    async with api.registry.read() as connection:
        (entry,) = await versions.page(connection, "fraud", 10)
        assert await versions.page(connection, "broken", 10) == []
    made = entry.version
    assert made.training_run == f"FraudFlow/{flows.ids['FraudFlow']}"
    assert (made.artifact_uri, made.hyperparameters, made.metrics["auc"]) == ("s3://models/fraud/7.bin", {"depth": 6}, 0.93)
    assert entry.created_by == "metaflow"
    api.clock += POLL_MS
    await discoverer.follow_flows()
    async with api.registry.read() as connection:
        assert len(await versions.page(connection, "fraud", 10)) == 1
    assert ("model:device-risk@2026.02", "feeds", "model:fraud") in await edges(api, "model:fraud")


async def versions_of(api, *model_ids):
    async with api.registry.read() as connection:
        return {one: [entry.version.version for entry in await versions.page(connection, one, 10)] for one in model_ids}


async def test_a_run_makes_versions_only_of_models_that_name_its_flow(api, flows, discoverer, caplog):
    # The run of DeviceRiskFlow says that it has made device-risk.
    await registered(api, Model("mine", flow="DeviceRiskFlow"), Model("device-risk", flow="AnotherFlow"))
    await discoverer.follow_flows()
    assert await versions_of(api, "mine", "device-risk") == {"mine": [], "device-risk": []}
    run = f"DeviceRiskFlow/{flows.ids['DeviceRiskFlow']}"
    sentence = "The flow of device-risk is AnotherFlow, not DeviceRiskFlow. Set it to DeviceRiskFlow first."
    assert f"{run} makes no version of device-risk: {sentence}" in caplog.messages


AS_ITS_FLOW_S = ("feature:payments/count_7d", "feeds", "flow:metaflow/DeviceRiskFlow")


async def test_a_run_tells_the_graph_nothing_of_a_model_that_does_not_name_its_flow(api, flows, discoverer, caplog):
    await registered(api, Model("mine", flow="DeviceRiskFlow"), Model("device-risk", flow="AnotherFlow"))
    await discoverer.follow_flows()
    run = f"DeviceRiskFlow/{flows.ids['DeviceRiskFlow']}"
    said = f"That {run} has made device-risk is left out of the lineage: its flow is not the model's."
    assert said in caplog.messages
    theirs = ["model:device-risk", "model:device-risk@2026.02"]
    assert await api.lineage.graph.store.nodes(theirs) == {}
    assert AS_ITS_FLOW_S in await edges(api, "flow:metaflow/DeviceRiskFlow"), "what it says of its own flow stays"
    written = ("flow:metaflow/DeviceRiskFlow", "produces", "dataset:s3%3A%2F%2Flake/scores%2Fdevice-risk")
    assert written in await edges(api, "flow:metaflow/DeviceRiskFlow", "downstream")


@pytest.mark.parametrize(
    "asked", [{}, {"model_id": "mine", "version": "1"}], ids=["upstream of another", "named by a version"]
)
async def test_nor_does_a_run_that_is_asked_for_unless_a_version_of_that_model_names_it(api, flows, discoverer, asked):
    run = f"DeviceRiskFlow/{flows.ids['DeviceRiskFlow']}"
    await registered(api, Model("mine"), ("mine", ModelVersion("1", training_run=run)), Model("device-risk"))
    await api.lineage.discoveries.ask([Discovery(pathspec=run, **asked)], api.clock)
    assert await discoverer.discover_due(full_share) == 1
    assert await edges(api, "model:device-risk") == set()
    assert AS_ITS_FLOW_S in await edges(api, "flow:metaflow/DeviceRiskFlow")
    await registered(api, ("device-risk", ModelVersion("9", training_run=run)))
    again = Discovery(pathspec=run, model_id="device-risk", version="9")
    await api.lineage.discoveries.ask([again], api.clock)
    await discoverer.discover_due(full_share)
    assert ("flow:metaflow/DeviceRiskFlow", "produces", "model:device-risk") in await edges(api, "model:device-risk")


async def test_of_a_model_that_nobody_has_registered_a_run_upstream_may_tell(api, flows, discoverer):
    await api.lineage.discoveries.ask([Discovery(pathspec=f"DeviceRiskFlow/{flows.ids['DeviceRiskFlow']}")], api.clock)
    await discoverer.discover_due(full_share)
    assert ("feature:payments/count_7d", "feeds", "model:device-risk") in await edges(api, "model:device-risk")


async def test_each_model_of_a_flow_gets_a_version_of_a_run_that_names_none(api, flows, discoverer):
    await registered(api, *(Model(name, flow="LimitsFlow") for name in "ab"), Model("c", flow="FraudFlow"), Model("fraud"))
    await discoverer.follow_flows()
    run = flows.ids["LimitsFlow"]
    assert await versions_of(api, "a", "b", "c", "fraud") == {"a": [run], "b": [run], "c": [], "fraud": []}


async def test_a_run_that_is_a_version_already_is_not_made_another(api, flows, discoverer):
    run = f"FraudFlow/{flows.ids['FraudFlow']}"
    other = ModelVersion("0.9", hyperparameters={"training_run": "FraudFlow/1"}, training_run="FraudFlow/12")
    mine = ModelVersion("1.0", training_run=run)
    await registered(api, Model("fraud", flow="FraudFlow"), ("fraud", other), ("fraud", mine))
    await discoverer.follow_flows()
    assert sorted((await versions_of(api, "fraud"))["fraud"]) == ["0.9", "1.0"]
    async with api.registry.read() as connection:
        assert (await versions.of_run(connection, "fraud", run)).version == mine
        assert await versions.of_run(connection, "fraud", "FraudFlow/1") is None


async def somebody_waits_for_a_lock(api):
    """Returns once a transaction waits for another; SQLite has one at a time, and others wait before they begin."""
    waits = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(10):
        while True:
            async with api.registry.read() as connection:
                if connection.dialect.name != "postgresql" or await connection.scalar(waits):
                    return
            await asyncio.sleep(0.01)


async def test_of_a_run_that_is_registered_by_hand_at_this_moment_no_other_version_comes(api):
    await registered(api, Model("m", flow="F"))
    made = VersionFromRun("m", "7", "F/7", 1_700_000_000_000)

    async def by_the_run():
        async with api.registry.change("metaflow") as change:
            await create_version(change, "F", made)

    async with asyncio.TaskGroup() as group, api.registry.change("ada") as change:
        await versions.create(change, "m", ModelVersion("1.0", training_run="F/7"))
        group.create_task(by_the_run())
        await somebody_waits_for_a_lock(api)
    assert await versions_of(api, "m") == {"m": ["1.0"]}


async def test_a_run_that_metaflow_does_not_know_yet_is_asked_for_again(api, discoverer):
    api.discoverer = discoverer
    client = api.as_()
    await client.post("/v1/models", json={"model_id": "m"})
    await client.post("/v1/models/m/versions", json={"version": "1", "training_run": "FraudFlow/0"})
    told = (await client.get("/v1/models/m/versions/1/discovery")).json()
    assert (told["state"], told["attempts"], told["problem"]) == ("pending", 1, "Metaflow knows no run FraudFlow/0.")


def open_again(flows, root, flow):
    """The home of the flows' runs as it was when the end step of one was at its last line; gives what it wrote afterwards."""
    shutil.copytree(flows.root, root)
    (end,) = (root / flow / flows.ids[flow] / "end").glob("*/_meta")
    late = [file for part in ("*_artifact_*", "sysmeta_attempt_ok*", "sysmeta_attempt-done*") for file in end.glob(part)]
    written = {file: file.read_bytes() for file in late}
    for file in late:
        file.unlink()
    return written


async def test_a_flow_that_registers_its_own_version_is_asked_for_until_it_has_ended(api, flows, tmp_path):
    written = open_again(flows, tmp_path / "m", "DeviceRiskFlow")
    api.discoverer = Discoverer(api.registry, api.lineage, MetaflowFolder(tmp_path / "m"))
    run = f"DeviceRiskFlow/{flows.ids['DeviceRiskFlow']}"
    client = api.as_()
    await client.post("/v1/models", json={"model_id": "device-risk", "flow": "DeviceRiskFlow"})
    await client.post("/v1/models/device-risk/versions", json={"version": "9", "training_run": run})
    told = (await client.get("/v1/models/device-risk/versions/9/discovery")).json()
    assert (told["state"], told["problem"]) == ("pending", f"{run} has not ended well yet.")
    for file, content in written.items():
        file.write_bytes(content)
    api.clock += FIRST_WAIT_MS
    assert await api.discoverer.discover_due(full_share) == 1
    told = (await client.get("/v1/models/device-risk/versions/9/discovery")).json()
    assert (told["state"], told["problem"]) == ("done", "")
    assert ("feature:payments/count_7d", "feeds", "model:device-risk") in await edges(api, "model:device-risk")
    await api.discoverer.follow_flows()
    async with api.registry.read() as connection:
        made = await versions.page(connection, "device-risk", 10)
    assert [one.version.version for one in made] == ["9"], "the run has its version already"


async def test_a_run_that_does_not_end_well_is_taken_as_it_is_after_two_weeks(api, flows, discoverer):
    api.discoverer = discoverer
    run = f"BrokenFlow/{flows.ids['BrokenFlow']}"
    client = api.as_()
    await client.post("/v1/models", json={"model_id": "broken"})
    await client.post("/v1/models/broken/versions", json={"version": "1", "training_run": run})
    api.clock += GIVE_UP - HOUR
    assert await discoverer.discover_due(full_share) == 1
    assert await api.lineage.discoveries.counts() == {"pending": 1}
    api.clock += 2 * HOUR
    assert await discoverer.discover_due(full_share) == 1
    told = (await client.get("/v1/models/broken/versions/1/discovery")).json()
    assert (told["state"], told["problem"]) == (
        "done", f"{run} has not ended well in 14 days: what it told until then was taken.",
    )  # fmt: skip
    assert ("flow:metaflow/BrokenFlow", "produces", "model:broken") in await edges(api, "model:broken")


async def test_a_run_is_asked_for_by_each_version_that_names_it_whoever_asked_before(api, flows, discoverer):
    api.discoverer = discoverer
    run = f"FeatureFlow/{flows.ids['FeatureFlow']}"
    client = api.as_()
    await api.lineage.discoveries.ask([Discovery(pathspec=run, depth=1)], api.clock)
    await discoverer.discover_due(full_share)
    for model, version in (("one", "1"), ("one", "2"), ("two", "1")):
        await client.post("/v1/models", json={"model_id": model})
        await client.post(f"/v1/models/{model}/versions", json={"version": version, "training_run": run})
        told = (await client.get(f"/v1/models/{model}/versions/{version}/discovery")).json()
        assert (told["run"], told["state"]) == (run, "done")
        source = "dataset:s3%3A%2F%2Flake/raw%2Fpayments"
        assert (source, "feeds", f"model:{model}@{version}") in await edges(api, f"model:{model}@{version}")
    assert await api.lineage.discoveries.counts() == {"done": 4}


async def test_a_parameter_that_cannot_be_written_is_left_out_alone(api, flows, discoverer, monkeypatch, caplog):
    await registered(api, Model("fraud", flow="FraudFlow"))
    gather = poll.gather_run

    async def strange(runs, record):
        run = await gather(runs, record)
        run.parameters |= {"bad": "\ud800"}
        return run

    monkeypatch.setattr(poll, "gather_run", strange)
    await discoverer.follow_flows()
    async with api.registry.read() as connection:
        (entry,) = await versions.page(connection, "fraud", 10)
    assert entry.version.hyperparameters == {"depth": 6}
    assert [one for one in caplog.messages if "no version can have them: 'bad'" in one]


async def test_a_version_without_a_run_has_no_discovery_and_other_systems_runs_are_not_asked_for(api, discoverer):
    api.discoverer = discoverer
    client = api.as_()
    await client.post("/v1/models", json={"model_id": "m"})
    await client.post("/v1/models/m/versions", json={"version": "1", "training_run": "mlflow:123"})
    assert (await client.get("/v1/models/m/versions/1/discovery")).status_code == 404
    assert (await client.get("/v1/models/m/versions/2/discovery")).status_code == 404


def test_a_run_that_no_version_can_be_made_of_is_refused_with_a_sentence():
    made = VersionFromRun("m", "7", "F/7", 1_700_000_000_000, artifact_uri="x" * 5_000)
    with pytest.raises(RunwayError, match="The run F/7 cannot be a version"):
        as_version(made)
    good = as_version(VersionFromRun("m", "7", "F/7", 1_700_000_000_000))
    assert good.trained_at.isoformat() == "2023-11-14T22:13:20+00:00"
