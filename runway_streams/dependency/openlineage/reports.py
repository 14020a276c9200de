"""OpenLineage: what the events of a run tell together, and what that says of the graph.

| OpenLineage | graph |
|---|---|
| job | `flow:NAMESPACE/NAME` |
| dataset | `dataset:NAMESPACE/NAME`; by the first `TABLE` of its symlinks, where it has one: others call it that |
| dataset of type `MODEL` | `model:NAME@VERSION`, `version_of` the model; a dataset where that is no model's name |
| input, output | dataset `feeds` flow, flow `produces` dataset |
| column | `feature:NAMESPACE/DATASET.COLUMN`; its dataset `feeds` it |
| column lineage | an input column `feeds` what is made from it, and a dataset that it filters or groups |
| Feast's features of a feature view | columns of the view |
| parent | the parent's flow `triggers` this one |

A run that ended well and told of any dataset at all has told everything: what its job read before and does not now, ends, and
so does what it said of versions of a model that it does not use any more. One that failed, or told of nothing (an extractor
that does not know the operator), ends nothing.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256

import msgspec

from runway_streams.dependency.edge import Claim, Source
from runway_streams.dependency.node import Node, model_node, node_type, parse_node
from runway_streams.dependency.openlineage.run import ALL, DatasetTold, RunTold, datasets_told, epoch_ms, flow_node, written
from runway_streams.dependency.refusals import BadNode
from runway_streams.dependency.report import MAX_CLAIMS, MAX_REPORTER, Report
from schemas.openlineage import DatasetEvent, JobEvent

MAX_ALIASES = 20
"""Other names of a dataset that are kept with it."""


def run_report(told: RunTold) -> Report:
    """What a run says of the graph, by all that was told of it so far."""
    flow = told.job.value
    whole = told.succeeded and not told.cut and bool(told.datasets)
    inputs = whole and (told.started or any(dataset.read for dataset in told.datasets.values()))
    outputs = whole and (told.started or any(dataset.written for dataset in told.datasets.values()))
    parents = [told.parent.value] if told.parent and told.parent.value != flow else []
    return _report("openlineage:", flow, told.last, "observed", told.datasets, parents, inputs, outputs)


def run_reports(event: RunTold, merged: RunTold) -> list[Report]:
    """What to tell the graph once an event was merged with the others of its run: all of it; and of an event that came late
    what it alone saw at its time, so that edges begin when they were first seen, in whatever order that came."""
    reports = [run_report(merged)]
    if event.last < merged.last:
        alone = run_report(event)
        reports.append(Report(alone.reporter, alone.at, alone.claims, alone.nodes))
    return reports


def static_report(event: JobEvent | DatasetEvent) -> Report:
    """What the event of a job or a dataset declares, apart from what runs are seen to do. Raises BadNode."""
    at = epoch_ms(event.event_time)
    if isinstance(event, DatasetEvent):
        datasets, _ = datasets_told([event.dataset], None, None, at)
        (name,) = datasets
        alone = {name: msgspec.structs.replace(datasets[name], read=False)}
        return _report("openlineage-dataset:", name, at, "declared", alone, [], False, True)
    datasets, _ = datasets_told(event.inputs, event.outputs, event.job.facets, at)
    inputs, outputs = event.inputs is not None, event.outputs is not None
    return _report("openlineage-job:", flow_node(event.job), at, "declared", datasets, [], inputs, outputs)


def reporter(prefix: str, name: str) -> str:
    """A reporter's name, its end a digest where it would be too long.

    >>> reporter("openlineage:", "flow:etl/daily")
    'openlineage:etl/daily'
    >>> len(reporter("openlineage:", "flow:etl/" + "x" * 500))
    256
    """
    full = prefix + name.partition(":")[2]
    if len(full) <= MAX_REPORTER:
        return full
    digest = sha256(full.encode()).hexdigest()[:32]
    return f"{full[: MAX_REPORTER - 33]}~{digest}"


def _report(
    prefix: str,
    subject: str,
    at: int,
    source: Source,
    datasets: dict[str, DatasetTold],
    parents: list[str],
    inputs: bool,
    outputs: bool,
) -> Report:
    nodes = {name: _node(name, told) for name, told in datasets.items()}
    flow = [subject] if node_type(subject) == "flow" else []
    claims = dict.fromkeys(_edges(flow, datasets, nodes, parents))
    columns = dict.fromkeys(_column_edges(datasets, nodes))
    every = [*claims, *(edge for edge in columns if edge not in claims)]
    whole = len(every) <= MAX_CLAIMS
    made = {node for name, node in nodes.items() if datasets[name].columns}
    made |= {end for up, down, _ in columns for end in (up, down) if node_type(end) == "feature"}
    models = {str(model_node(parse_node(node).namespace)) for node in nodes.values() if node_type(node) == "version"}
    ended = [*(flow if inputs else ()), *(made if outputs else ()), *(models if inputs and outputs else ())]
    return Report(
        reporter=reporter(prefix, subject),
        at=at,
        claims=[Claim(up, down, kind, source) for up, down, kind in every[:MAX_CLAIMS]],  # type: ignore[arg-type]
        nodes=[*(Node(one) for one in flow or nodes.values()), *_aliases(datasets, nodes)][:MAX_CLAIMS],
        whole_inputs=sorted(set(ended)) if whole else [],
        whole_outputs=flow if whole and outputs else [],
    )


def _node(name: str, told: DatasetTold) -> str:
    if told.model and told.model.value:
        version = told.version.value if told.version else None
        try:
            return str(model_node(parse_node(name).name, version))
        except BadNode:
            return name
    return told.tables.value[0] if told.tables and told.tables.value else name


def _edges(
    flow: list[str], datasets: dict[str, DatasetTold], nodes: dict[str, str], parents: Iterable[str]
) -> Iterator[tuple[str, str, str]]:
    for one in flow:
        yield from ((parent, one, "triggers") for parent in parents)
        yield from ((nodes[name], one, "feeds") for name, told in datasets.items() if told.read)
        yield from ((one, nodes[name], "produces") for name, told in datasets.items() if told.written)
    for node in nodes.values():
        if node_type(node) == "version":
            yield node, str(model_node(parse_node(node).namespace)), "version_of"


def _column_edges(datasets: dict[str, DatasetTold], nodes: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, told in datasets.items():
        for column, sources in (told.columns.value if told.columns else {}).items():
            target = nodes[name] if column == ALL else _feature(nodes[name], column)
            if target is None:
                continue
            if column != ALL and target != nodes[name]:
                yield nodes[name], target, "feeds"
            for source_dataset, source_column in sources:
                owner = nodes.get(source_dataset, source_dataset)
                feature = _feature(owner, source_column)
                if feature and feature != target:
                    if node_type(feature) == "feature":
                        yield owner, feature, "feeds"
                    yield feature, target, "feeds"


def _feature(dataset: str, column: str) -> str | None:
    """The node of a column; a model has none, and is one itself; a name that is too long is left out."""
    owner = parse_node(dataset)
    if owner.type != "dataset":
        return dataset
    try:
        return written("feature", owner.namespace, f"{owner.name}.{column}")
    except BadNode:
        return None


def _aliases(datasets: dict[str, DatasetTold], nodes: dict[str, str]) -> Iterator[Node]:
    known: dict[str, set[str]] = {}
    for name, told in datasets.items():
        others = {name, *(told.tables.value if told.tables else ())} - {nodes[name]}
        known.setdefault(nodes[name], set()).update(others)
    for node, others in sorted(known.items()):
        if others:
            yield Node(node, {"also_known_as": sorted(others)[:MAX_ALIASES]})
