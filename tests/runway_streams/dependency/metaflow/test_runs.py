"""Real runs of real flows, by either adapter: what is gathered, what lineage they tell, and which versions they make."""

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from runway_streams.dependency.edge import Claim
from runway_streams.dependency.metaflow.lineage import IN_GRAPH, IN_TAGS, Told, told_by
from runway_streams.dependency.metaflow.local import MetaflowFolder
from runway_streams.dependency.metaflow.run import MetaflowRun, gather_run
from runway_streams.dependency.metaflow.runs import BadName, MetaflowRuns, RunRecord
from runway_streams.dependency.metaflow.version import Interval, version_of_run
from runway_streams.dependency.report import check_report
from tests.metaflow_flows import FRAUD_TAGS, MetaflowHome


async def gathered(metaflow: MetaflowRuns, flows: MetaflowHome, flow: str) -> MetaflowRun:
    record = await metaflow.run(flow, flows.ids[flow])
    assert record is not None
    return await gather_run(metaflow, record)


def edges(told: Told) -> set[tuple[str, str, str]]:
    for report in told.reports:
        check_report(report)
    return {(claim.upstream, claim.kind, claim.downstream) for report in told.reports for claim in report.claims}


def the_run(flows: MetaflowHome, flow: str) -> str:
    return f"run:metaflow/{flow}%2F{flows.ids[flow]}"


async def test_runs_are_listed_from_a_time_on(metaflow, flows):
    (run,) = await metaflow.runs("FraudFlow")
    assert (run.id, set(run.tags)) == (flows.ids["FraudFlow"], set(FRAUD_TAGS))
    assert await metaflow.runs("FraudFlow", run.ts_epoch) == [run]
    assert await metaflow.runs("FraudFlow", run.ts_epoch + 1) == []


async def test_what_is_not_there_is_nothing_and_what_is_no_name_is_refused(metaflow, flows):
    assert await metaflow.runs("NoFlow") == []
    assert await metaflow.run("FraudFlow", "1") is None
    assert await metaflow.tasks("FraudFlow", "1", "end") == []
    if isinstance(metaflow, MetaflowFolder):  # the service of these tests crashes when asked for artifacts of no task
        assert await metaflow.artifacts("FraudFlow", "1", "end", "3") == []
    assert await metaflow.metadata("FraudFlow", "1", "end", "3") == []
    for bad in ("..", "../FraudFlow", "a/b", "", "%2e%2e", "a\n", "x" * 300):
        with pytest.raises(BadName):
            await metaflow.run(bad, "1")
        with pytest.raises(BadName):
            await metaflow.run("FraudFlow", bad)


async def test_a_feature_flow_makes_features_of_a_dataset(metaflow, flows):
    told = told_by(await gathered(metaflow, flows, "FeatureFlow"))
    assert edges(told) == {
        ("dataset:s3%3A%2F%2Flake/raw%2Fpayments", "feeds", "flow:metaflow/FeatureFlow"),
        ("flow:metaflow/FeatureFlow", "produces", "feature:payments/amount"),
        ("flow:metaflow/FeatureFlow", "produces", "feature:payments/count_7d"),
    }
    assert told.notes == []
    assert told.reports[0].whole_inputs == told.reports[0].whole_outputs == ["flow:metaflow/FeatureFlow"]
    assert version_of_run(await gathered(metaflow, flows, "FeatureFlow")) is None


async def test_the_upstream_model_tells_all_by_its_artifact(metaflow, flows):
    run = await gathered(metaflow, flows, "DeviceRiskFlow")
    told, flow, made = told_by(run), "flow:metaflow/DeviceRiskFlow", the_run(flows, "DeviceRiskFlow")
    assert edges(told) == {
        (flow, "produces", "model:device-risk"),
        (flow, "produces", made),
        (made, "produces", "model:device-risk@2026.02"),
        ("model:device-risk@2026.02", "version_of", "model:device-risk"),
        ("feature:payments/count_7d", "feeds", "model:device-risk"),
        ("feature:payments/count_7d", "feeds", "model:device-risk@2026.02"),
        ("model:device-risk", "produces", "dataset:s3%3A%2F%2Flake/scores%2Fdevice-risk"),
        ("flow:metaflow/FeatureFlow", "triggers", flow),
        (the_run(flows, "FeatureFlow"), "triggers", made),
    }
    assert told.notes == []
    lineage, triggers, graph = told.reports
    assert {(claim.source, claim.confidence) for claim in lineage.claims} == {("declared", 1.0), ("observed", 1.0)}
    assert {claim.source for claim in triggers.claims} == {"observed"}
    assert graph.claims == [Claim("flow:metaflow/FeatureFlow", flow, "triggers", "declared", IN_GRAPH)]
    assert lineage.at == run.finished_at > run.started_at


async def test_the_upstream_model_is_a_version_with_everything(metaflow, flows):
    made = version_of_run(await gathered(metaflow, flows, "DeviceRiskFlow"))
    assert (made.model_id, made.version, made.notes) == ("device-risk", "2026.02", [])
    assert made.training_run == f"DeviceRiskFlow/{flows.ids['DeviceRiskFlow']}"
    assert made.hyperparameters == {"rate": 0.25, "kind": "tree"}
    assert made.metrics == {"auc": 0.91}
    assert made.training_interval == Interval(1_767_225_600_000, 1_769_904_000_000)
    stored = Path(unquote(urlsplit(made.artifact_uri).path))
    assert stored.is_relative_to(flows.root)
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == made.artifact_sha256


