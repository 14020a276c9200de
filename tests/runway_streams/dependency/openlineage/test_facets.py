"""Facets: a wrong one is left out by itself, is named, and what it may have told does not end."""

import json

import pytest

from runway_streams.dependency.openlineage.event import read_event
from runway_streams.dependency.openlineage.facets import MAX_NOTE, MAX_NOTES, LeftOut
from runway_streams.dependency.openlineage.reports import static_report
from runway_streams.dependency.openlineage.run import RunTold, merge, told_by
from runway_streams.dependency.report import MAX_CLAIMS, check_report
from schemas.openlineage import MAX_COLUMNS, MAX_DATASETS, MAX_EVENT_BYTES, MAX_NAME, MAX_SYMLINKS
from tests.runway_streams.dependency.openlineage.test_reports import RUN, concluded, event, read

PARENT = {"run": {"runId": RUN[:-1] + "9"}, "job": {"namespace": "etl", "name": "dag"}}


def taken(document: dict) -> tuple[RunTold, list[str]]:
    left_out = LeftOut()
    return told_by(read(document), left_out), left_out.notes


def with_dataset(facets) -> dict:
    return event(inputs=["a"]) | {"outputs": [{"namespace": "db", "name": "b", "facets": facets}]}


@pytest.mark.parametrize(("facets", "where"), [
    ([], "outputs[0].facets"),
    ({"version": {"datasetVersion": 7}}, "outputs[0].facets.version"),
    ({"version": "7"}, "outputs[0].facets.version"),
    ({"version": {"datasetVersion": "x" * (MAX_NAME + 1)}}, "outputs[0].facets.version"),
    ({"datasetType": {"datasetType": ["MODEL"]}}, "outputs[0].facets.datasetType"),
    ({"symlinks": {"identifiers": {}}}, "outputs[0].facets.symlinks"),
    ({"symlinks": {"identifiers": [{"namespace": "n", "name": "m"}] * (MAX_SYMLINKS + 1)}}, "outputs[0].facets.symlinks"),
    ({"symlinks": {"identifiers": [{"namespace": "", "name": "m", "type": "TABLE"}]}}, "outputs[0].facets.symlinks"),
    ({"columnLineage": {"fields": []}}, "outputs[0].facets.columnLineage"),
    ({"columnLineage": {"fields": {"c": {"inputFields": [{"namespace": "d", "name": "e"}]}}}}, "outputs[0].facets.columnLineage"),
    ({"columnLineage": {"fields": {"c": {"inputFields": [{"namespace": "d", "name": "\0", "field": "f"}]}}}}, "outputs[0].facets.columnLineage"),
    ({"columnLineage": {"fields": {f"c{number}": {} for number in range(MAX_COLUMNS + 1)}}}, "outputs[0].facets.columnLineage"),
])  # fmt: skip
def test_a_wrong_facet_of_a_dataset_is_left_out_and_the_rest_is_told(facets, where: str):
    run, notes = taken(with_dataset(facets))
    assert [note.partition(" is left out: ")[0] for note in notes] == [where]
    report = concluded(run)
    check_report(report)
    claims = {(claim.upstream, claim.downstream) for claim in report.claims}
    assert claims >= {("dataset:db/a", "flow:etl/daily"), ("flow:etl/daily", "dataset:db/b")}
    assert report.whole_inputs == report.whole_outputs == [], "what could not be read may have been told"


@pytest.mark.parametrize(("facets", "where"), [
    ("none", "run.facets"),
    ({"parent": 5}, "run.facets.parent"),
    ({"parent": PARENT | {"job": {"namespace": "etl"}}}, "run.facets.parent"),
    ({"parent": PARENT | {"job": {"namespace": "etl", "name": "\n"}}}, "run.facets.parent"),
    ({"airflow": {"taskInstance": {"map_index": "first"}}}, "run.facets.airflow"),
    ({"airflow_mappedTask": {"mapIndex": 1 << 70}}, "run.facets.airflow_mappedTask"),
])  # fmt: skip
def test_a_wrong_facet_of_a_run_is_left_out(facets, where: str):
    run, notes = taken(event(inputs=["a"]) | {"run": {"runId": RUN, "facets": facets}})
    assert [note.partition(" is left out: ")[0] for note in notes] == [where]
    assert list(run.datasets) == ["dataset:db/a"]
    assert (run.parent, run.map_index, run.cut) == (None, None, True)


