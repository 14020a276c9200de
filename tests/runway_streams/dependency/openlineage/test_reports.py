"""OpenLineage in: samples as producers send them become the expected edges, in any order and however often they come."""

import itertools
import json
from functools import reduce
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runway_streams.dependency.node import parse_node
from runway_streams.dependency.openlineage.event import MAX_BATCH, read_event, split_batch
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.reports import event_report, execution_report, run_report, static_report
from runway_streams.dependency.openlineage.run import RunTold, merge, told_by
from runway_streams.dependency.refusals import BadNode, BadReport
from runway_streams.dependency.report import MAX_CLAIMS, Report, check_report
from schemas.openlineage import MAX_DATASETS, MAX_EVENT_BYTES, RunEvent

SAMPLES = Path(__file__).parent
RUN = "01995c1d-0001-7000-8000-0000000000c1"


def sample(name: str) -> list:
    """The events of a file, decoded."""
    return [read_event(raw) for raw in split_batch((SAMPLES / f"{name}.json").read_bytes())]


def reports(events: list) -> list[Report]:
    """One report a run, or a static event."""
    runs: dict[str, RunTold] = {}
    found = [static_report(event, LeftOut()) for event in events if not isinstance(event, RunEvent)]
    for told in (told_by(event, LeftOut()) for event in events if isinstance(event, RunEvent)):
        runs[told.run] = merge(runs[told.run], told) if told.run in runs else told
    return found + [concluded(told) for told in runs.values()]


def concluded(run: RunTold) -> Report:
    """What is told of a run that is an execution by itself."""
    return execution_report([run]) if run.succeeded else run_report(run)


def edges(found: list[Report]) -> set[str]:
    """Readable edges: names decoded, the kind between them."""

    def show(node: str) -> str:
        name = parse_node(node)
        return node if name.type in ("model", "version") else f"{name.type}:{name.namespace}|{name.name}"

    return {f"{show(c.upstream)} -{c.kind}-> {show(c.downstream)}" for report in found for c in report.claims}


def event(kind: str = "COMPLETE", second: int = 0, inputs: list | None = None, outputs: list | None = None, **more) -> dict:
    return {
        "eventType": kind,
        "eventTime": f"2026-03-02T06:00:{second:02}Z",
        "producer": "https://example.com",
        "run": {"runId": RUN},
        "job": {"namespace": "etl", "name": "daily"},
        "inputs": [{"namespace": "db", "name": name} for name in inputs or ()],
        "outputs": [{"namespace": "db", "name": name} for name in outputs or ()],
        **more,
    }


def read(document: dict):
    return read_event(json.dumps(document).encode())


def told(*documents: dict) -> RunTold:
    return reduce(merge, [told_by(read(document), LeftOut()) for document in documents])


def test_airflow():
    assert edges(reports(sample("airflow"))) == {
        "flow:airflow-prod|flights_daily -triggers-> flow:airflow-prod|flights_daily.load",
        "dataset:postgres://warehouse:5432|ops.public.raw_flights -feeds-> flow:airflow-prod|flights_daily.load",
        "flow:airflow-prod|flights_daily.load -produces-> dataset:postgres://warehouse:5432|ops.public.flights",
        *(
            f"dataset:postgres://warehouse:5432|ops.public.{table} -feeds-> feature:postgres://warehouse:5432|ops.public.{table}.{column}"
            for table, column in (
                ("flights", "tail"), ("flights", "delay"),
                ("raw_flights", "tail"), ("raw_flights", "dep_delay"), ("raw_flights", "taxi_out"),
            )
        ),
        *(
            f"feature:postgres://warehouse:5432|ops.public.raw_flights.{one} -feeds-> feature:postgres://warehouse:5432|ops.public.flights.{other}"
            for one, other in (("tail", "tail"), ("dep_delay", "delay"), ("taxi_out", "delay"))
        ),
    }  # fmt: skip


def test_spark_by_the_name_of_the_table():
    flow = "flow:spark-prod|build_features.execute_insert_into_hadoop_fs_relation_command.warehouse_delays"
    hive = "hive://metastore:9083|ml."
    found = reports(sample("spark"))
    assert edges(found) == {
        f"flow:spark-prod|build_features -triggers-> {flow}",
        f"dataset:{hive}flights -feeds-> {flow}",
        f"{flow} -produces-> dataset:{hive}delays",
        f"dataset:{hive}delays -feeds-> feature:{hive}delays.mean_delay",
        f"dataset:{hive}flights -feeds-> feature:{hive}flights.delay",
        f"dataset:{hive}flights -feeds-> feature:{hive}flights.carrier",
        f"feature:{hive}flights.delay -feeds-> feature:{hive}delays.mean_delay",
        f"feature:{hive}flights.carrier -feeds-> dataset:{hive}delays",
    }
    (report,) = found
    assert [node.facts for node in report.nodes if node.facts] == [
        {"also_known_as": ["dataset:s3%3A%2F%2Flake/warehouse%2Fdelays"]},
        {"also_known_as": ["dataset:s3%3A%2F%2Flake/warehouse%2Fflights"]},
    ]


