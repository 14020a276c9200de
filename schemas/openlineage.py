"""OpenLineage: the events of the open lineage standard 2-0-2, as Airflow, Spark, dbt and Feast send them.

Only what lineage is made from is read; every other field and facet is allowed and left alone. Of an event `eventTime` (with an
offset), `producer` and who it is about are required; `eventType` is not, and neither is `schemaURL`, which old clients leave out.

Facets are not decoded with their event: one that is wrong would take the event along. Of a facet nothing is required, for
producers leave parts out, send null, or send `_deleted` alone; their names have no bounds here, as each is judged by itself.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Raw, Struct, field

MAX_EVENT_BYTES = 4 << 20
"""Bytes of one event, unpacked: enough for MAX_DATASETS, or for MAX_COLUMNS with a source each, by names of 64 characters."""
MAX_DATASETS = 10_000
"""Inputs and outputs of one event together."""
MAX_COLUMNS = 10_000
"""Columns of one dataset's column lineage, and input columns of one of them."""
MAX_NAME = 512
"""Characters of a namespace, a name or a column."""
MAX_SYMLINKS = 100
"""Other names of one dataset."""

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
MapIndex = Annotated[int, Meta(ge=-1, lt=1 << 31)]
Time = Annotated[datetime, Meta(tz=True)]
Uri = Annotated[str, Meta(min_length=1, max_length=4_096)]
EventType = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]


class JobName(Struct):
    """A job's name within its namespace."""

    namespace: Name
    name: Name


class ParentRunId(Struct, rename="camel"):
    """The id of the run that started another; by the standard a UUID."""

    run_id: str | None = None


class ParentRun(Struct):
    """The run that started this one."""

    job: JobName | None = None
    run: ParentRunId | None = None


class AirflowMappedTask(Struct, rename="camel"):
    """Airflow's own facet of one of the runs into which a task was mapped, until it was removed for `airflow`."""

    map_index: MapIndex | None = None


class AirflowTaskInstance(Struct):
    """An instance of a task; it has a `map_index` if it is one of those into which its task was mapped."""

    map_index: MapIndex | None = None


class Airflow(Struct, rename="camel"):
    """Airflow's own facet of a run."""

    task_instance: AirflowTaskInstance | None = None


class RunFacets(Struct, rename="camel"):
    """Facets of a run. `parentRun` is how clients before 1.0 wrote `parent`."""

    parent: Raw = Raw()
    parent_run: Raw = Raw()
    airflow: Raw = Raw()
    airflow_mapped_task: Raw = field(name="airflow_mappedTask", default=Raw())


class Run(Struct, rename={"run_id": "runId"}):
    """One run of a job."""

    run_id: UUID
    facets: Raw = Raw()


class FeastFeatureView(Struct):
    """Feast's own facet of the job that stands for a feature view: the features that it has."""

    name: str | None = None
    features: Annotated[list[str], Meta(max_length=MAX_COLUMNS)] | None = None


class JobFacets(Struct):
    """Facets of a job."""

    feast_feature_view: Raw = field(name="feast_featureView", default=Raw())


class Job(JobName):
    """A job and its facets."""

    facets: Raw = Raw()


class DatasetType(Struct, rename="camel"):
    """What kind of thing a dataset is: `TABLE`, `VIEW`, `FILE`, `TOPIC`, `STREAM`, `MODEL`."""

    dataset_type: str | None = None


class DatasetVersion(Struct, rename="camel"):
    """The version of a dataset that was read or written."""

    dataset_version: Annotated[str, Meta(max_length=MAX_NAME)] | None = None


class Symlink(Struct):
    """Another name of a dataset; `type` is `TABLE` or `LOCATION`."""

    namespace: str
    name: str
    type: str | None = None


class Symlinks(Struct):
    """The other names of a dataset."""

    identifiers: Annotated[list[Symlink], Meta(max_length=MAX_SYMLINKS)] | None = None


class InputColumn(Struct):
    """A column that another is made from."""

    namespace: str
    name: str
    field: str


class OutputColumn(Struct, rename="camel"):
    """What a column is made from."""

    input_fields: Annotated[list[InputColumn], Meta(max_length=MAX_COLUMNS)] | None = None


class ColumnLineage(Struct):
    """What the columns of a dataset are made from, by name; `dataset` are the columns that decide on all of it: filters, joins."""

    fields: Annotated[dict[str, OutputColumn], Meta(max_length=MAX_COLUMNS)] | None = None
    dataset: Annotated[list[InputColumn], Meta(max_length=MAX_COLUMNS)] | None = None


class DatasetFacets(Struct, rename="camel"):
    """Facets of a dataset."""

    dataset_type: Raw = Raw()
    version: Raw = Raw()
    symlinks: Raw = Raw()
    column_lineage: Raw = Raw()


class Dataset(Struct):
    """A dataset that is read, written or told of."""

    namespace: Name
    name: Name
    facets: Raw = Raw()


Datasets = Annotated[list[Dataset], Meta(max_length=MAX_DATASETS)]


class RunEvent(Struct, rename="camel"):
    """Something that happened in a run.

    >>> import msgspec
    >>> event = msgspec.json.decode(
    ...     b'{"eventType":"START","eventTime":"2026-01-02T03:04:05Z","producer":"https://a.example",'
    ...     b'"run":{"runId":"0190a3b8-1d2e-7000-8000-000000000001"},"job":{"namespace":"etl","name":"daily"}}',
    ...     type=RunEvent,
    ... )
    >>> event.job.name, event.event_type, event.inputs
    ('daily', 'START', None)
    """

    event_time: Time
    producer: Uri
    run: Run
    job: Job
    event_type: EventType | None = None
    inputs: Datasets | None = None
    outputs: Datasets | None = None


class JobEvent(Struct, rename="camel"):
    """What a job reads and writes by its definition, without a run."""

    event_time: Time
    producer: Uri
    job: Job
    inputs: Datasets | None = None
    outputs: Datasets | None = None


class DatasetEvent(Struct, rename="camel"):
    """What is known of a dataset, without a job."""

    event_time: Time
    producer: Uri
    dataset: Dataset


Event = RunEvent | JobEvent | DatasetEvent


class EventKind(Struct, rename={"schema_url": "schemaURL"}):
    """What tells the three events apart; nothing in it is decoded twice."""

    schema_url: Any = None
    run: Raw = Raw()
    job: Raw = Raw()
    dataset: Raw = Raw()
