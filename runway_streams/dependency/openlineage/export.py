"""OpenLineage out: a part of the graph as static events, for other catalogues to read.

| graph | OpenLineage |
|---|---|
| flow, run, consumer | a JobEvent with its inputs and outputs |
| dataset, source | a dataset |
| model, version | a dataset of type `MODEL` in the namespace `runway`, with its version |
| feature `NAMESPACE/DATASET.COLUMN` | a column; what it is made from is in the column lineage of its dataset's DatasetEvent |
| feature without a dot | a dataset of type `FEATURE` |
| `feeds` without a job between | a JobEvent of the namespace `runway`, named after what is made |
| `triggers` | the facet `runway_triggered_by` of the job, for only runs have parents there |

`version_of`, and that a dataset feeds its own columns, go without saying. A run that a flow produces is left out. What is read
back by `openlineage.py` has the same edges between flows, datasets, columns and versions.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from runway_streams.dependency.edge import Edge
from runway_streams.dependency.node import NodeName, parse_node
from runway_streams.times import format_time

PRODUCER = "urn:runway-streams"
NAMESPACE = "runway"
"""Of models, and of jobs that the graph does not have."""
SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
FACETS = "https://openlineage.io/spec/facets/"
JOBS = ("flow", "run", "consumer")
Pair = tuple[str, str]


class _Export:
    """What was gathered so far, by job and by dataset; each name as (namespace, name)."""

    def __init__(self) -> None:
        self.inputs: dict[Pair, set[NodeName]] = {}
        self.outputs: dict[Pair, set[NodeName]] = {}
        self.triggers: dict[Pair, set[Pair]] = {}
        self.columns: dict[NodeName, dict[str, set[NodeName]]] = {}

    def add(self, upstream: NodeName, downstream: NodeName, kind: str) -> None:
        """Takes an edge."""
        if kind == "version_of" or downstream == upstream or _column_of(downstream) == upstream:
            return
        if kind == "triggers":
            self.triggers.setdefault(_job(downstream), set()).add(_job(upstream))
        elif downstream.type in JOBS and upstream.type not in JOBS:
            self.inputs.setdefault(_job(downstream), set()).add(_column_of(upstream) or upstream)
        elif upstream.type in JOBS and downstream.type not in JOBS:
            self.outputs.setdefault(_job(upstream), set()).add(_column_of(downstream) or downstream)
        elif upstream.type not in JOBS and downstream.type not in JOBS:
            self._add_between(upstream, downstream)

    def _add_between(self, upstream: NodeName, downstream: NodeName) -> None:
        made = _column_of(downstream)
        if _column_of(upstream):
            column = downstream.name.rpartition(".")[2] if made else ""
            self.columns.setdefault(made or downstream, {}).setdefault(column, set()).add(upstream)
            return
        implied = (NAMESPACE, str(downstream))
        self.inputs.setdefault(implied, set()).add(upstream)
        self.outputs.setdefault(implied, set()).add(made or downstream)


def to_events(edges: Iterable[Edge], at: int) -> list[dict[str, Any]]:
    """The events of some edges, in order of their names; `at` (epoch ms) is their time. The caller bounds the edges.

    >>> (event,) = to_events([Edge("dataset:db/t", "flow:etl/daily", "feeds", "r", "observed", 1.0, 1, 1)], at=0)
    >>> event["job"]["name"], event["inputs"], event["eventTime"]
    ('daily', [{'namespace': 'db', 'name': 't'}], '1970-01-01T00:00:00Z')
    """
    export = _Export()
    for upstream, downstream, kind in sorted({(edge.upstream, edge.downstream, edge.kind) for edge in edges}):
        export.add(parse_node(upstream), parse_node(downstream), kind)
    return [*_job_events(export, at), *_dataset_events(export, at)]


def _job_events(export: _Export, at: int) -> Iterator[dict[str, Any]]:
    for job in sorted({*export.inputs, *export.outputs, *export.triggers}):
        named: dict[str, Any] = {"namespace": job[0], "name": job[1]}
        if job in export.triggers:
            by = [{"namespace": namespace, "name": name} for namespace, name in sorted(export.triggers[job])]
            named["facets"] = {"runway_triggered_by": {"_producer": PRODUCER, "_schemaURL": f"{SPEC}JobFacet", "jobs": by}}
        event = {**_event("JobEvent", at), "job": named}
        # Not told is something else than told to have none.
        for side, found in (("inputs", export.inputs), ("outputs", export.outputs)):
            if job in found:
                event[side] = [_dataset(one) for one in sorted(found[job])]
        yield event


def _dataset_events(export: _Export, at: int) -> Iterator[dict[str, Any]]:
    for name, columns in sorted(export.columns.items()):
        dataset = _dataset(name)
        fields = {column: {"inputFields": _fields(found)} for column, found in sorted(columns.items()) if column}
        lineage = _facet("ColumnLineageDatasetFacet", "1-2-0", fields=fields)
        if "" in columns:
            lineage["dataset"] = _fields(columns[""])
        dataset.setdefault("facets", {})["columnLineage"] = lineage
        yield {**_event("DatasetEvent", at), "dataset": dataset}


def _event(kind: str, at: int) -> dict[str, Any]:
    return {"eventTime": format_time(at), "producer": PRODUCER, "schemaURL": SPEC + kind}


def _dataset(node: NodeName) -> dict[str, Any]:
    namespace, name = node.namespace, node.name
    facets = {}
    if node.type in ("model", "version"):
        namespace, name = NAMESPACE, node.namespace or node.name
        facets["datasetType"] = _facet("DatasetTypeDatasetFacet", "1-0-0", datasetType="MODEL")
    if node.type == "version":
        facets["version"] = _facet("DatasetVersionDatasetFacet", "1-0-1", datasetVersion=node.name)
    if node.type == "feature":
        facets["datasetType"] = _facet("DatasetTypeDatasetFacet", "1-0-0", datasetType="FEATURE")
    return {"namespace": namespace, "name": name, **({"facets": facets} if facets else {})}


def _fields(columns: Iterable[NodeName]) -> list[dict[str, str]]:
    split = [(column.namespace, *column.name.rpartition(".")) for column in sorted(columns)]
    return [{"namespace": namespace, "name": name, "field": field} for namespace, name, _, field in split]


def _facet(name: str, version: str, **fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{FACETS}{version}/{name}.json#/$defs/{name}", **fields}


def _job(node: NodeName) -> Pair:
    return node.namespace, node.name


def _column_of(node: NodeName) -> NodeName | None:
    """The dataset whose column a feature is, None for what is no column."""
    dataset, _, column = node.name.rpartition(".")
    return NodeName("dataset", node.namespace, dataset) if node.type == "feature" and dataset and column else None