def test_dbt_whose_failed_model_ends_nothing():
    found = {report.reporter: report for report in reports(sample("dbt"))}
    good, bad = (
        found[f"openlineage:dbt-prod/ops.marts.flights_project.{name}.build.run"] for name in ("carriers", "airports")
    )
    assert good.whole_inputs == good.whole_outputs == ["flow:dbt-prod/ops.marts.flights_project.carriers.build.run"]
    assert bad.whole_inputs == bad.whole_outputs == []
    assert "flow:dbt-prod|dbt-run-flights -triggers-> flow:dbt-prod|ops.marts.flights_project.airports.build.run" in edges(
        [bad]
    )
    assert len(bad.claims) == 4


def test_feast_tells_of_features():
    found = edges(reports(sample("feast")))
    assert "dataset:driver_ranking|driver_stats_source -feeds-> flow:driver_ranking|feature_view_driver_stats" in found
    assert "dataset:driver_ranking|driver_stats -feeds-> feature:driver_ranking|driver_stats.conv_rate" in found
    assert "dataset:driver_ranking|driver_stats -feeds-> flow:driver_ranking|feature_service_ranking_v1" in found
    assert len(found) == 7


def test_a_dataset_of_type_model_is_a_version():
    assert edges(reports(sample("model"))) == {
        "dataset:hive://metastore:9083|ml.delays -feeds-> flow:training|train_flight_delay",
        "flow:training|train_flight_delay -produces-> model:flight-delay@7",
        "model:flight-delay@7 -version_of-> model:flight-delay",
        "dataset:hive://metastore:9083|ml.delays -feeds-> feature:hive://metastore:9083|ml.delays.mean_delay",
        "feature:hive://metastore:9083|ml.delays.mean_delay -feeds-> model:flight-delay@7",
        "model:flight-delay@7 -feeds-> flow:training|score",
        "flow:training|score -produces-> dataset:hive://metastore:9083|ml.predictions",
    }


def test_a_job_has_no_say_in_versions_that_it_does_not_use_any_more():
    training, scoring = reports(sample("model"))
    assert "model:flight-delay" in training.whole_inputs
    assert "model:flight-delay" in scoring.whole_inputs
    assert "model:flight-delay@7" in training.whole_inputs, "the columns that it was made from were told"
    failed = told(
        *json.loads((SAMPLES / "model.json").read_bytes())[:2], event("FAIL", 0) | {"eventTime": "2026-03-03T00:00:00Z"}
    )
    assert concluded(failed).whole_inputs == []


def test_static_events_are_declared():
    job, dataset = reports(sample("static"))
    assert {claim.source for claim in job.claims + dataset.claims} == {"declared"}
    assert job.reporter == "openlineage-job:bi/delays%20report"
    assert job.whole_inputs == job.whole_outputs == ["flow:bi/delays%20report"]
    assert dataset.reporter == "openlineage-dataset:bi/Delays%20%2F%20week%3A%201"
    assert "feature:hive%3A%2F%2Fmetastore%3A9083/ml.delays.mean_delay" in dataset.node_ids()
    assert "feature:bi/Delays%20%2F%20week%3A%201.late" in dataset.whole_inputs


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_every_sample_gives_reports_that_are_taken(name: str):
    for report in reports(sample(name)):
        check_report(report)


@pytest.mark.parametrize(("dataset", "node"), [
    ({"name": "fraud", "facets": {"datasetType": {"datasetType": "MODEL"}}}, "model:fraud"),
    ({"name": "no model/id", "facets": {"datasetType": {"datasetType": "MODEL"}, "version": {"datasetVersion": "1"}}}, "dataset:ns/no%20model%2Fid"),
    ({"name": "fraud", "facets": {"datasetType": {"datasetType": "MODEL"}, "version": {"datasetVersion": "a b"}}}, "dataset:ns/fraud"),
    ({"name": "fraud", "facets": {"datasetType": {"datasetType": "TABLE"}, "version": {"datasetVersion": "1"}}}, "dataset:ns/fraud"),
    ({"name": "path", "facets": {"symlinks": {"identifiers": [{"namespace": "n", "name": "p", "type": "LOCATION"}]}}}, "dataset:ns/path"),
    ({"name": "x", "facets": {"symlinks": {"_deleted": True}, "columnLineage": None, "mine": {"a": [1]}}}, "dataset:ns/x"),
    ({"name": "a:b/c d%é"}, "dataset:ns/a%3Ab%2Fc%20d%25%C3%A9"),
])  # fmt: skip
def test_names_of_datasets(dataset: dict, node: str):
    document = event(outputs=[]) | {"outputs": [{"namespace": "ns", **dataset}]}
    report = concluded(told(document))
    check_report(report)
    assert ("flow:etl/daily", node) in {(claim.upstream, claim.downstream) for claim in report.claims}


