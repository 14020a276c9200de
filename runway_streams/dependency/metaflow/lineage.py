"""MetaflowLineage: what one run of a flow tells of lineage, as reports to the graph.

In this order of trust, each claim with its source and confidence:

1. the artifact `runway_lineage`, a JSON text (`schemas/runway_lineage.py`): all that the run read and wrote, declared;
2. tags of the run, `runway:model:N`, `runway:feature:NS/N`, `runway:data:NS/N`, `runway:upstream-model:N[@V]`: declared;
3. the metadata `execution-triggers`: which run has started this one, observed;
4. `trigger_on_finish` in the flow's graph: which flow starts this one, declared in its code.

1 is used instead of 2, as it tells everything; 3 and 4 tell of flows and stand beside them. What cannot be read gives a note
in a sentence, and the next source is used. Each source is a reporter of its own, so that none takes back another's word.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from runway_streams.dependency.edge import Claim, Kind, Source
from runway_streams.dependency.metaflow.run import MetaflowRun
from runway_streams.dependency.node import DEFAULT_NAMESPACE, Node, model_node, model_of, named, node_type, split_name
from runway_streams.dependency.refusals import BadNode
from runway_streams.dependency.report import Report
from schemas.runway_lineage import LineageEnd, RunwayLineage

NAMESPACE = "metaflow"
NOBODY: Mapping[str, str] = MappingProxyType({})
IN_ARTIFACT = 1.0
"""The flow says it in its own words, all of it."""
IN_TAGS = 0.9
"""Somebody says it of the run, by hand and maybe not all of it."""
BY_TRIGGER = 0.8
"""It was seen to happen; that data went the same way is likely, not sure."""
BY_KNOWN_FLOW = 0.7
"""The flow is set as the model's own, but the run does not say that it made the model."""
IN_GRAPH = 0.6
"""The flow waits for the other; whether it reads what that wrote, nobody says."""
MAX_TEXT = 1 << 20
"""Characters of an artifact that are read."""
MAX_TAGS = 500
MAX_TRIGGERS = 100
SHOWN = 10
"""Names in a note."""
_KINDS = {"feature": "feature", "data": "dataset"}


class Told(Struct):
    """What a run tells: reports in the order of trust, which model and version it made, all models that it says anything of as
    their maker, and notes on what was no use."""

    reports: list[Report] = []
    model_id: str | None = None
    version: str | None = None
    makes: list[str] = []
    notes: list[str] = []


class _Said(Struct):
    model: str | None = None
    version: str | None = None
    inputs: list[str] = []
    outputs: list[str] = []
    whole: bool = False
    source: Source = "declared"
    confidence: float = IN_TAGS

    def claim(self, upstream: str, downstream: str, kind: Kind) -> Claim:
        return Claim(upstream, downstream, kind, self.source, self.confidence)


def told_by(
    run: MetaflowRun,
    model_id: str | None = None,
    registered: Mapping[str, str] = NOBODY,
    foreign: Collection[str] = (),
) -> Told:
    """What a run tells; `model_id` is the model whose flow this is, for a run that names none; `registered` are the versions,
    by model, that the registry has of this run, which may be called otherwise than the run; `foreign` are models that it may
    not say it has made: what it read and wrote is then its flow's.

    >>> told = told_by(MetaflowRun("FraudFlow", "7", 10, 20, tags=["runway:model:fraud", "runway:feature:payments/amount"]))
    >>> [(claim.upstream, claim.kind, claim.downstream) for claim in told.reports[0].claims][:2]
    [('flow:metaflow/FraudFlow', 'produces', 'model:fraud'), ('feature:payments/amount', 'feeds', 'model:fraud')]
    >>> told.version
    '7'
    """
    told = Told(notes=list(run.notes))
    try:
        flow = str(named("flow", NAMESPACE, run.flow))
        named("run", NAMESPACE, run.pathspec)
    except BadNode as error:
        told.notes.append(error.sentence)
        return told
    said = _by_artifact(run, told.notes) or _by_tags(run, told.notes)
    if said.model is None and model_id is not None:
        said.model, said.source, said.confidence = model_id, "inferred", BY_KNOWN_FLOW
    told.makes = _makes(said)
    _leave_out(said, foreign, run, told.notes)
    told.model_id, told.version = said.model, _version(run, said, registered, told.notes)
    told.reports = [_report(run, flow, said, told.version)]
    for reporter, claims, whole in (
        ("metaflow-triggers", _by_triggers(run, flow, told.notes), []),
        ("metaflow-graph", _by_graph(run, flow, told.notes), [flow] if run.graph is not None else []),
    ):
        if claims or whole:
            told.reports.append(Report(f"{reporter}:{run.flow}", _at(run), claims, whole_inputs=whole))
    return told


