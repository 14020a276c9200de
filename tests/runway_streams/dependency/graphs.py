"""Graphs for tests that need no store: edges in memory, and the questions that were asked."""

from collections.abc import AsyncIterator, Collection

from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.node import Node

TIME = 1_700_000_000_000


def edge(upstream: str, downstream: str, confidence: float = 1.0, **more) -> Edge:
    return Edge(upstream, downstream, "feeds", "test", "declared", confidence, TIME, TIME, **more)


def letter(name: str) -> str:
    """`a` -> `dataset:n/a`; capitals are models."""
    return f"model:{name}" if name[0].isupper() else f"dataset:n/{name}"


def edges(text: str) -> list[Edge]:
    """`a>b b>C` -> edges between datasets and models."""
    return [edge(*map(letter, pair.split(">"))) for pair in text.split()]


class FixedGraph:
    """Answers as a store does."""

    def __init__(self, edges: list[Edge]):
        self.all = sorted(edges, key=lambda one: (one.upstream, one.downstream))
        self.asked: list[int] = []

    async def nodes(self, ids: Collection[str]) -> dict[str, Node]:
        known = {end for one in self.all for end in (one.upstream, one.downstream)}
        return {node: Node(node) for node in ids if node in known}

    async def edges(
        self, nodes: Collection[str], direction: Direction, as_of: int | None = None, limit: int = 5_000
    ) -> list[Edge]:
        self.asked.append(len(nodes))
        wanted = set(nodes)
        found = [one for one in self.all if one.near_end(direction) in wanted and one.is_valid(as_of)]
        found.sort(key=lambda one: (one.near_end(direction), one.far_end(direction)))
        return found[:limit]

    async def scan(self, as_of: int | None = None) -> AsyncIterator[list[Edge]]:
        found = [one for one in self.all if one.is_valid(as_of)]
        for begin in range(0, len(found), 3):
            yield found[begin : begin + 3]
