"""A foreign client of OpenLineage: what it writes is read, and it can make an event of its own of what we write."""

from openlineage.client.event_v2 import (
    Dataset,
    DatasetEvent,
    InputDataset,
    Job,
    JobEvent,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    parent_run,
    symlinks_dataset,
)
from openlineage.client.serde import Serde

from runway_streams.dependency.edge import Edge
from runway_streams.dependency.openlineage.event import read_event
from runway_streams.dependency.openlineage.export import to_events
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.reports import execution_report, static_report
from runway_streams.dependency.openlineage.run import merge, told_by
from runway_streams.dependency.report import check_report

RUN = "01995c1d-0001-7000-8000-0000000000c1"
PARENT = "01995c1d-0001-7000-8000-0000000000c9"


def sent(event):
    """What the server gets."""
    return read_event(Serde.to_json(event).encode())


def training(state: RunState, time: str, inputs=(), outputs=()) -> RunEvent:
    parent = parent_run.ParentRunFacet(run=parent_run.Run(PARENT), job=parent_run.Job("airflow", "nightly"))
    return RunEvent(
        eventType=state, eventTime=time, run=Run(RUN, {"parent": parent}), job=Job("training", "fraud"),
        inputs=list(inputs), outputs=list(outputs), producer="https://example.com/train",
    )  # fmt: skip


def test_a_run_that_makes_a_version():
    symlinks = symlinks_dataset.SymlinksDatasetFacet([symlinks_dataset.Identifier("hive", "ml.payments", "TABLE")])
    amount = column_lineage_dataset.InputField("s3://lake", "payments", "amount")
    model = OutputDataset("registry", "fraud", facets={
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet("MODEL", ""),
        "version": dataset_version_dataset.DatasetVersionDatasetFacet("3"),
        "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet(fields={}, dataset=[amount]),
    })  # fmt: skip
    start = training(
        RunState.START, "2026-03-02T06:00:00Z", inputs=[InputDataset("s3://lake", "payments", facets={"symlinks": symlinks})]
    )
    done = training(RunState.COMPLETE, "2026-03-02T06:10:00.123456+01:00", outputs=[model])
    report = execution_report([merge(told_by(sent(start), LeftOut()), told_by(sent(done), LeftOut()))])
    check_report(report)
    assert {(claim.upstream, claim.kind, claim.downstream) for claim in report.claims} == {
        ("flow:airflow/nightly", "triggers", "flow:training/fraud"),
        ("dataset:hive/ml.payments", "feeds", "flow:training/fraud"),
        ("flow:training/fraud", "produces", "model:fraud@3"),
        ("model:fraud@3", "version_of", "model:fraud"),
        ("dataset:hive/ml.payments", "feeds", "feature:hive/ml.payments.amount"),
        ("feature:hive/ml.payments.amount", "feeds", "model:fraud@3"),
    }


def test_static_events():
    job = JobEvent(
        eventTime="2026-03-02T06:00:00Z",
        job=Job("bi", "report"),
        inputs=[Dataset("db", "t")],
        outputs=[],
        producer="https://a.example",
    )  # type: ignore[list-item]
    report = static_report(sent(job), LeftOut())
    assert [(claim.upstream, claim.downstream) for claim in report.claims] == [("dataset:db/t", "flow:bi/report")]
    dataset = DatasetEvent(eventTime="2026-03-02T06:00:00Z", dataset=Dataset("db", "t"), producer="https://a.example")  # type: ignore[arg-type]
    assert static_report(sent(dataset), LeftOut()).node_ids() == {"dataset:db/t"}


def test_what_we_write_is_taken_by_its_types():
    edges = [
        Edge("dataset:db/t", "flow:etl/daily", "feeds", "r", "observed", 1.0, 1, 1),
        Edge("flow:etl/daily", "model:fraud@1", "produces", "r", "observed", 1.0, 1, 1),
    ]
    (event,) = to_events(edges, at=1_772_400_000_000)
    job = JobEvent(
        eventTime=event["eventTime"], producer=event["producer"], job=Job(**event["job"]),
        inputs=[InputDataset(**one) for one in event["inputs"]], outputs=[OutputDataset(**one) for one in event["outputs"]],
    )  # fmt: skip
    assert Serde.to_dict(job)["schemaURL"] == event["schemaURL"]
    assert static_report(sent(job), LeftOut()) == static_report(read_event(Serde.to_json(event).encode()), LeftOut())
