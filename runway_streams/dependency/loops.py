"""Loops: feedback found in the graph. A model whose predictions come back as its training data judges itself.

Nodes that can all reach each other make one strongly connected component (Tarjan 1972, by `scipy.sparse.csgraph`); each
component is told with one shortest loop through it, through a model where there is one.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from runway_streams.dependency.edge import Edge
from runway_streams.dependency.node import node_type
from runway_streams.dependency.store import LineageStore

MAX_EDGES = 2_000_000
"""Edges of a graph that is searched for loops; beyond, the answer says that it is not whole."""
MAX_LOOPS = 1_000
"""Loops that are told: those with feedback first, then the larger ones."""
LIMIT_S = 45.0
"""Seconds after which the edges that were read so far are searched."""
MAX_SHOWN = 200
"""Nodes of one component that are listed, and nodes of a longer loop that are shown."""


class Loop(Struct, frozen=True):
    """A component and a shortest loop in it: `path` begins and ends with the same node; of a longer loop it is the
    first MAX_SHOWN nodes. It is `feedback` where a model is in it. `nodes` are at most MAX_SHOWN of the `size` that the
    component has."""

    path: list[str]
    nodes: list[str]
    size: int
    models: list[str]
    feedback: bool


class Loops(Struct, frozen=True):
    """All loops: those with feedback first, then the larger ones. `whole` is False where there are more than MAX_LOOPS,
    where the graph has too many edges, or where they took too long to read."""

    items: list[Loop]
    edges: int
    whole: bool


async def find_loops(
    store: LineageStore, as_of: int | None = None, max_edges: int = MAX_EDGES, limit_s: float = LIMIT_S
) -> Loops:
    """Searches the whole graph as of a time. Raises DependencyDown."""
    names: dict[str, int] = {}
    ends: list[np.ndarray] = []
    count, whole = 0, True
    try:
        async with asyncio.timeout(limit_s):
            async for page in store.scan(as_of):
                count += len(page)
                if count > max_edges:
                    whole = False
                    break
                ends.append(np.array([_numbers(edge, names) for edge in page], dtype=np.int64).reshape(-1, 2))
    except TimeoutError:
        whole = False
    pairs = np.concatenate(ends) if ends else np.empty((0, 2), dtype=np.int64)
    # Seconds for a large graph, in which everybody else is answered.
    loops = await asyncio.to_thread(loops_of, list(names), pairs)
    return Loops(loops[:MAX_LOOPS], len(pairs), whole and len(loops) <= MAX_LOOPS)


def loops_of(names: list[str], pairs: np.ndarray) -> list[Loop]:
    """The loops of a graph, one more than MAX_LOOPS at most: `pairs` (edges x 2) are numbers of nodes, upstream and downstream.

    >>> names = ["model:m", "dataset:a/log", "feature:f/x"]
    >>> [loop.path for loop in loops_of(names, np.array([[0, 1], [1, 0], [1, 2]]))]
    [['model:m', 'dataset:a/log', 'model:m']]
    """
    if not len(pairs):
        return []
    size = len(names)
    graph = csr_matrix((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, labels = connected_components(graph, directed=True, connection="strong")
    inside = pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]]
    members: dict[int, dict[int, set[int]]] = {}
    for upstream, downstream in inside.tolist():
        members.setdefault(int(labels[upstream]), {}).setdefault(upstream, set()).add(downstream)
    chosen = heapq.nsmallest(MAX_LOOPS + 1, members.values(), key=lambda following: _place(names, following))
    return [_loop(names, following) for following in chosen]


def _place(names: list[str], following: dict[int, set[int]]) -> tuple[bool, int, str]:
    models = [names[node] for node in following if _is_model(names[node])]
    return not models, -len(following), min(models or map(names.__getitem__, following))


def _is_model(name: str) -> bool:
    return node_type(name) in ("model", "version")


def _loop(names: list[str], following: dict[int, set[int]]) -> Loop:
    nodes = sorted(following, key=names.__getitem__)
    models = [node for node in nodes if _is_model(names[node])]
    path = _shortest_loop(models[0] if models else nodes[0], following, names)
    shown = path if len(path) <= MAX_SHOWN + 1 else path[:MAX_SHOWN]
    return Loop(
        path=[names[node] for node in shown],
        nodes=[names[node] for node in nodes[:MAX_SHOWN]],
        size=len(nodes),
        models=[names[node] for node in models[:MAX_SHOWN]],
        feedback=bool(models),
    )


def _shortest_loop(start: int, following: dict[int, set[int]], names: list[str]) -> list[int]:
    before: dict[int, int] = {}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        for after in sorted(following.get(node, ()), key=names.__getitem__):
            if after == start:
                return [start, *_back(before, start, node), start] if node != start else [start, start]
            if after not in before:
                before[after] = node
                waiting.append(after)
    raise AssertionError("every node of a component lies on a loop")


def _back(before: dict[int, int], start: int, node: int) -> list[int]:
    found = [node]
    while before[found[-1]] != start:
        found.append(before[found[-1]])
    return found[::-1]


def _numbers(edge: Edge, names: dict[str, int]) -> tuple[int, int]:
    return names.setdefault(edge.upstream, len(names)), names.setdefault(edge.downstream, len(names))


def feedback_of(loops: Iterable[Loop], model: str) -> list[Loop]:
    """The loops in which a model, or one of its versions, is."""
    return [loop for loop in loops if any(one == model or one.startswith(f"{model}@") for one in loop.models)]
