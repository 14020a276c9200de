"""`/v1/models/{id}/lineage`, `/v1/impact`, `/v1/lineage/...`: what things are made from, and what they reach."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.documents import answer
from api.lineage_questions import parse_as_of, parse_depth, parse_direction, parse_node_parameter, parse_types
from api.pages import Page, Whole, parse_filter, parse_page
from api.problems import Problem, bad_request
from runway_streams.dependency.digests import SORTED_BY, node_digest
from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.graph import Answer, LineageGraph, Walked
from runway_streams.dependency.impact import Affected, affected, blast_radius, rank
from runway_streams.dependency.loops import Loop
from runway_streams.dependency.node import model_node
from runway_streams.dependency.walk import Walk
from runway_streams.times import format_time
from schemas.lineage import (
    CycleItem,
    CyclePage,
    DiscoveryState,
    EdgeItem,
    LineageItem,
    LineagePage,
    NodeItem,
    NodePage,
    Radius,
)

QUESTION = frozenset({"direction", "depth", "as_of", "type"})
MILLIONTHS = 1_000_000


async def get_model_lineage(request: Request) -> Response:
    """`GET`: what a model is made from, or what uses it."""
    node = str(model_node(request.path_params["model_id"]))
    return await _walked(request, node, "upstream", QUESTION)


async def get_version_lineage(request: Request) -> Response:
    """`GET`: the same of one version."""
    node = str(model_node(request.path_params["model_id"], request.path_params["version"]))
    return await _walked(request, node, "upstream", QUESTION)


async def get_discovery(request: Request) -> Response:
    """`GET`: how it stands with the lineage of the run that made a version."""
    model_id, version = request.path_params["model_id"], request.path_params["version"]
    one = await request.app.state.discoveries.of_version(model_id, version)
    if one is None:
        raise Problem(404, "no-discovery", f"No run of Metaflow was asked for because of {model_id}@{version}.")
    told = DiscoveryState(
        run=one.pathspec,
        state=one.state,
        attempts=one.attempts,
        next_at=format_time(one.next_at) if one.state == "pending" else None,
        problem=one.problem,
        updated_at=format_time(one.updated_at),
    )
    return answer(told)


async def get_impact(request: Request) -> Response:
    """`GET`: what a change of a node reaches."""
    return await _walked(request, None, "downstream", QUESTION | {"node"})


async def get_cycles(request: Request) -> Response:
    """`GET`: the loops of the graph, feedback first."""
    page = parse_page(request, tuple[Whole], {"as_of", "feedback"})
    given = dict(request.query_params)
    if given.get("feedback", "false") not in ("true", "false"):
        raise bad_request("bad-feedback", "feedback must be true or false.")
    found = await _graph(request).loops(parse_as_of(given, request.app.state.now()))
    loops = found.found.items if found.found else []
    chosen = [loop for loop in loops if loop.feedback or given.get("feedback") != "true"]
    begin = page.after[0] if page.after else 0
    numbered = list(enumerate(chosen))[begin : begin + page.limit + 1]
    items, cursor = page.cut(numbered, lambda one: [one[0] + 1])
    told = CyclePage(
        items=[_cycle(loop) for _, loop in items],
        next_cursor=cursor,
        edges=found.found.edges if found.found else 0,
        whole=found.found.whole if found.found else False,
        **_honesty(found),
    )
    return answer(told)


async def get_nodes(request: Request) -> Response:
    """`GET`: nodes whose name contains a text."""
    page = parse_page(request, tuple[str], {"q", "type"})
    types = parse_types(dict(request.query_params))
    found = await _graph(request).find(parse_filter(request, "q") or "", types, page.limit)
    items = [NodeItem(id=node.id, type=node.type, facts=node.facts) for node in found.found or []]
    return answer(NodePage(items=items, next_cursor=None, **_honesty(found)))


async def _walked(request: Request, node: str | None, default: Direction, known: frozenset[str]) -> Response:
    page = parse_page(request, tuple[Whole, Whole, Whole, str, str], known)
    given = dict(request.query_params)
    node = node or parse_node_parameter(given)
    direction, depth, types = parse_direction(given, default), parse_depth(given), parse_types(given)
    as_of = parse_as_of(given, request.app.state.now())
    found = await _graph(request).walk(node, direction, depth, as_of)
    walked = found.found or Walked(Walk(node, direction), {})
    ranked = affected(walked.walk, walked.facts, types)
    items, cursor = page.cut(_after(ranked, page), _place_of)
    radius = blast_radius(walked.walk, walked.facts)
    told = LineagePage(
        node=node,
        direction=direction,
        depth=depth,
        as_of=None if as_of is None else format_time(as_of),
        items=[_item(walked.walk, one) for one in items],
        next_cursor=cursor,
        blast_radius=Radius(**{field: getattr(radius, field) for field in Radius.__struct_fields__}),
        stopped=radius.stopped,
        **_honesty(found),
    )
    return answer(told)


def _after(ranked: list[Affected], page: Page) -> list[Affected]:
    left = sorted((one for one in ranked if page.after is None or _place_of(one) > page.after), key=_place_of)
    return left[: page.limit + 1]


def _place_of(one: Affected) -> list[Any]:
    # A whole name would not fit into a URL, beside that of the node which is asked about.
    digest = node_digest(one.id).hex() if len(one.id) > SORTED_BY else ""
    return [rank(one), one.distance, MILLIONTHS - round(one.confidence * MILLIONTHS), one.id[:SORTED_BY], digest]


def _item(walk: Walk, one: Affected) -> LineageItem:
    return LineageItem(
        id=one.id,
        type=one.type,
        distance=one.distance,
        path=one.path,
        confidence=one.confidence,
        criticality=one.criticality,
        owner=one.owner,
        title=one.title,
        edges=[edge_item(edge) for edge in walk.edges(one.id)],
    )


def edge_item(edge: Edge) -> EdgeItem:
    """An edge as a document."""
    return EdgeItem(
        upstream=edge.upstream,
        downstream=edge.downstream,
        kind=edge.kind,
        reporter=edge.reporter,
        source=edge.source,
        confidence=edge.confidence,
        first_seen=format_time(edge.valid_from),
        last_seen=format_time(edge.last_seen),
    )


def _cycle(loop: Loop) -> CycleItem:
    return CycleItem(**msgspec.structs.asdict(loop))


def _honesty(found: Answer) -> dict[str, Any]:
    at = None if found.at is None else format_time(found.at)
    return {"answered_at": at, "degraded": ["lineage"] if found.degraded else []}


def _graph(request: Request) -> LineageGraph:
    return request.app.state.lineage
