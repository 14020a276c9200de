"""What the registry says of a model and its versions, as reports to the lineage graph."""

from runway_streams.dependency.edge import Claim
from runway_streams.dependency.node import MAX_ID, Node, model_node, named, split_name
from runway_streams.dependency.refusals import BadNode
from runway_streams.dependency.report import Report
from runway_streams.registry.catalog import Entry
from runway_streams.registry.versions import VersionEntry

REPORTER = "registry"
VERSIONS = "registry/versions"
"""Apart: a model tells all that it is made from, and of its versions each tells for itself."""
OUT_OF_USE = ("deprecated", "archived")
METAFLOW = "metaflow"
"""The namespace of flows and runs."""


def report_of(entry: Entry | VersionEntry) -> Report:
    """What the registry says of a model or of a version."""
    return report_of_version(entry) if isinstance(entry, VersionEntry) else report_of_model(entry)


def report_of_model(entry: Entry) -> Report:
    """A model's title, owner and criticality, and the flow that trains it. Another flow ends the one before."""
    model = entry.model
    node = str(model_node(model.model_id))
    facts = {
        "title": model.name,
        "owner": model.owner,
        "criticality": model.criticality,
        "registered": entry.registered,
        "archived": entry.archived,
    }
    flow = _named("flow", METAFLOW, model.flow or "")
    claims = [Claim(flow, node, "produces", "declared")] if flow else []
    return Report(REPORTER, entry.updated_at, claims, [Node(node, facts)], whole_inputs=[node])


def report_of_version(entry: VersionEntry) -> Report:
    """A version: the features that it reads, the run that made it, and its model for as long as it may be used: what it was
    made from has no say in the model any more once it is deprecated."""
    version = entry.version
    node, model = str(model_node(entry.model_id, version.version)), str(model_node(entry.model_id))
    claims = [] if entry.stage in OUT_OF_USE else [Claim(node, model, "version_of", "declared")]
    for use in version.features:
        feature = _named("feature", *split_name(use.name))
        if feature:
            claims.append(Claim(feature, node, "feeds", "declared"))
    claims += _made_by(version.training_run, node)
    facts = {"stage": entry.stage, "trained_at": version.trained_at.isoformat() if version.trained_at else None}
    return Report(VERSIONS, entry.stage_since, claims, [Node(node, facts)], whole_outputs=[node])


def flow_of(training_run: str | None) -> str | None:
    """The flow of a Metaflow pathspec, None where it is another system's name for a run.

    >>> flow_of("TrainFraud/123"), flow_of("https://mlflow/runs/7"), flow_of(None)
    ('TrainFraud', None, None)
    """
    flow, slash, run = (training_run or "").partition("/")
    return flow if slash and flow.isidentifier() and run and "/" not in run else None


def _made_by(training_run: str | None, node: str) -> list[Claim]:
    name = flow_of(training_run)
    flow, run = _named("flow", METAFLOW, name or ""), _named("run", METAFLOW, training_run or "")
    if name is None or flow is None or run is None:
        return []
    return [Claim(flow, run, "produces", "declared"), Claim(run, node, "produces", "declared")]


def _named(type_: str, namespace: str, name: str) -> str | None:
    # A name that no node can have, such as one with a control character, is no reason to leave the rest out.
    try:
        node = str(named(type_, namespace, name))
    except BadNode:
        return None
    return node if len(node) <= MAX_ID else None
