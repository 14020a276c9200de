"""OpenLineage runs: what the events of one run tell together.

They come twice, in any order, and each tells a part: inputs often with START alone, outputs with COMPLETE alone. `merge` is a
join of what they tell: commutative, associative and idempotent. Of a facet told twice the newer counts.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from runway_streams.dependency.node import MAX_ID, named
from runway_streams.dependency.refusals import BadNode, BadReport
from schemas.openlineage import MAX_DATASETS, ColumnLineage, Dataset, InputColumn, Job, JobFacets, JobName, RunEvent

ALL = ""
"""Stands for the whole dataset where columns are named; no column has this name."""


class Told(Struct, frozen=True):
    """Something that was told at a time (epoch ms); `value` is plain JSON."""

    at: int
    value: Any


class DatasetTold(Struct, frozen=True):
    """What is told of a dataset; `columns` says of each column which [dataset, column] it is made from."""

    read: bool = False
    written: bool = False
    model: Told | None = None
    version: Told | None = None
    tables: Told | None = None
    columns: Told | None = None


class RunTold(Struct, frozen=True):
    """What the events of one run tell. Datasets are named as in the graph, before symlinks; `cut` says that there were more."""

    run: str
    job: Told
    last: int
    started: bool = False
    completed: int | None = None
    failed: int | None = None
    parent: Told | None = None
    datasets: dict[str, DatasetTold] = {}
    cut: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it ended well, by the last that was heard of its end."""
        return self.completed is not None and (self.failed is None or self.failed < self.completed)


def told_by(event: RunEvent) -> RunTold:
    """What one event of a run tells. Raises BadNode for names that no node can have."""
    at = epoch_ms(event.event_time)
    datasets, cut = datasets_told(event.inputs, event.outputs, event.job.facets, at)
    facets = event.run.facets
    parent = (facets.parent or facets.parent_run) if facets else None
    return RunTold(
        run=str(event.run.run_id),
        job=Told(at, flow_node(event.job)),
        last=at,
        started=event.event_type == "START",
        completed=at if event.event_type == "COMPLETE" else None,
        failed=at if event.event_type in ("FAIL", "ABORT") else None,
        parent=Told(at, flow_node(parent.job)) if parent and parent.job else None,
        datasets=datasets,
        cut=cut,
    )


def merge(one: RunTold, other: RunTold) -> RunTold:
    """What both tell together. Raises ValueError where they tell of two runs."""
    if one.run != other.run:
        raise ValueError(f"{one.run} and {other.run} are two runs.")
    datasets, cut = _union(one.datasets, other.datasets)
    return RunTold(
        run=one.run,
        job=max(one.job, other.job, key=_age),
        last=max(one.last, other.last),
        started=one.started or other.started,
        completed=_later(one.completed, other.completed),
        failed=_later(one.failed, other.failed),
        parent=_newer(one.parent, other.parent),
        datasets=datasets,
        cut=cut or one.cut or other.cut,
    )


def epoch_ms(time: datetime) -> int:
    """A time in epoch ms. Raises BadReport for one before 1970, which no run has."""
    at = round(time.timestamp() * 1000)
    if at < 0:
        raise BadReport(f"The eventTime {time.isoformat()} lies before 1970.")
    return at


def flow_node(job: Job | JobName) -> str:
    """The node of a job. Raises BadNode."""
    return written("flow", job.namespace, job.name)


def written(type_: str, namespace: str, name: str) -> str:
    """A node's name as it is stored. Raises BadNode, also where it is too long once it is encoded."""
    text = str(named(type_, namespace, name))
    if len(text) > MAX_ID:
        raise BadNode(f"The name {name[:80]!r}... of a {type_} is longer than {MAX_ID} characters once it is encoded.")
    return text


def datasets_told(
    inputs: list[Dataset] | None, outputs: list[Dataset] | None, facets: JobFacets | None, at: int
) -> tuple[dict[str, DatasetTold], bool]:
    """What is told of inputs and outputs by name, and whether there were more than are kept. Raises BadNode."""
    found: dict[str, DatasetTold] = {}
    for written, datasets in ((False, inputs), (True, outputs)):
        for dataset in datasets or ():
            name = _dataset(dataset.namespace, dataset.name)
            told = _dataset_told(dataset, written, _feast_features(facets, dataset) if written else [], at)
            found[name] = _merge_dataset(found[name], told) if name in found else told
    return _union(found, {})


def _dataset(namespace: str, name: str) -> str:
    return written("dataset", namespace, name)


def _dataset_told(dataset: Dataset, written: bool, features: list[str], at: int) -> DatasetTold:
    facets = dataset.facets
    columns = _columns(facets.column_lineage) if facets and facets.column_lineage else None
    if columns is None and features:
        columns = {feature: [] for feature in sorted(features)}
    told = DatasetTold(not written, written, columns=None if columns is None else Told(at, columns))
    if facets is None:
        return told
    tables = [
        _dataset(one.namespace, one.name)
        for one in (facets.symlinks and facets.symlinks.identifiers) or ()
        if one.type == "TABLE"
    ]
    return msgspec.structs.replace(
        told,
        model=Told(at, facets.dataset_type.dataset_type == "MODEL") if facets.dataset_type else None,
        version=Told(at, facets.version.dataset_version) if facets.version else None,
        tables=Told(at, sorted(set(tables))) if facets.symlinks else None,
    )


def _columns(lineage: ColumnLineage) -> dict[str, list[list[str]]]:
    made = {column: _sources(output.input_fields) for column, output in sorted((lineage.fields or {}).items())}
    return {ALL: _sources(lineage.dataset), **made} if lineage.dataset else made


def _sources(columns: list[InputColumn] | None) -> list[list[str]]:
    return [list(pair) for pair in sorted({(_dataset(one.namespace, one.name), one.field) for one in columns or ()})]


def _feast_features(facets: JobFacets | None, dataset: Dataset) -> list[str]:
    view = facets.feast_feature_view if facets else None
    return list(view.features or ()) if view and view.name == dataset.name else []


# Merging. Of two things told at one time the greater counts, so that the order in which they came does not.


def _union(one: dict[str, DatasetTold], other: dict[str, DatasetTold]) -> tuple[dict[str, DatasetTold], bool]:
    """The first MAX_DATASETS of both, by name, and whether there were more: which they are does not depend on the order."""
    names = sorted({*one, *other})
    return {name: _merged(one.get(name), other.get(name)) for name in names[:MAX_DATASETS]}, len(names) > MAX_DATASETS


def _merged(one: DatasetTold | None, other: DatasetTold | None) -> DatasetTold:
    if one is None or other is None:
        return one or other or DatasetTold()
    return _merge_dataset(one, other)


def _merge_dataset(one: DatasetTold, other: DatasetTold) -> DatasetTold:
    return DatasetTold(
        read=one.read or other.read,
        written=one.written or other.written,
        model=_newer(one.model, other.model),
        version=_newer(one.version, other.version),
        tables=_newer(one.tables, other.tables),
        columns=_newer(one.columns, other.columns),
    )


def _newer(one: Told | None, other: Told | None) -> Told | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=_age)


def _age(told: Told) -> tuple[int, bytes]:
    return told.at, msgspec.json.encode(told.value, order="deterministic")


def _later(one: int | None, other: int | None) -> int | None:
    return max((at for at in (one, other) if at is not None), default=None)
