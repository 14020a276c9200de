"""LineageStore: the port to whoever keeps the graph. Adapters answer with edges; walking is done by `walk.py`, over any of them.

To write another adapter, implement these methods and add it to the fixture of tests/runway_streams/dependency/test_store.py:
the contract is what passes there.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

from runway_streams.dependency.edge import Direction, Edge
from runway_streams.dependency.node import Node
from runway_streams.dependency.report import Report

PAGE = 5_000
"""Edges or nodes of one page of a scan."""
MAX_SPANS = 200_000
"""Spans of edges that the reports of one call may touch."""


class LineageStore(Protocol):
    """Keeps nodes and edges. Every method raises DependencyDown where the store does not answer, TooSlow where that takes longer
    than its own limit."""

    async def prepare(self) -> None:
        """Makes what the store needs, once: tables, constraints."""

    async def identity(self) -> str:
        """Which graph this is, the same for all that use it until it is lost: one that takes its place has another. "" where
        followers' cursors are lost with it."""

    async def apply(self, reports: Sequence[Report]) -> None:
        """Takes reports, all or none. The same again changes nothing; two at a time lose nothing of either. A node's facts
        are replaced key by key by those of the newest report. Reports are checked by the caller (`check_report`).
        Raises BadReport where they touch more than MAX_SPANS.

        Reports may come in any order: what is in force after them is the same. The past is as `spans.py` has it: of a span
        its first and its last sighting are kept, so an absence that is told late, and lies between them, ends the span there, and
        lets it begin anew at the last sighting; those between the absence and that one are not known any more."""

    async def nodes(self, ids: Collection[str]) -> dict[str, Node]:
        """Those of the nodes that are known."""

    async def edges(
        self, nodes: Collection[str], direction: Direction, as_of: int | None = None, limit: int = PAGE
    ) -> list[Edge]:
        """The edges that lead away from these nodes in a direction and are in force at `as_of` (None: now), at most `limit`;
        ordered by near end, far end, kind, reporter, so that the same ones come where there are more."""

    def scan(self, as_of: int | None = None) -> AsyncIterator[list[Edge]]:
        """All edges in force at `as_of`, in pages of at most PAGE, each edge once, ordered by upstream and downstream end."""

    async def find(self, text: str, types: Collection[str] = (), limit: int = 50) -> list[Node]:
        """Nodes whose name contains a text, whatever the case, ordered by name; types may be narrowed."""

    async def close(self) -> None:
        """Lets go of connections."""