def _at(run: MetaflowRun) -> int:
    return run.started_at if run.finished_at is None else run.finished_at


def run_node(flow: str, run_id: str) -> str:
    """The name of a run's node. Raises BadNode.

    >>> run_node("FraudFlow", "7")
    'run:metaflow/FraudFlow%2F7'
    """
    return str(named("run", NAMESPACE, f"{flow}/{run_id}"))


def _report(run: MetaflowRun, flow: str, said: _Said, version: str | None) -> Report:
    """A model takes the inputs and gives the outputs, where one was made; else the flow does."""
    model = f"model:{said.model}" if said.model else None
    target, claims, nodes = model or flow, [], [Node(flow)]
    if model:
        claims.append(said.claim(flow, model, "produces"))
    claims += [said.claim(one, target, "feeds") for one in said.inputs if one != target]
    claims += [said.claim(target, one, "produces") for one in said.outputs if one != target]
    whole = [target] if said.whole and run.finished_at is not None else []
    if model and version:
        node, made = f"{model}@{version}", run_node(run.flow, run.id)
        claims += [Claim(flow, made, "produces", "observed"), said.claim(made, node, "produces")]
        claims += [said.claim(node, model, "version_of")]
        claims += [said.claim(one, node, "feeds") for one in said.inputs if one != node]
        facts = {"flow": run.flow, "started_at": run.started_at, "finished_at": run.finished_at}
        nodes += [Node(made, facts), Node(node, {"training_run": run.pathspec})]
    # All inputs of the model are told: what an earlier run told and this one does not, has ended, versions of its own included.
    return Report(f"metaflow:{run.flow}", _at(run), claims, nodes, whole, whole)


def _makes(said: _Said) -> list[str]:
    outputs = [model_of(one).removeprefix("model:") for one in said.outputs if node_type(one) in ("model", "version")]
    return _once([said.model, *outputs] if said.model else outputs)


def _leave_out(said: _Said, foreign: Collection[str], run: MetaflowRun, notes: list[str]) -> None:
    left_out = [one for one in _makes(said) if one in foreign]
    if not left_out:
        return
    shown = ", ".join(left_out[:SHOWN]) + (", ..." if len(left_out) > SHOWN else "")
    notes.append(f"That {run.pathspec} has made {shown} is left out of the lineage: its flow is not the model's.")
    said.outputs = [one for one in said.outputs if model_of(one).removeprefix("model:") not in foreign]
    if said.model in foreign:
        said.model = said.version = None


def _version(run: MetaflowRun, said: _Said, registered: Mapping[str, str], notes: list[str]) -> str | None:
    """Only a run that has ended well makes a version; unless it or the registry says how that is called, it is called as the
    run."""
    if said.model is None or run.finished_at is None:
        return None
    try:
        return model_node(said.model, said.version or registered.get(said.model) or run.id).name
    except BadNode as error:
        notes.append(error.sentence)
        return None


# -- the artifact -----------------------------------------------------------------------------------------------------


def read_lineage(text: str) -> RunwayLineage:
    """The document in an artifact. Raises BadNode, which says in a sentence what is wrong with it."""
    if len(text) > MAX_TEXT:
        raise BadNode(f"It has more than {MAX_TEXT} characters.")
    try:
        return msgspec.json.decode(text, type=RunwayLineage)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadNode(f"It is not runway.lineage/1: {str(error)[:200]}.") from None
    except RecursionError:
        raise BadNode("It is nested too deeply.") from None


def _by_artifact(run: MetaflowRun, notes: list[str]) -> _Said | None:
    if run.lineage is None:
        return None
    try:
        found = read_lineage(run.lineage)
        model = found.model
        if model:
            model_node(model.name, model.version)
        inputs, outputs = [_end(one) for one in found.inputs], [_end(one) for one in found.outputs]
    except BadNode as error:
        notes.append(f"The artifact runway_lineage of {run.pathspec} is not used. {error.sentence}")
        return None
    name, version = (model.name, model.version) if model else (None, None)
    return _Said(name, version, _once(inputs), _once(outputs), True, "declared", IN_ARTIFACT)


