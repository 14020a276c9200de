"""Edges: models in several versions, columns of what has several names, and how much of other names is kept."""

import json

import pytest

from runway_streams.dependency.openlineage.edges import MAX_ALIASES
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.reports import event_report, static_report
from runway_streams.dependency.report import MAX_FACTS, Report, check_report
from tests.runway_streams.dependency.openlineage.test_reports import concluded, event, read, told

FLOW = "flow:etl/daily"


def model(version: str | None = None, name: str = "fraud", **facets) -> dict:
    facets["datasetType"] = {"datasetType": "MODEL"}
    if version:
        facets["version"] = {"datasetVersion": version}
    return {"namespace": "mlflow", "name": name, "facets": facets}


def columns(*sources: tuple[str, str, str], column: str = "weights") -> dict:
    made = [{"namespace": namespace, "name": name, "field": field} for namespace, name, field in sources]
    return {"columnLineage": {"fields": {column: {"inputFields": made}}}}


def using(inputs: list, outputs: list, kind: str = "COMPLETE", second: int = 1) -> dict:
    return event(kind, second) | {"inputs": inputs, "outputs": outputs}


def of_kind(report: Report, kind: str) -> set:
    return {(claim.upstream, claim.downstream) for claim in report.claims if claim.kind == kind}


def test_a_version_is_read_and_the_next_one_made():
    report = concluded(told(using([model("6")], [model("7")])))
    assert of_kind(report, "feeds") == {("model:fraud@6", FLOW)}
    assert of_kind(report, "produces") == {(FLOW, "model:fraud@7")}
    assert of_kind(report, "version_of") == {("model:fraud@6", "model:fraud"), ("model:fraud@7", "model:fraud")}


def test_two_versions_are_made_from_columns_of_their_own():
    report = concluded(told(using([], [
        model("7", **columns(("db", "a", "x"))), model("8", **columns(("db", "b", "y"))),
    ])))  # fmt: skip
    assert of_kind(report, "produces") == {(FLOW, "model:fraud@7"), (FLOW, "model:fraud@8")}
    assert {("feature:db/a.x", "model:fraud@7"), ("feature:db/b.y", "model:fraud@8")} <= of_kind(report, "feeds")
    assert ("feature:db/a.x", "model:fraud@8") not in of_kind(report, "feeds")


def test_what_is_made_from_a_model_is_made_from_the_version_that_is_read():
    report = concluded(told(using([model("6")], [model("7"), model("8", **columns(("mlflow", "fraud", "weights")))])))
    between = {edge for edge in of_kind(report, "feeds") if edge[1] != FLOW}
    assert between == {("model:fraud@6", "model:fraud@8")}


def test_versions_of_a_static_event():
    job = {
        "eventTime": "2026-03-02T06:00:00Z", "producer": "p", "job": {"namespace": "etl", "name": "daily"},
        "schemaURL": "x#/$defs/JobEvent", "inputs": [model("6")], "outputs": [model("7")],
    }  # fmt: skip
    report = static_report(read(job), LeftOut())
    assert of_kind(report, "feeds") == {("model:fraud@6", FLOW)}
    assert of_kind(report, "produces") == {(FLOW, "model:fraud@7")}


@pytest.mark.parametrize("first", [0, 1])
def test_a_model_that_was_told_of_without_its_version_first_is_that_version(first):
    events = [using([], [model()], "START", 0), using([], [model("7")])]
    report = concluded(told(events[first], events[1 - first]))
    assert of_kind(report, "produces") == {(FLOW, "model:fraud@7")}
    late, every = told(events[0]), told(*events)
    assert event_report(late, every).claims == []
    unversioned = concluded(told(using([model()], [model("7")])))
    assert of_kind(unversioned, "feeds") == {("model:fraud", FLOW)}


def test_a_type_and_a_version_that_come_apart():
    typed = model()
    versioned = {"namespace": "mlflow", "name": "fraud", "facets": {"version": {"datasetVersion": "7"}}}
    report = concluded(told(using([], [typed], "START", 0), using([], [versioned])))
    assert of_kind(report, "produces") == {(FLOW, "model:fraud@7")}


def test_snapshots_of_a_table_are_one_table():
    tables = [
        {"namespace": "db", "name": "t", "facets": {"version": {"datasetVersion": version}}} for version in ("100", "101")
    ]
    report = concluded(told(using(tables[:1], tables)))
    assert of_kind(report, "feeds") == {("dataset:db/t", FLOW)}
    assert of_kind(report, "produces") == {(FLOW, "dataset:db/t")}


def test_a_late_event_is_told_by_the_names_that_the_others_gave():
    named = {"symlinks": {"identifiers": [{"namespace": "hive", "name": "t", "type": "TABLE"}]}}
    start, done = event("START", 0, inputs=["a"]), event("COMPLETE", 9)
    done["inputs"] = [{"namespace": "db", "name": "a", "facets": named}]
    report = event_report(told(start), told(start, done))
    assert of_kind(report, "feeds") == {("dataset:hive/t", FLOW)}
    assert (report.at, report.whole_inputs) == (told(start).last, [])


def test_other_names_are_kept_as_far_as_they_fit():
    """Each event's could be told by itself: what a report of them all cannot hold would be refused for ever."""
    symlinks = [{"namespace": "hive", "name": "t", "type": "TABLE"}]
    outputs = [
        {"namespace": "\U0001f600" * 180, "name": f"{number:03}" + "\U0001f600" * 150, "facets": {"symlinks": {"identifiers": symlinks}}}
        for number in range(2 * MAX_ALIASES)
    ]  # fmt: skip
    report = concluded(told(*(using([], [one], second=number) for number, one in enumerate(outputs))))
    check_report(report)
    (node,) = [node for node in report.nodes if node.facts]
    kept = node.facts["also_known_as"]
    assert 0 < len(kept) < MAX_ALIASES
    assert MAX_FACTS - 4_096 < len(json.dumps(node.facts)) <= MAX_FACTS + MAX_ALIASES