def test_wholes_of_a_run():
    start, done = event("START", 0, inputs=["a"]), event("COMPLETE", 9, outputs=["b"])

    def wholes(*events: dict) -> list[bool]:
        report = concluded(told(*events))
        return [bool(report.whole_inputs), bool(report.whole_outputs)]

    assert wholes(start) == [False, False]
    assert wholes(done) == [False, True], "its inputs may have come with a START that is still on its way"
    assert wholes(start, done) == [True, True]
    assert wholes(event("START"), event("COMPLETE", 9)) == [False, False], "an extractor that knows nothing"
    assert wholes(start, done, event("FAIL", 10)) == [False, False]
    assert wholes(start, event("FAIL", 8), done) == [True, True]
    assert wholes(start, event("ABORT", 9), done) == [False, False]


def test_edges_begin_when_they_were_first_seen_in_any_order():
    start, done = told(event("START", 0, inputs=["a"])), told(event("COMPLETE", 9, outputs=["b"]))

    def sightings(order: list[RunTold]) -> set:
        seen, merged = set(), None
        for one in order:
            merged = merge(merged, one) if merged else one
            for report in [event_report(one, merged), run_report(merged)]:
                seen |= {(claim.upstream, claim.downstream, report.at) for claim in report.claims}
        return seen

    assert sightings([start, done]) == sightings([done, start])


def test_a_job_triggers_no_run_of_itself_and_a_column_feeds_not_itself():
    self_made = {"fields": {"c": {"inputFields": [{"namespace": "db", "name": "a", "field": "c"}]}}}
    document = event(
        run={"runId": RUN, "facets": {"parent": {"job": {"namespace": "etl", "name": "daily"}, "run": {"runId": RUN}}}}
    )
    document["inputs"] = document["outputs"] = [{"namespace": "db", "name": "a", "facets": {"columnLineage": self_made}}]
    assert edges([concluded(told(document))]) == {
        "dataset:db|a -feeds-> flow:etl|daily", "flow:etl|daily -produces-> dataset:db|a", "dataset:db|a -feeds-> feature:db|a.c",
    }  # fmt: skip


HALVES = [
    ("run", "missing required field `run`"), ("job", "missing required field `job`"), ("eventTime", "missing required field `eventTime`"),
    ("producer", "missing required field `producer`"),
]  # fmt: skip


@pytest.mark.parametrize(("missing", "sentence"), HALVES)
def test_half_an_event_is_refused(missing: str, sentence: str):
    document = event()
    del document[missing]
    with pytest.raises(BadReport, match=sentence):
        read(document)


