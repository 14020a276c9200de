"""Graphs for tests that need no store: edges in memory, and the questions that were asked."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.node import Node

TIME = 1_700_000_000_000


def edge(upstream: str, downstream: str, confidence: float = 1.0, **more) -> Edge:
    kind = "version_of" if upstream.startswith(f"{downstream}@") else "feeds"
    return Edge(upstream, downstream, kind, "test", "declared", confidence, TIME, TIME, **more)


def letter(name: str) -> str:
    """`a` -> `dataset:n/a`; capitals are models."""
    return f"model:{name}" if name[0].isupper() else f"dataset:n/{name}"


def edges(text: str) -> list[Edge]:
    """`a>b b>C` -> edges between datasets and models."""
    return [edge(*map(letter, pair.split(">"))) for pair in text.split()]


class Beside:
    """A function that ends only if the event loop goes on beside it; in the loop itself it fails instead."""

    def __init__(self, function: Callable):
        self._function, self._loop = function, asyncio.get_running_loop()

    def __call__(self, *arguments):
        answered = threading.Event()
        self._loop.call_soon_threadsafe(answered.set)
        assert answered.wait(10), "the event loop stands still meanwhile"
        return self._function(*arguments)


class FixedGraph:
    """Answers as a store does."""

    def __init__(self, edges: list[Edge]):
        self.all = sorted(edges, key=lambda one: (one.upstream, one.downstream))
        self.asked: list[int] = []
        self.facts: dict[str, dict[str, Any]] = {}
        self.answers: int | None = None
        """Questions that are answered before it stands still; None for all."""

    async def nodes(self, ids: Collection[str]) -> dict[str, Node]:
        known = {end for one in self.all for end in (one.upstream, one.downstream)}
        return {node: Node(node, self.facts.get(node, {})) for node in ids if node in known}

    async def edges(
        self, nodes: Collection[str], direction: Direction, as_of: int | None = None, limit: int = 5_000
    ) -> list[Edge]:
        await self._answer()
        self.asked.append(len(nodes))
        wanted = set(nodes)
        found = [one for one in self.all if one.near_end(direction) in wanted and one.is_valid(as_of)]
        found.sort(key=lambda one: (one.near_end(direction), one.far_end(direction)))
        return found[:limit]

    async def scan(self, as_of: int | None = None) -> AsyncIterator[list[Edge]]:
        found = [one for one in self.all if one.is_valid(as_of)]
        for begin in range(0, len(found), 3):
            await self._answer()
            yield found[begin : begin + 3]

    async def _answer(self) -> None:
        if self.answers == 0:
            await asyncio.Event().wait()
        elif self.answers is not None:
            self.answers -= 1
