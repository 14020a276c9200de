"""MemoryStore: a `LineageStore` in a few lines, to hold the others against and for tests that need no database."""

from collections.abc import AsyncIterator, Collection, Sequence

from runway_streams.dependency.edge import Direction, Edge, EdgeKey
from runway_streams.dependency.fold import Facts, History, Wholes, fold_edges, fold_facts, fold_wholes
from runway_streams.dependency.node import Node
from runway_streams.dependency.report import Report
from runway_streams.dependency.search import search_term, search_text
from runway_streams.dependency.store import PAGE


class MemoryStore:
    def __init__(self):
        self.histories: dict[EdgeKey, History] = {}
        self.facts: dict[str, Facts] = {}
        self.wholes: dict[str, Wholes] = {}

    async def prepare(self) -> None:
        pass

    async def identity(self) -> str:
        return ""

    async def apply(self, reports: Sequence[Report]) -> None:
        facts, histories = fold_facts(self.facts, reports), fold_edges(self.histories, reports, self.wholes)
        self.facts |= {node: {} for report in reports for node in report.node_ids() - self.facts.keys()} | facts
        self.histories |= histories
        self.wholes |= fold_wholes(self.wholes, reports)

    async def nodes(self, ids: Collection[str]) -> dict[str, Node]:
        return {node: self._node(node) for node in ids if node in self.facts}

    async def edges(
        self, nodes: Collection[str], direction: Direction, as_of: int | None = None, limit: int = PAGE
    ) -> list[Edge]:
        found = [edge for edge in self._in_force(as_of) if edge.near_end(direction) in set(nodes)]
        return sorted(found, key=lambda it: (it.near_end(direction), it.far_end(direction), it.kind, it.reporter))[:limit]

    async def scan(self, as_of: int | None = None) -> AsyncIterator[list[Edge]]:
        found = sorted(self._in_force(as_of), key=lambda edge: edge.key)
        for begin in range(0, len(found), PAGE):
            yield found[begin : begin + PAGE]

    async def find(self, text: str, types: Collection[str] = (), limit: int = 50) -> list[Node]:
        term = search_term(text)
        if term is None:
            return []
        nodes = map(self._node, sorted(self.facts))
        return [node for node in nodes if term in search_text(node.id) and (not types or node.type in types)][:limit]

    async def close(self) -> None:
        pass

    def _in_force(self, as_of: int | None) -> list[Edge]:
        return [edge for history in self.histories.values() for edge in history if edge.is_valid(as_of)]

    def _node(self, node: str) -> Node:
        return Node(node, {key: value for key, (_, value) in self.facts[node].items()})