async def test_a_downstream_model_tells_by_tags(metaflow, flows):
    run = await gathered(metaflow, flows, "FraudFlow")
    told, flow, version = told_by(run), "flow:metaflow/FraudFlow", f"model:fraud@{flows.ids['FraudFlow']}"
    made = the_run(flows, "FraudFlow")
    inputs = ["feature:payments/amount", "model:device-risk@2026.02"]
    assert edges(told) == {
        (flow, "produces", "model:fraud"),
        (flow, "produces", made),
        (made, "produces", version),
        (version, "version_of", "model:fraud"),
        *((one, "feeds", "model:fraud") for one in inputs),
        *((one, "feeds", version) for one in inputs),
    }
    fed = [claim for claim in told.reports[0].claims if claim.kind == "feeds"]
    assert {(claim.source, claim.confidence) for claim in fed} == {("declared", IN_TAGS)}
    (note,) = told.notes
    assert note.startswith(f"The address in the artifact model of FraudFlow/{run.id} is kept without its user")


async def test_without_artifacts_of_ours_numbers_are_metrics_and_the_model_lies_where_it_says(metaflow, flows):
    made = version_of_run(await gathered(metaflow, flows, "FraudFlow"))
    assert (made.metrics, made.hyperparameters) == ({"auc": 0.93, "rows": 1000.0}, {"depth": 6})
    assert (made.artifact_uri, made.artifact_sha256) == ("s3://models/fraud/7.bin", None), "without what may be secret"
    assert made.training_interval is None


async def test_a_flow_with_a_bad_artifact_is_told_of_by_its_graph_and_nothing_is_unpickled(metaflow, flows):
    run = await gathered(metaflow, flows, "LimitsFlow")
    told, flow = told_by(run, "limits"), "flow:metaflow/LimitsFlow"
    assert {edge for edge in edges(told) if edge[1] == "triggers"} == {
        ("flow:metaflow/DeviceRiskFlow", "triggers", flow),
        ("flow:metaflow/FraudFlow", "triggers", flow),
    }
    (note,) = told.notes
    assert note.endswith("cannot be read. It is not a plain value: it holds STACK_GLOBAL.")
    assert {claim.source for claim in told.reports[0].claims if claim.downstream == "model:limits"} == {"inferred"}
    assert told.reports[0].whole_inputs == []
    made = version_of_run(run, "limits")
    assert (made.version, len(made.artifact_sha256)) == (flows.ids["LimitsFlow"], 64)
    assert not flows.trap.exists()


async def test_a_failed_run_makes_no_version(metaflow, flows):
    run = await gathered(metaflow, flows, "BrokenFlow")
    assert run.finished_at is None
    assert version_of_run(run, "broken") is None
    assert edges(told_by(run, "broken")) == {("flow:metaflow/BrokenFlow", "produces", "model:broken")}


async def test_a_run_whose_failure_was_caught_is_no_success(metaflow, flows):
    run = await gathered(metaflow, flows, "CaughtFlow")
    assert run.finished_at is None
    assert version_of_run(run, "caught") is None


async def test_a_run_ends_when_all_of_it_is_written(metaflow, flows):
    run = await gathered(metaflow, flows, "FraudFlow")
    (end,) = await metaflow.tasks("FraudFlow", run.id, "end")
    written = await metaflow.metadata("FraudFlow", run.id, "end", str(end.task_id))
    assert run.finished_at == max(one.ts_epoch for one in written if one.field_name == "attempt-done")


async def test_for_lineage_nothing_is_hashed_and_less_is_read(metaflow, flows, monkeypatch):
    record = await metaflow.run("DeviceRiskFlow", flows.ids["DeviceRiskFlow"])
    read = []
    monkeypatch.setattr(metaflow.datastore, "_sha256", lambda flow, sha: pytest.fail("hashed"))
    stored = metaflow.datastore._read
    monkeypatch.setattr(metaflow.datastore, "_read", lambda flow, sha, limit: read.append(sha) or stored(flow, sha, limit))
    run = await gather_run(metaflow, record, lineage_only=True)
    assert len(read) == 2, "the graph and the lineage"
    assert (run.model_uri, run.parameters, run.metrics) == (None, {}, None)
    assert told_by(run) == told_by(await gathered_whole(metaflow, record, monkeypatch))


async def gathered_whole(metaflow: MetaflowRuns, record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> MetaflowRun:
    monkeypatch.undo()
    return await gather_run(metaflow, record)


async def test_without_a_datastore_the_rest_is_told(metaflow, flows):
    metaflow.datastore = None
    run = await gathered(metaflow, flows, "FraudFlow")
    assert (run.numbers, run.model_uri, run.graph) == ({}, None, None)
    assert version_of_run(run).model_id == "fraud"
    assert "Nobody has said where the datastore is." in run.notes[0]
