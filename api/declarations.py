"""`/v1/lineage/declarations`: edges and facts that somebody declares by hand, and who may declare what."""

from starlette.requests import Request
from starlette.responses import Response

from api.auth import require
from api.documents import answer, read_document
from api.principals import Principal
from api.problems import Problem
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.node import Node, NodeName, parse_node
from runway_streams.dependency.report import Report
from runway_streams.registry import catalog
from schemas.lineage import Declaration, Declared


async def post_declarations(request: Request) -> Response:
    """`POST`: takes a declaration of the one who asks; an operator may declare on behalf of others."""
    declared = await read_document(request, Declaration)
    principal = require(request, "owner")
    declarer = declared.on_behalf_of or principal.name
    if declarer != principal.name:
        require(request, "operator")
    report = report_of(declared, declarer, request.app.state.now())
    await _check_facts(request, principal, [parse_node(node.id) for node in declared.nodes if node.facts])
    in_graph = await request.app.state.lineage.tell([report])
    return answer(Declared(in_graph=in_graph, edges=len(report.claims)), 200 if in_graph else 202)


def report_of(declared: Declaration, declarer: str, at: int) -> Report:
    """A declaration as a report; names are written as they are stored. Raises BadNode.

    >>> report_of(Declaration(reporter="bi", whole_inputs=["dataset:a/b.c"]), "key:k1", 7)
    Report(reporter='declared:key:k1:bi', at=7, claims=[], nodes=[], whole_inputs=['dataset:a/b.c'], whole_outputs=[])
    """

    def name(text: str) -> str:
        return str(parse_node(text))

    claims = [
        Claim(name(edge.upstream), name(edge.downstream), edge.kind, "declared", edge.confidence) for edge in declared.edges
    ]
    nodes = [Node(name(node.id), node.facts) for node in declared.nodes]
    whole_inputs, whole_outputs = map(name, declared.whole_inputs), map(name, declared.whole_outputs)
    # Under the declarer's own name, so that nobody takes back, or repeats, another's words.
    reporter = f"declared:{declarer}:{declared.reporter}"
    return Report(reporter, at, claims, nodes, list(whole_inputs), list(whole_outputs))


async def _check_facts(request: Request, principal: Principal, told: list[NodeName]) -> None:
    """Raises Problem where facts are told of a model that the principal may not write: those are the registry's to tell."""
    theirs = {_model_of(node) for node in told if node.type in ("model", "version")}
    if not theirs or principal.has("operator"):
        return
    async with request.app.state.registry.read() as connection:
        owners = {entry.model.model_id: entry.model.owner for entry in await catalog.among(connection, theirs)}
    for model_id in sorted(theirs):
        if not principal.writes_for(owners.get(model_id, "")):
            raise Problem(
                403,
                "not-your-facts",
                f"Facts of the model {model_id} come from the registry, and {principal.name} may not write it there. "
                "Leave them out, or ask its team.",
            )


def _model_of(node: NodeName) -> str:
    return node.name if node.type == "model" else node.namespace