def _end(end: LineageEnd) -> str:
    if end.type == "model":
        return str(model_node(end.name, end.version))
    return str(named(end.type, end.namespace or DEFAULT_NAMESPACE, end.name))


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


# -- tags -------------------------------------------------------------------------------------------------------------


def _by_tags(run: MetaflowRun, notes: list[str]) -> _Said:
    said = _Said()
    for tag in sorted(run.tags)[:MAX_TAGS]:
        prefix, _, rest = tag.partition(":")
        if prefix != "runway":
            continue
        try:
            _take_tag(said, *rest.partition(":")[::2])
        except BadNode as error:
            notes.append(f"The tag {tag[:200]!r} of {run.pathspec} is not used. {error.sentence}")
    # A run whose inputs are told by tags tells all of them so; one without any such tag tells nothing.
    said.whole = bool(said.inputs)
    return said


def _take_tag(said: _Said, kind: str, name: str) -> None:
    if kind == "model":
        if said.model is not None:
            raise BadNode(f"The run has the model {said.model!r} already.")
        said.model = model_node(name).name
    elif kind in _KINDS:
        said.inputs = _once([*said.inputs, str(named(_KINDS[kind], *split_name(name)))])
    elif kind == "upstream-model":
        model, at, version = name.partition("@")
        said.inputs = _once([*said.inputs, str(model_node(model, version if at else None))])
    else:
        raise BadNode(f"{kind[:80]!r} is no kind of tag: they are model, feature, data and upstream-model.")


# -- triggers ---------------------------------------------------------------------------------------------------------


def _by_triggers(run: MetaflowRun, flow: str, notes: list[str]) -> list[Claim]:
    if run.triggers is None:
        return []
    try:
        found = msgspec.json.decode(run.triggers[:MAX_TEXT], type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        notes.append(f"The execution-triggers of {run.pathspec} are not used: {str(error)[:200]}.")
        return []
    claims: dict[tuple[str, str], Claim] = {}
    for trigger in found[:MAX_TRIGGERS]:
        parts = str(trigger.get("id")).split("/")
        if trigger.get("type") != "run" or len(parts) < 2:
            continue  # an event from outside names no flow
        try:
            ends = [(str(named("flow", NAMESPACE, parts[0])), flow)]
            ends.append((run_node(parts[0], parts[1]), run_node(run.flow, run.id)))
        except BadNode as error:
            notes.append(f"A trigger of {run.pathspec} is not used. {error.sentence}")
            continue
        claims |= {pair: Claim(*pair, "triggers", "observed", BY_TRIGGER) for pair in ends if pair[0] != pair[1]}
    return list(claims.values())


# -- the graph --------------------------------------------------------------------------------------------------------


def _by_graph(run: MetaflowRun, flow: str, notes: list[str]) -> list[Claim]:
    claims: dict[str, Claim] = {}
    for name in _awaited(run.graph or {}):
        try:
            upstream = str(named("flow", NAMESPACE, name))
        except BadNode as error:
            notes.append(f"A trigger_on_finish of {run.flow} is not used. {error.sentence}")
            continue
        if upstream != flow:
            claims[upstream] = Claim(upstream, flow, "triggers", "declared", IN_GRAPH)
    return list(claims.values())


def _awaited(graph: dict[str, Any]) -> list[str]:
    """The flows that `@trigger_on_finish` names; of a project's full name, `project.branch.Flow`, the flow.

    >>> _awaited({"decorators": [{"name": "trigger_on_finish", "attributes": {"flow": "p.prod.A", "flows": [{"name": "B"}]}}]})
    ['A', 'B']
    """
    found: list[Any] = []
    decorators = graph.get("decorators")
    for decorator in decorators if isinstance(decorators, list) else []:
        attributes = decorator.get("attributes") if isinstance(decorator, dict) else None
        if isinstance(attributes, dict) and decorator.get("name") == "trigger_on_finish":
            several = attributes.get("flows")
            found += [attributes.get("flow"), *(several if isinstance(several, list) else [])]
    names = [one.get("name") if isinstance(one, dict) else one for one in found]
    flows = [name.rpartition(".")[2] for name in names if isinstance(name, str)]
    # Metaflow writes what was not given as the text None; a flow is a class, and none is called so.
    return [flow for flow in flows if flow.isidentifier() and flow != "None"][:MAX_TRIGGERS]
