"""Edges: those between a job, its datasets and their columns, by the names that the graph has for them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import json
from msgspec.structs import replace

from runway_streams.dependency.edge import Kind
from runway_streams.dependency.node import Node, model_node, node_type, parse_node
from runway_streams.dependency.openlineage.dataset import ALL, VERSION, Datasets, DatasetTold, dataset_of, written
from runway_streams.dependency.refusals import BadNode
from runway_streams.dependency.report import MAX_FACTS

MAX_ALIASES = 20
"""Other names of a dataset that are kept with it, as far as they fit into a node's facts."""


class EdgeTold(NamedTuple):
    """An edge, before anybody says it of the graph."""

    upstream: str
    downstream: str
    kind: Kind


class Names:
    """Datasets and the nodes that stand for them. `all_told` is what else is told of them and of others: some datasets are an
    event's, and columns are made from datasets that another event of the run has told of.

    >>> from runway_streams.dependency.openlineage.dataset import DatasetTold, Told
    >>> names = Names({"dataset:s3/t": DatasetTold(read=True, tables=Told(1, ["dataset:hive/t"]))})
    >>> names.nodes, names.of("dataset:s3/t"), names.of("dataset:s3/other")
    ({'dataset:s3/t': 'dataset:hive/t'}, ['dataset:hive/t'], ['dataset:s3/other'])
    """

    def __init__(self, datasets: Mapping[str, DatasetTold], all_told: Mapping[str, DatasetTold] | None = None):
        self._all_told = datasets if all_told is None else all_told
        self._versions: dict[str, list[str]] = defaultdict(list)
        for key in self._all_told:
            if VERSION in key:
                self._versions[dataset_of(key)].append(key)
        left = ((key, self._without_versions(key, told)) for key, told in sorted(datasets.items()))
        self.datasets: Datasets = {key: told for key, told in left if told}
        self.nodes = {key: _node(key, told) for key, told in self.datasets.items()}

    def of(self, dataset: str) -> list[str]:
        """The nodes of a dataset that columns are made from: of several versions those that are read, if any is."""
        keys = [key for key in (dataset, *self._versions.get(dataset, ())) if key in self._all_told]
        read = [key for key in keys if self._all_told[key].read]
        return sorted({_node(key, self._all_told[key]) for key in read or keys}) or [dataset]

    def _without_versions(self, key: str, told: DatasetTold) -> DatasetTold | None:
        """A model that was told of with versions on a side, and once without, is those versions there."""
        if key not in self._versions or not (told.model and told.model.value) or (told.version and told.version.value):
            return told
        versions = [self._all_told[one] for one in self._versions[key]]
        read = told.read and not any(one.read for one in versions)
        written_ = told.written and not any(one.written for one in versions)
        return replace(told, read=read, written=written_) if read or written_ else None


def edges(flow: str | None, names: Names, parents: Iterable[str]) -> Iterator[EdgeTold]:
    """What a job reads, makes and is started by; and whose the versions are."""
    if flow:
        yield from (EdgeTold(parent, flow, "triggers") for parent in parents)
        yield from (EdgeTold(names.nodes[key], flow, "feeds") for key, told in names.datasets.items() if told.read)
        yield from (EdgeTold(flow, names.nodes[key], "produces") for key, told in names.datasets.items() if told.written)
    for node in names.nodes.values():
        if node_type(node) == "version":
            yield EdgeTold(node, str(model_node(parse_node(node).namespace)), "version_of")


def column_edges(names: Names) -> Iterator[EdgeTold]:
    """What columns are made from, and whose they are."""
    for key, told in names.datasets.items():
        node = names.nodes[key]
        for column, sources in (told.columns.value if told.columns else {}).items():
            target = node if column == ALL else _feature(node, column)
            if target is None:
                continue
            if target != node:
                yield EdgeTold(node, target, "feeds")
            for dataset, source in sources:
                for owner in names.of(dataset):
                    yield from _made_from(owner, source, target)


def aliases(names: Names) -> Iterator[Node]:
    """By which other names datasets are told of."""
    known: dict[str, set[str]] = defaultdict(set)
    for key, told in names.datasets.items():
        others = {dataset_of(key), *(told.tables.value if told.tables else ())}
        known[names.nodes[key]] |= others - {names.nodes[key]}
    for node, others in sorted(known.items()):
        if others:
            yield Node(node, {"also_known_as": _fitting(sorted(others)[:MAX_ALIASES])})


def _fitting(others: list[str]) -> list[str]:
    while len(json.encode({"also_known_as": others})) > MAX_FACTS:
        others = others[:-1]
    return others


def _node(key: str, told: DatasetTold) -> str:
    dataset = dataset_of(key)
    if told.model and told.model.value:
        version = told.version.value if told.version else None
        try:
            return str(model_node(parse_node(dataset).name, version))
        except BadNode:
            return dataset
    return told.tables.value[0] if told.tables and told.tables.value else dataset


def _made_from(owner: str, column: str, target: str) -> Iterator[EdgeTold]:
    feature = _feature(owner, column)
    if feature and feature != target:
        if node_type(feature) == "feature":
            yield EdgeTold(owner, feature, "feeds")
        yield EdgeTold(feature, target, "feeds")


def _feature(dataset: str, column: str) -> str | None:
    """The node of a column; a model has none, and is one itself; a name that is too long is left out."""
    owner = parse_node(dataset)
    if owner.type != "dataset":
        return dataset
    try:
        return written("feature", owner.namespace, f"{owner.name}.{column}")
    except BadNode:
        return None
