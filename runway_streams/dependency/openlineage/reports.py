"""OpenLineage: what events say of the graph: each by itself, and the runs of a job together, once all is told.

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

An execution that has told everything (`execution.py`), and told of any dataset at all, ends what its job read before and does not
now, and what it said of versions of a model that it does not use any more. One that told of nothing (an extractor that does not
know the operator), or of which something was left out, ends nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256

from msgspec.structs import replace

from runway_streams.dependency.edge import Claim, Source
from runway_streams.dependency.node import Node, model_node, node_type, parse_node
from runway_streams.dependency.openlineage.dataset import Side, dataset_of, datasets_told, union
from runway_streams.dependency.openlineage.edges import Names, aliases, column_edges, edges
from runway_streams.dependency.openlineage.execution import newest
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.run import RunTold, epoch_ms, flow_node
from runway_streams.dependency.report import MAX_CLAIMS, MAX_REPORTER, Report
from schemas.openlineage import DatasetEvent, JobEvent


def event_report(event: RunTold, run: RunTold) -> Report:
    """What an event saw at its time, by the names that all events of its `run` give: so edges begin when they were first seen,
    in whatever order events come. Ends nothing; costs by the event."""
    datasets = {
        key: replace(run.datasets.get(key, told), read=told.read, written=told.written, columns=told.columns)
        for key, told in event.datasets.items()
    }
    return _report("openlineage:", event.job.value, event.last, "observed", Names(datasets, run.datasets), _parents([event]))


def run_report(run: RunTold) -> Report:
    """What a run saw, by all that was told of it. Ends nothing, for there may be others of its job."""
    return _report("openlineage:", run.job.value, run.last, "observed", Names(run.datasets), _parents([run]))


def execution_report(runs: Sequence[RunTold]) -> Report:
    """What the runs of an execution that has told everything saw together, and what is so no more."""
    last = max(runs, key=lambda run: (run.last, run.run))
    counted = newest(runs)
    datasets, cut = union([run.datasets for run in runs])
    whole = bool(datasets) and not cut and not any(run.cut for run in runs)
    inputs = whole and all(run.started or any(one.read for one in run.datasets.values()) for run in counted)
    outputs = whole and all(run.started or any(one.written for one in run.datasets.values()) for run in counted)
    return _report(
        "openlineage:",
        last.job.value,
        last.last,
        "observed",
        Names(datasets),
        _parents(runs),
        inputs=inputs,
        outputs=outputs,
    )


def static_report(event: JobEvent | DatasetEvent, left_out: LeftOut) -> Report:
    """What the event of a job or a dataset declares, apart from what runs are seen to do. Raises BadNode."""
    at = epoch_ms(event.event_time)
    if isinstance(event, DatasetEvent):
        datasets, _ = datasets_told([Side("dataset", [event.dataset])], None, at, left_out)
        alone = {key: replace(told, read=False) for key, told in datasets.items()}
        (key,) = alone
        return _report("openlineage-dataset:", dataset_of(key), at, "declared", Names(alone), outputs=not left_out.lost)
    sides = (Side("inputs", event.inputs), Side("outputs", event.outputs, written=True))
    datasets, cut = datasets_told(sides, event.job, at, left_out)
    whole = not cut and not left_out.lost
    inputs, outputs = whole and event.inputs is not None, whole and event.outputs is not None
    names = Names(datasets)
    return _report("openlineage-job:", flow_node(event.job), at, "declared", names, inputs=inputs, outputs=outputs)


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


def _parents(runs: Iterable[RunTold]) -> set[str]:
    return {run.parent.value for run in runs if run.parent and run.parent.value != run.job.value}


def _report(
    prefix: str,
    subject: str,
    at: int,
    source: Source,
    names: Names,
    parents: Collection[str] = (),
    *,
    inputs: bool = False,
    outputs: bool = False,
) -> Report:
    flow = subject if node_type(subject) == "flow" else None
    claims = dict.fromkeys(edges(flow, names, sorted(parents)))
    columns = dict.fromkeys(column_edges(names))
    every = [*claims, *(edge for edge in columns if edge not in claims)]
    whole = len(every) <= MAX_CLAIMS
    ended = {flow} if flow and inputs else set()
    if outputs:
        ended |= {names.nodes[key] for key, told in names.datasets.items() if told.columns}
        ended |= {end for up, down, _ in columns for end in (up, down) if node_type(end) == "feature"}
    if inputs and outputs:
        versions = (node for node in names.nodes.values() if node_type(node) == "version")
        ended |= {str(model_node(parse_node(node).namespace)) for node in versions}
    return Report(
        reporter=reporter(prefix, subject),
        at=at,
        claims=[Claim(up, down, kind, source) for up, down, kind in every[:MAX_CLAIMS]],
        nodes=[*(Node(one) for one in ([flow] if flow else names.nodes.values())), *aliases(names)][:MAX_CLAIMS],
        whole_inputs=sorted(ended) if whole else [],
        whole_outputs=[flow] if flow and whole and outputs else [],
    )
