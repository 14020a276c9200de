"""Walk: what lies upstream or downstream of a node, level by level, each node once, by a shortest path, within limits.

A breadth-first search over any store: one question a level with the whole frontier, and what was reached is never asked again.
So cycles cost nothing, and no path is walked twice, however many there are.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Literal

from msgspec import Struct

from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.node import TYPES, NodeType, node_type
from runway_streams.dependency.refusals import BadQuestion, UnknownNode
from runway_streams.dependency.store import LineageStore

MAX_DEPTH = 50
"""The deepest walk; further away, nothing is explained by anything."""
DEFAULT_DEPTH = 5
MAX_NODES = 10_000
"""Nodes that one walk reaches at most; what is nearer comes first."""
MAX_EDGES = 50_000
"""Edges that one walk looks at at most."""
LIMIT_S = 5.0
"""Seconds after which a walk answers with what it has."""
FRONTIER = 1_000
"""Nodes of one question to the store."""
Stopped = Literal["", "nodes", "edges", "time"]


class Step(Struct, frozen=True):
    """A node that was reached, and the edge by which it was reached first; of several, the most confident, then by name."""

    id: str
    distance: int
    edge: Edge
    before: str

    @property
    def type(self) -> NodeType:
        return node_type(self.id)


class Walk(Struct):
    """What was reached from `start`, nearest first. `stopped` names the limit that ended it early, if one did."""

    start: str
    direction: Direction
    steps: dict[str, Step] = {}
    stopped: Stopped = ""
    edges_seen: int = 0

    def path(self, node_id: str) -> list[str]:
        """The nodes of a shortest path from the start to a node, both included."""
        found = [node_id]
        while found[-1] != self.start:
            found.append(self.steps[found[-1]].before)
        return found[::-1]

    def edges(self, node_id: str) -> list[Edge]:
        """The edges of that path: the evidence."""
        return [self.steps[one].edge for one in self.path(node_id)[1:]]

    def confidence(self, node_id: str) -> float:
        """The product of the confidences of its path."""
        product = 1.0
        for edge in self.edges(node_id):
            product *= edge.confidence
        return product


class Limits(Struct, frozen=True):
    """Where a walk ends early."""

    nodes: int = MAX_NODES
    edges: int = MAX_EDGES
    seconds: float = LIMIT_S


DEFAULT_LIMITS = Limits()


async def walk(
    store: LineageStore,
    start: str,
    direction: Direction,
    depth: int = DEFAULT_DEPTH,
    as_of: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> Walk:
    """Walks from a node. Raises BadQuestion for a depth that is not answered, UnknownNode, and DependencyDown."""
    check_depth(depth)
    if start not in await store.nodes([start]):
        raise UnknownNode(f"There is no node {start!r}.", "Its name is in the answers of GET /v1/lineage/nodes?q=TEXT.")
    found, deadline = Walk(start, direction), clock() + limits.seconds
    frontier = [start]
    for distance in range(1, depth + 1):
        frontier = await _level(store, found, frontier, distance, as_of, limits, lambda: deadline - clock())
        if not frontier or found.stopped:
            break
    return found


def check_depth(depth: int) -> None:
    """Raises BadQuestion where a depth is not from 1 to MAX_DEPTH."""
    if not 1 <= depth <= MAX_DEPTH:
        raise BadQuestion(f"A depth of {depth} is not answered.", f"Give one from 1 to {MAX_DEPTH}.")


async def edges_within(
    seconds: float, store: LineageStore, nodes: list[str], direction: Direction, as_of: int | None, limit: int
) -> list[Edge]:
    """What a store answers in the time that is left. Raises TimeoutError."""
    if seconds <= 0:
        raise TimeoutError
    async with asyncio.timeout(seconds):
        return await store.edges(nodes, direction, as_of, limit)


def check_types(types: Collection[str]) -> None:
    """Raises BadQuestion for a type that no node has."""
    for name in types:
        if name not in TYPES:
            raise BadQuestion(f"{name[:80]!r} is no type of node.", f"Types are {', '.join(TYPES)}.")


async def _level(
    store: LineageStore,
    found: Walk,
    frontier: list[str],
    distance: int,
    as_of: int | None,
    limits: Limits,
    seconds_left: Callable[[], float],
) -> list[str]:
    new: dict[str, Step] = {}
    for begin in range(0, len(frontier), FRONTIER):
        left = limits.edges - found.edges_seen
        some = frontier[begin : begin + FRONTIER]
        try:
            edges = await edges_within(seconds_left(), store, some, found.direction, as_of, left + 1)
        except TimeoutError:
            found.stopped = "time"
            break
        if len(edges) > left:
            edges, found.stopped = edges[:left], "edges"
        found.edges_seen += len(edges)
        for edge in edges:
            _reach(found, new, edge, distance)
        if found.stopped:
            break
    room = limits.nodes - len(found.steps)
    if len(new) > room:
        new, found.stopped = dict(list(new.items())[:room]), "nodes"
    found.steps |= new
    return list(new)


def _reach(found: Walk, new: dict[str, Step], edge: Edge, distance: int) -> None:
    far, near = edge.far_end(found.direction), edge.near_end(found.direction)
    if far == found.start or far in found.steps:
        return
    known = new.get(far)
    if known is None or edge.confidence > known.edge.confidence:
        new[far] = Step(far, distance, edge, near)