@pytest.mark.parametrize(("change", "where"), [
    ({"run": {"runId": "no uuid"}}, "$.run.runId"),
    ({"run": {}}, "$.run"),
    ({"job": {"namespace": "a"}}, "$.job"),
    ({"job": {"namespace": "a", "name": ""}}, "$.job.name"),
    ({"job": {"namespace": "a", "name": "x" * 513}}, "$.job.name"),
    ({"eventTime": "2026-03-02T06:00:00"}, "$.eventTime"),
    ({"eventTime": "yesterday"}, "$.eventTime"),
    ({"eventType": "DONE"}, "$.eventType"),
    ({"inputs": [{"namespace": "a"}]}, "$.inputs[0]"),
    ({"inputs": {}}, "$.inputs"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(change: dict, where: str):
    with pytest.raises(BadReport) as refused:
        read(event() | change)
    assert where in str(refused.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 500_000, b'{"a":' * 200_000, b'{"run":' * 1_000]
)
def test_what_is_no_event(raw: bytes):
    with pytest.raises(BadReport):
        read_event(raw)


def test_a_name_that_is_too_long_once_it_is_encoded_is_refused_and_such_a_column_left_out():
    with pytest.raises(BadNode, match="once it is encoded"):
        told_by(read(event(inputs=["\U0001f600" * 400])), LeftOut())
    long = "x" * 300
    document = event() | {
        "outputs": [{"namespace": "db", "name": long, "facets": {"columnLineage": {"fields": {long: {}, "a": {}}}}}]
    }
    report = concluded(told(document))
    check_report(report)
    assert [claim.downstream for claim in report.claims] == [f"dataset:db/{long}", f"feature:db/{long}.a"]


def test_a_control_character_and_a_time_before_1970_are_refused():
    with pytest.raises(BadNode):
        told_by(read(event() | {"job": {"namespace": "a", "name": "b\n"}}), LeftOut())
    with pytest.raises(BadReport, match="before 1970"):
        told_by(read(event() | {"eventTime": "1969-12-31T23:59:59Z"}), LeftOut())


def test_bounds():
    with pytest.raises(BadReport, match="longer than"):
        read_event(b" " * (MAX_EVENT_BYTES + 1))
    half = [{"namespace": "d", "name": f"{i}"} for i in range(MAX_DATASETS // 2 + 1)]
    with pytest.raises(BadReport, match="more than 10000 datasets"):
        read(event() | {"inputs": half, "outputs": half})
    with pytest.raises(BadReport, match="at most 1000 events"):
        split_batch(b"[" + b"{}," * MAX_BATCH + b"{}]")
    with pytest.raises(BadReport, match="array of events"):
        split_batch(b"{}")


def test_ten_thousand_inputs_are_taken_and_more_over_several_events_are_cut():
    names = [f"{i:05}" for i in range(MAX_DATASETS)]
    report = concluded(told(event("START", 0), event("COMPLETE", 1, inputs=names)))
    check_report(report)
    assert len(report.claims) == MAX_CLAIMS
    assert report.whole_inputs
    cut = told(event("START", 0, inputs=["x"]), event("COMPLETE", 1, inputs=names))
    report = concluded(cut)
    check_report(report)
    assert len(report.claims) == MAX_CLAIMS
    assert not report.whole_inputs, "what was cut off must not end"


def test_events_of_two_runs_are_not_merged():
    other = event() | {"run": {"runId": "01995c1d-0001-7000-8000-0000000000c2"}}
    with pytest.raises(ValueError, match="two runs"):
        merge(told(event()), told(other))


NAMES = st.sampled_from(["a", "b", "c"])
FACETS = st.fixed_dictionaries({}, optional={
    "datasetType": st.sampled_from([{"datasetType": "MODEL"}, {"datasetType": "TABLE"}, {}]),
    "version": st.sampled_from([{"datasetVersion": "1"}, {"datasetVersion": "2"}, {}]),
    "symlinks": st.lists(NAMES, max_size=2).map(lambda names: {"identifiers": [{"namespace": "hive", "name": n, "type": "TABLE"} for n in names]}),
    "columnLineage": st.dictionaries(NAMES, st.lists(NAMES, max_size=2), max_size=2).map(
        lambda made: {"fields": {k: {"inputFields": [{"namespace": "db", "name": n, "field": "x"} for n in v]} for k, v in made.items()}}
    ),
})  # fmt: skip
DATASETS = st.lists(
    st.builds(lambda name, facets: {"namespace": "db", "name": name, "facets": facets}, NAMES, FACETS), max_size=3
)
PARENTS = st.sampled_from(
    [{}, {"parent": {"job": {"namespace": "etl", "name": "p"}}}, {"parent": {"job": {"namespace": "etl", "name": "q"}}}]
)
EVENTS = st.builds(
    lambda kind, second, inputs, outputs, job, facets: event(kind, second)
    | {"inputs": inputs, "outputs": outputs, "job": {"namespace": "etl", "name": job}, "run": {"runId": RUN, "facets": facets}},
    st.sampled_from(["START", "RUNNING", "COMPLETE", "FAIL", "ABORT", "OTHER", None]), st.integers(0, 3), DATASETS, DATASETS, NAMES, PARENTS,
)  # fmt: skip


@given(st.lists(EVENTS, min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_order_and_any_copies_tell_the_same(events: list[dict], random):
    one = [told_by(read(document), LeftOut()) for document in events]
    other = one + random.choices(one, k=3)
    random.shuffle(other)
    assert reduce(merge, other) == reduce(merge, one)
    report = concluded(reduce(merge, other))
    assert report == concluded(reduce(merge, one))
    check_report(report)


@given(EVENTS, EVENTS, EVENTS)
@settings(deadline=None)
def test_merge_is_associative_and_kept_as_bytes_is_the_same(a: dict, b: dict, c: dict):
    a, b, c = (told_by(read(document), LeftOut()) for document in (a, b, c))
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    merged = merge(a, b)
    kept = msgspec.json.decode(msgspec.json.encode(merged), type=RunTold)
    assert merge(kept, c) == merge(merged, c)


def test_all_orders_of_a_sample_tell_the_same():
    events = sample("spark")
    expected = reports(events)
    for order in itertools.permutations(events):
        assert reports(list(order)) == expected