def test_of_a_job_and_of_a_static_event_too():
    job = {"namespace": "etl", "name": "daily", "facets": {"feast_featureView": {"name": "b", "features": "all"}}}
    _, notes = taken(event(outputs=["b"]) | {"job": job})
    assert notes[0].startswith("job.facets.feast_featureView is left out: ")
    left_out = LeftOut()
    dataset = {"namespace": "db", "name": "b", "facets": {"columnLineage": 5}}
    report = static_report(read({"eventTime": "2026-03-02T06:00:00Z", "producer": "p", "dataset": dataset}), left_out)
    assert (report.node_ids(), report.whole_inputs) == ({"dataset:db/b"}, [])
    assert left_out.notes[0].startswith("dataset[0].facets.columnLineage is left out: ")


@pytest.mark.parametrize("facets", [None, {}, {"parent": None}, {"parent": {"_deleted": True}}, {"mine": [1], "other": "x"}])
def test_what_we_do_not_read_may_be_anything(facets):
    run, notes = taken(event(inputs=["a"]) | {"run": {"runId": RUN, "facets": facets}, "schemaURL": 5, "custom": []})
    assert (notes, run.cut) == ([], False)


def test_the_id_of_a_parent_that_is_no_uuid_is_nobody_s_and_its_job_is_told():
    facets = {"parent": PARENT | {"run": {"runId": "scheduled__2026"}}}
    run, notes = taken(event(inputs=["a"]) | {"run": {"runId": RUN, "facets": facets}})
    assert (run.parent.value, run.parent_run, notes) == ("flow:etl/dag", None, [])


def test_a_column_whose_name_is_too_long_is_left_out_alone_and_nothing_is_lost_by_it():
    long = "x" * (MAX_NAME + 1)
    source = {"namespace": "db", "name": "a", "field": "c"}
    made = {long: {"inputFields": [source]}, "": {}, "d": {"inputFields": [source, source | {"field": long}]}}
    run, notes = taken(with_dataset({"columnLineage": {"fields": made}}) | {"eventType": "COMPLETE"})
    assert len(notes) == 3
    report = concluded(run)
    assert ("feature:db/a.c", "feature:db/b.d") in {(claim.upstream, claim.downstream) for claim in report.claims}
    assert "flow:etl/daily" in report.whole_inputs, "no column of that name is in any graph"


def test_notes_are_few_and_short():
    outputs = [{"namespace": "db", "name": f"t{number}", "facets": {"version": 5}} for number in range(100)]
    _, notes = taken(event() | {"outputs": outputs})
    assert len(notes) == MAX_NOTES + 1
    assert notes[-1] == f"{100 - MAX_NOTES} more are left out."
    long = LeftOut()
    long.note("x" * 1_000, "y" * 1_000)
    assert len(long.notes[0]) == MAX_NOTE


def test_bounds_fit_each_other():
    """As many datasets, or columns with a source each, as are allowed fit into an event, and what is kept of them into a run."""
    namespace, name = "n" * 64, "t" * 59
    datasets = [{"namespace": namespace, "name": f"{name}{number:05}"} for number in range(MAX_DATASETS)]
    source = {"namespace": namespace, "name": name, "field": "c" * 64}
    made = {f"{number:05}" + "c" * 59: {"inputFields": [source]} for number in range(MAX_COLUMNS)}
    wide = {"namespace": namespace, "name": name, "facets": {"columnLineage": {"fields": made}}}
    for document in (event() | {"inputs": datasets}, event() | {"outputs": [wide]}):
        raw = json.dumps(document).encode()
        assert len(raw) <= MAX_EVENT_BYTES
        left_out = LeftOut()
        run = told_by(read_event(raw), left_out)
        assert left_out.notes == []
        report = concluded(merge(run, run))
        check_report(report)
        assert len(report.claims) == MAX_CLAIMS
