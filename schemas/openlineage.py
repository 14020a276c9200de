"""OpenLineage: the events of the open lineage standard 2-0-2, as Airflow, Spark, dbt and Feast send them.

Only what lineage is made from is read; every other field and facet is allowed and left alone. Of a facet nothing is required,
for producers leave parts out, send null, or send `_deleted` alone. Of an event `eventTime` (with an offset), `producer` and who
it is about are required; `eventType` is not, and neither is `schemaURL`, which old clients leave out.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Raw, Struct, field

MAX_EVENT_BYTES = 1 << 20
"""Bytes of one event, unpacked."""
MAX_DATASETS = 10_000
"""Inputs and outputs of one event together."""
MAX_COLUMNS = 10_000
"""Columns of one dataset's column lineage, and input columns of one of them."""
MAX_NAME = 512
"""Characters of a namespace, a name or a column."""

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Time = Annotated[datetime, Meta(tz=True)]
Uri = Annotated[str, Meta(min_length=1, max_length=4_096)]
EventType = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]


class JobName(Struct):
    """A job's name within its namespace."""

    namespace: Name
    name: Name


class ParentRun(Struct):
    """The run that started this one; of its facet only the job is used."""

    job: JobName | None = None


class RunFacets(Struct, rename="camel"):
    """Facets of a run. `parentRun` is how clients before 1.0 wrote `parent`."""

    parent: ParentRun | None = None
    parent_run: ParentRun | None = None


class Run(Struct, rename={"run_id": "runId"}):
    """One run of a job."""

    run_id: UUID
    facets: RunFacets | None = None


class FeastFeatureView(Struct):
    """Feast's own facet of the job that stands for a feature view: the features that it has."""

    name: str | None = None
    features: Annotated[list[Name], Meta(max_length=MAX_COLUMNS)] | None = None


class JobFacets(Struct):
    """Facets of a job."""

    feast_feature_view: FeastFeatureView | None = field(name="feast_featureView", default=None)


class Job(JobName):
    """A job and its facets."""

    facets: JobFacets | None = None


class DatasetType(Struct, rename="camel"):
    """What kind of thing a dataset is: `TABLE`, `VIEW`, `FILE`, `TOPIC`, `STREAM`, `MODEL`."""

    dataset_type: str | None = None


class DatasetVersion(Struct, rename="camel"):
    """The version of a dataset that was read or written."""

    dataset_version: Annotated[str, Meta(max_length=MAX_NAME)] | None = None


class Symlink(Struct):
    """Another name of a dataset; `type` is `TABLE` or `LOCATION`."""

    namespace: Name
    name: Name
    type: str | None = None


class Symlinks(Struct):
    """The other names of a dataset."""

    identifiers: Annotated[list[Symlink], Meta(max_length=100)] | None = None


class InputColumn(Struct):
    """A column that another is made from."""

    namespace: Name
    name: Name
    field: Name


class OutputColumn(Struct, rename="camel"):
    """What a column is made from."""

    input_fields: Annotated[list[InputColumn], Meta(max_length=MAX_COLUMNS)] | None = None


class ColumnLineage(Struct):
    """What the columns of a dataset are made from, by name; `dataset` are the columns that decide on all of it: filters, joins."""

    fields: Annotated[dict[Name, OutputColumn], Meta(max_length=MAX_COLUMNS)] | None = None
    dataset: Annotated[list[InputColumn], Meta(max_length=MAX_COLUMNS)] | None = None


class DatasetFacets(Struct, rename="camel"):
    """Facets of a dataset."""

    dataset_type: DatasetType | None = None
    version: DatasetVersion | None = None
    symlinks: Symlinks | None = None
    column_lineage: ColumnLineage | None = None


class Dataset(Struct):
    """A dataset that is read, written or told of."""

    namespace: Name
    name: Name
    facets: DatasetFacets | None = None


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


class EventKind(Struct, rename={"schema_url": "schemaURL", "event_type": "eventType"}):
    """What tells the three events apart; nothing in it is decoded twice."""

    schema_url: str | None = None
    event_type: str | None = None
    run: Raw = Raw()
    job: Raw = Raw()
    dataset: Raw = Raw()
