"""Incident: several models at risk at once, folded to the one thing upstream that explains them.

Statuses are an argument: whoever judges health gives them, for models and versions and, where known, for features, datasets
and flows. Something *ails* if it is AT_RISK, drifting or failed. An ailing node is explained by an ailing node upstream of it
unless all ways between lead through nodes that are known to be healthy: what is healthy passes nothing on. What is upstream
of a model is so of each of its versions, but for its other versions: those are no inputs.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from runway_streams.dependency.edge import Edge
from runway_streams.dependency.node import model_of, node_type
from runway_streams.dependency.store import LineageStore
from runway_streams.dependency.walk import FRONTIER, LIMIT_S, MAX_DEPTH, MAX_EDGES, check_depth, edges_within

State = Literal["HEALTHY", "AT_RISK", "DRIFTING", "FAILED", "RETRAINING", "UNKNOWN"]
AILING: frozenset[State] = frozenset({"AT_RISK", "DRIFTING", "FAILED"})
WORST_FIRST: tuple[State, ...] = ("FAILED", "DRIFTING", "AT_RISK")
MAX_AILING = 2_000
"""Ailing nodes that are explained at a time."""


class Condition(Struct, frozen=True):
    """How a node is doing: since when (epoch ms), and how badly (0 to 1, of what its judge measures)."""

    state: State
    since: int = 0
    severity: float = 0.0


class Incident(Struct, frozen=True):
    """`root` is the highest ailing ancestor; `members` are the ailing nodes that it explains, itself not among them, each
    with the path from the root. An alert is due for the root alone."""

    root: str
    state: State
    since: int
    severity: float
    members: list[str]
    paths: dict[str, list[str]]

    @property
    def models(self) -> list[str]:
        """The models and versions among root and members."""
        return [one for one in (self.root, *self.members) if node_type(one) in ("model", "version")]


async def find_incidents(
    store: LineageStore,
    conditions: Mapping[str, Condition],
    depth: int = 10,
    as_of: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    limit_s: float = LIMIT_S,
) -> tuple[list[Incident], bool]:
    """Folds what ails into incidents, and says whether all of it was looked at, which the walk's limits may forbid. Each
    ailing node is in one incident: that of the root which explains most, then of the one that ails worst, then longest.

    Raises BadQuestion for a depth that is not answered, DependencyDown where the graph does not answer.
    """
    check_depth(depth)
    deadline = clock() + limit_s
    ailing = sorted(node for node, condition in conditions.items() if condition.state in AILING)[:MAX_AILING]
    healthy = {node for node, condition in conditions.items() if condition.state == "HEALTHY"}
    inputs, read = await _upstream(store, ailing, healthy, depth, as_of, lambda: deadline - clock())
    # Seconds for a large graph, in which everybody else is answered.
    incidents, looked = await asyncio.to_thread(_explain, conditions, ailing, inputs, depth, lambda: clock() > deadline)
    return incidents, read and looked and len(ailing) < MAX_AILING


def fold(conditions: Mapping[str, Condition], reach: Mapping[str, Mapping[str, list[str]]]) -> list[Incident]:
    """Incidents from what explains what: `reach` is, by ailing node, its ailing ancestors with the path from each.

    >>> sick = {name: Condition("AT_RISK", since) for name, since in (("model:a", 5), ("model:b", 3), ("model:c", 1))}
    >>> reach = {"model:a": {}, "model:b": {"model:a": ["model:a", "model:b"]}, "model:c": {}}
    >>> [(one.root, one.members) for one in fold(sick, reach)]
    [('model:a', ['model:b']), ('model:c', [])]
    """
    roots = _roots(conditions, reach)
    explained = {root: sum(root in above for above in reach.values()) for root in roots}
    order = sorted(roots, key=lambda root: (-explained[root], _gravity(conditions[root]), root))
    taken: set[str] = set(roots)
    incidents = [_incident(root, conditions, reach, taken) for root in order]
    # What is explained only by others that no root reaches, for the way is longer than was looked, has one among themselves.
    while left := reach.keys() - taken:
        root = min(left, key=lambda node: (sum(above in left for above in reach[node]), _gravity(conditions[node]), node))
        taken.add(root)
        incidents.append(_incident(root, conditions, reach, taken))
    return incidents


def _incident(
    root: str, conditions: Mapping[str, Condition], reach: Mapping[str, Mapping[str, list[str]]], taken: set[str]
) -> Incident:
    """The incident of a root with all that it explains and that is in no other; those are taken then."""
    paths = {node: above[root] for node, above in reach.items() if root in above and node not in taken}
    taken.update(paths)
    told = conditions[root]
    return Incident(root, told.state, told.since, told.severity, list(paths), paths)


def _roots(conditions: Mapping[str, Condition], reach: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """Those that nothing ailing explains; of several that explain each other, in a loop, the gravest."""
    found = []
    for node, above in reach.items():
        # In a loop each is the other's ancestor: only what is not below this node as well stands above it.
        rivals = [other for other in above if node in reach.get(other, {})]
        strictly_above = above.keys() - set(rivals)
        if not strictly_above and all(_before(conditions, node, rival) for rival in rivals):
            found.append(node)
    return found


def _before(conditions: Mapping[str, Condition], one: str, other: str) -> bool:
    return (_gravity(conditions[one]), one) < (_gravity(conditions[other]), other)


def _gravity(condition: Condition) -> tuple[int, float, int]:
    return WORST_FIRST.index(condition.state), -condition.severity, condition.since


def _explain(
    conditions: Mapping[str, Condition],
    ailing: Sequence[str],
    inputs: Mapping[str, list[str]],
    depth: int,
    late: Callable[[], bool],
) -> tuple[list[Incident], bool]:
    """The incidents, and whether there was time to look above each that ails."""
    reach: dict[str, dict[str, list[str]]] = {}
    whole, every = True, frozenset(ailing)
    for node in ailing:
        whole = whole and not late()
        reach[node] = _ancestors(node, inputs, every, depth) if whole else {}
    return fold(conditions, reach), whole


async def _upstream(
    store: LineageStore,
    ailing: Collection[str],
    healthy: set[str],
    depth: int,
    as_of: int | None,
    seconds_left: Callable[[], float],
) -> tuple[dict[str, list[str]], bool]:
    """The inputs of everything upstream of what ails, without what is healthy; and whether those are all."""
    inputs: dict[str, list[str]] = {}
    frontier, seen, left = list(ailing), set(ailing), MAX_EDGES
    for _ in range(min(depth, MAX_DEPTH)):
        new: list[str] = []
        for begin in range(0, len(frontier), FRONTIER):
            some = frontier[begin : begin + FRONTIER]
            asked = sorted({*some, *(model for node in some if (model := model_of(node)) not in healthy)})
            try:
                edges = await edges_within(seconds_left(), store, asked, "upstream", as_of, left + 1)
            except TimeoutError:
                return inputs, False
            if len(edges) > left:
                return inputs, False
            left -= len(edges)
            for node, above in _inputs_of(some, edges).items():
                inputs[node] = list(dict.fromkeys(one for one in above if one not in healthy))
                new += [one for one in inputs[node] if one not in seen]
                seen.update(inputs[node])
        frontier = new
        if not frontier:
            break
    return inputs, True


def _inputs_of(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, list[str]]:
    """What lies right above each node; above a version, also what is above its model."""
    above: dict[str, list[Edge]] = {}
    for edge in edges:
        above.setdefault(edge.downstream, []).append(edge)
    return {
        node: [edge.upstream for edge in above.get(node, ())]
        + [edge.upstream for edge in above.get(model_of(node), ()) if edge.kind != "version_of" and model_of(node) != node]
        for node in nodes
    }


def _ancestors(node: str, inputs: Mapping[str, list[str]], ailing: frozenset[str], depth: int) -> dict[str, list[str]]:
    """The ailing nodes above a node, each with a shortest path from it down to the node."""
    paths = {node: [node]}
    level = [node]
    for _ in range(depth):
        new = []
        for one in level:
            for above in inputs.get(one, ()):
                if above not in paths:
                    paths[above] = [above, *paths[one]]
                    new.append(above)
        level = new
        if not level:
            break
    return {above: path for above, path in paths.items() if above in ailing and above != node}
