"""`/v1/lineage/export`: a part of the graph as others read it: Graphviz' DOT, or OpenLineage's events."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.documents import answer
from api.lineage_questions import parse_as_of, parse_depth, parse_direction, parse_node_parameter
from api.problems import Problem, bad_request
from runway_streams.dependency.dot import to_dot
from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.graph import Answer, LineageGraph
from runway_streams.dependency.openlineage.export import to_events
from runway_streams.dependency.walk import FRONTIER, MAX_EDGES
from runway_streams.errors import DependencyDown

QUESTION = frozenset({"node", "direction", "depth", "as_of", "format"})
FORMATS = ("dot", "openlineage")
EXPORT_S = 30.0
"""The longest that all questions of one export to the graph may take."""


async def get_export(request: Request) -> Response:
    """`GET`: all edges between a node and what lies in a direction from it. Whole or not at all: while the graph is away, 503."""
    given = dict(request.query_params)
    _check_names(request)
    wanted = given.get("format", "dot")
    if wanted not in FORMATS:
        raise bad_request("bad-format", f"format must be one of {', '.join(FORMATS)}.")
    node, direction, depth = parse_node_parameter(given), parse_direction(given, "upstream"), parse_depth(given)
    now = request.app.state.now()
    as_of = parse_as_of(given, now)
    try:
        async with asyncio.timeout(EXPORT_S):
            nodes, edges = await _part(request.app.state.lineage, node, direction, depth, as_of)
    except TimeoutError:
        raise _too_large(f"The graph has not told all of it within {EXPORT_S:.0f} s.") from None
    if wanted == "openlineage":
        return answer(to_events(edges, now if as_of is None else as_of))
    return Response(to_dot(edges, nodes), media_type="text/vnd.graphviz")


async def _part(
    graph: LineageGraph, node: str, direction: Direction, depth: int, as_of: int | None
) -> tuple[list[str], list[Edge]]:
    walked = _whole(await graph.walk(node, direction, depth, as_of)).walk
    if walked.stopped:
        raise _too_large(f"The search was ended by its limit of {walked.stopped}.")
    nodes = sorted({node, *walked.steps})
    edges: list[Edge] = []
    for begin in range(0, len(nodes), FRONTIER):
        edges += _whole(await graph.edges(nodes[begin : begin + FRONTIER], direction, as_of, MAX_EDGES + 1 - len(edges)))
        if len(edges) > MAX_EDGES:
            raise _too_large(f"There are more than {MAX_EDGES} edges.")
    known = set(nodes)
    return nodes, [edge for edge in edges if edge.upstream in known and edge.downstream in known]


def _whole(found: Answer) -> Any:
    if found.degraded:
        raise DependencyDown(found.problem, "Ask again.")
    return found.found


def _too_large(detail: str) -> Problem:
    return Problem(422, "large-export", f"{detail} Ask for a smaller depth.")


def _check_names(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in QUESTION:
            raise bad_request(
                "unknown-parameter", f"{name[:50]!r} is no parameter; there are {', '.join(sorted(QUESTION))}."
            )
        if names.count(name) > 1:
            raise bad_request("repeated-parameter", f"{name} is given more than once.")
