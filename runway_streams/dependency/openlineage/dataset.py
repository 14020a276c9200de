"""Datasets: what the events of OpenLineage tell of each that is read or written, and what several of them tell together."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import Struct

from runway_streams.dependency.node import MAX_ID, named
from runway_streams.dependency.openlineage.facets import LeftOut, read_facet
from runway_streams.dependency.refusals import BadNode
from schemas.openlineage import (
    MAX_DATASETS,
    MAX_NAME,
    ColumnLineage,
    Dataset,
    DatasetFacets,
    DatasetType,
    DatasetVersion,
    FeastFeatureView,
    InputColumn,
    Job,
    JobFacets,
    Symlink,
    Symlinks,
)

ALL = ""
"""Stands for the whole dataset where columns are named; no column has this name."""
VERSION = "@"
"""Between a dataset and its version in a key; encoded names have none."""
FEAST = "job.facets.feast_featureView"


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


Datasets = dict[str, DatasetTold]
"""By key: a dataset's name as in the graph, before symlinks, and of a model with its version, of which a run may use several."""


class Side(NamedTuple):
    """Some datasets of an event, and what they are to its job."""

    name: str
    datasets: list[Dataset] | None
    written: bool = False


def written(type_: str, namespace: str, name: str) -> str:
    """A node's name as it is stored. Raises BadNode, also where it is too long once it is encoded."""
    text = str(named(type_, namespace, name))
    if len(text) > MAX_ID:
        raise BadNode(f"The name {name[:80]!r}... of a {type_} is longer than {MAX_ID} characters once it is encoded.")
    return text


def dataset_of(key: str) -> str:
    """The dataset's name without a version.

    >>> dataset_of("dataset:mlflow/fraud@7")
    'dataset:mlflow/fraud'
    """
    return key.partition(VERSION)[0]


def datasets_told(sides: Iterable[Side], job: Job | None, at: int, left_out: LeftOut) -> tuple[Datasets, bool]:
    """What is told of datasets, and whether there were more than are kept. Raises BadNode."""
    facets = read_facet(job.facets, JobFacets, "job.facets", left_out) if job else None
    view = read_facet(facets.feast_feature_view, FeastFeatureView, FEAST, left_out) if facets else None
    found: Datasets = {}
    for side in sides:
        for index, dataset in enumerate(side.datasets or ()):
            key, told = _dataset_told(dataset, side, at, f"{side.name}[{index}].facets", left_out)
            if told.columns is None and side.written and view and view.features and view.name == dataset.name:
                features: dict[str, list[list[str]]] = {
                    feature: [] for feature in sorted(_fitting(view.features, FEAST, left_out))
                }
                told = msgspec.structs.replace(told, columns=Told(at, features))
            found[key] = _merged(found[key], told) if key in found else told
    return _bounded(found)


def union(several: Iterable[Mapping[str, DatasetTold]]) -> tuple[Datasets, bool]:
    """What is told together, by the first MAX_DATASETS keys, and whether there were more: which they are does not depend on the
    order. Costs by what is smaller than the largest."""
    largest, *others = sorted(several, key=len, reverse=True)
    found = dict(largest)
    for other in others:
        for key, told in other.items():
            found[key] = _merged(found[key], told) if key in found else told
    return _bounded(found)


def newer(one: Told | None, other: Told | None) -> Told | None:
    """Which of two counts. Of those told at one time it is the greater, so that the order in which they came does not matter.

    >>> newer(Told(1, "b"), Told(2, "a")), newer(Told(1, "b"), Told(1, "a")), newer(None, Told(1, "a"))
    (Told(at=2, value='a'), Told(at=1, value='b'), Told(at=1, value='a'))
    """
    if one is None or other is None:
        return one or other
    if one.at != other.at:
        return one if one.at > other.at else other
    return one if one.value == other.value else max(one, other, key=_written_out)


def _written_out(told: Told) -> bytes:
    return msgspec.json.encode(told.value, order="deterministic")


def _merged(one: DatasetTold, other: DatasetTold) -> DatasetTold:
    return DatasetTold(
        read=one.read or other.read,
        written=one.written or other.written,
        model=newer(one.model, other.model),
        version=newer(one.version, other.version),
        tables=newer(one.tables, other.tables),
        columns=newer(one.columns, other.columns),
    )


def _bounded(datasets: Datasets) -> tuple[Datasets, bool]:
    if len(datasets) <= MAX_DATASETS:
        return datasets, False
    return {key: datasets[key] for key in sorted(datasets)[:MAX_DATASETS]}, True


def _dataset_told(dataset: Dataset, side: Side, at: int, where: str, left_out: LeftOut) -> tuple[str, DatasetTold]:
    name = written("dataset", dataset.namespace, dataset.name)
    told = DatasetTold(not side.written, side.written)
    facets = read_facet(dataset.facets, DatasetFacets, where, left_out)
    if facets is None:
        return name, told
    type_ = read_facet(facets.dataset_type, DatasetType, f"{where}.datasetType", left_out)
    version = read_facet(facets.version, DatasetVersion, f"{where}.version", left_out)
    symlinks = read_facet(facets.symlinks, Symlinks, f"{where}.symlinks", left_out)
    lineage = read_facet(facets.column_lineage, ColumnLineage, f"{where}.columnLineage", left_out)
    is_model = type_ is not None and type_.dataset_type == "MODEL"
    told = msgspec.structs.replace(
        told,
        model=Told(at, is_model) if type_ else None,
        version=Told(at, version.dataset_version) if version else None,
        tables=Told(at, _tables(symlinks, f"{where}.symlinks", left_out)) if symlinks else None,
        columns=Told(at, _columns(lineage, f"{where}.columnLineage", left_out)) if lineage else None,
    )
    if is_model and version and version.dataset_version:
        return f"{name}{VERSION}{quote(version.dataset_version, safe='')}", told
    return name, told


def _tables(symlinks: Symlinks, where: str, left_out: LeftOut) -> list[str]:
    tables = (one for one in symlinks.identifiers or () if one.type == "TABLE")
    return sorted({name for one in tables if (name := _name_of(one, where, left_out))})


def _columns(lineage: ColumnLineage, where: str, left_out: LeftOut) -> dict[str, list[list[str]]]:
    made = lineage.fields or {}
    columns = {
        column: _sources(made[column].input_fields, where, left_out) for column in sorted(_fitting(made, where, left_out))
    }
    return {ALL: _sources(lineage.dataset, where, left_out), **columns} if lineage.dataset else columns


def _sources(columns: list[InputColumn] | None, where: str, left_out: LeftOut) -> list[list[str]]:
    named_ = ((_name_of(one, where, left_out), one.field) for one in columns or () if _fitting([one.field], where, left_out))
    return [list(pair) for pair in sorted({(name, column) for name, column in named_ if name})]


def _name_of(one: Symlink | InputColumn, where: str, left_out: LeftOut) -> str | None:
    try:
        return written("dataset", one.namespace, one.name)
    except BadNode as error:
        left_out.note(where, f"of one entry: {error}")
        return None


def _fitting(columns: Iterable[str], where: str, left_out: LeftOut) -> list[str]:
    """Names that a column can have. What has none has no node, and so nothing of it is lost."""
    found = []
    for column in columns:
        if 0 < len(column) <= MAX_NAME:
            found.append(column)
        else:
            left_out.note(where, f"of one column: its name {column[:80]!r} has not 1 to {MAX_NAME} characters.", lost=False)
    return found
