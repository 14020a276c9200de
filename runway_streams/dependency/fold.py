"""Fold: what reports make of the edges and the facts that a store has. Every store reads, folds, and writes what comes out."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec
from msgspec.structs import replace

from runway_streams.dependency.edge import Claim, Edge, EdgeKey
from runway_streams.dependency.report import MAX_FACTS, Report
from runway_streams.dependency.spans import Span, missed, sighted

History = list[Edge]
"""All spans of one edge, in order of time."""
Facts = dict[str, tuple[int, Any]]
"""A node's facts by key, each with the time (epoch ms) of the report that told it."""

Wholes = dict[str, list[int]]
"""When all of a node's inputs, or outputs, were told, by `into REPORTER` and `out REPORTER`; epoch ms, in order."""
MAX_WHOLES = 100
"""Times that are kept of one node, direction and reporter, the newest: a report that is older than all of them is late beyond
what can be put right."""
MAX_SCOPES = 500
"""Reporters and directions of a node of which times are kept, those that told last."""


def claimed(report: Report) -> Iterable[tuple[EdgeKey, Claim]]:
    """The edges that a report claims."""
    return ((EdgeKey(one.upstream, one.downstream, one.kind, report.reporter), one) for one in report.claims)


def fold_edges(
    known: Mapping[EdgeKey, History], reports: Sequence[Report], wholes: Mapping[str, Wholes] | None = None
) -> dict[EdgeKey, History]:
    """The histories that become others by the reports; the older report of a batch goes first.

    `known` has at least those of the edges that the reports claim, and of the reporters' own edges into and out of what they
    know whole; `wholes` are those of the nodes at the ends of what is claimed, by earlier reports.

    >>> told = Report("registry", 10, [Claim("dataset:a/b", "model:m")])
    >>> taken_back = Report("registry", 20, whole_inputs=["model:m"])
    >>> [(edge.valid_from, edge.valid_to) for edge in next(iter(fold_edges({}, [taken_back, told]).values()))]
    [(10, 20)]
    """
    histories, absences = dict(known), wholes or {}
    into, out = defaultdict(set), defaultdict(set)
    for key in histories:
        into[key.reporter, key.downstream].add(key)
        out[key.reporter, key.upstream].add(key)
    for report in sorted(reports, key=lambda one: one.at):
        told = set()
        for key, claim in claimed(report):
            histories[key] = _sight(histories.get(key, []), key, claim, report.at, _absences(key, absences))
            into[key.reporter, key.downstream].add(key)
            out[key.reporter, key.upstream].add(key)
            told.add(key)
        ended = {key for node in report.whole_inputs for key in into[report.reporter, node]}
        ended |= {key for node in report.whole_outputs for key in out[report.reporter, node]}
        for key in ended - told:
            histories[key] = _miss(histories[key], report.at)
    return {key: history for key, history in histories.items() if history != known.get(key)}


def fold_wholes(known: Mapping[str, Wholes], reports: Sequence[Report]) -> dict[str, Wholes]:
    """The nodes' wholes that become others by the reports.

    >>> told = [Report("a", 3, whole_inputs=["model:m"]), Report("b", 4, whole_outputs=["model:m"])]
    >>> fold_wholes({"model:m": {"into a": [5]}}, told)
    {'model:m': {'into a': [3, 5], 'out b': [4]}}
    """
    folded: dict[str, Wholes] = {}
    for report in reports:
        for direction, nodes in (("into", report.whole_inputs), ("out", report.whole_outputs)):
            for node in nodes:
                wholes = folded.setdefault(node, dict(known.get(node, {})))
                scope = f"{direction} {report.reporter}"
                wholes[scope] = sorted({*wholes.get(scope, []), report.at})[-MAX_WHOLES:]
    return {node: _newest(wholes) for node, wholes in folded.items() if wholes != known.get(node, {})}


def fold_facts(known: Mapping[str, Facts], reports: Sequence[Report]) -> dict[str, Facts]:
    """The nodes' facts that become others: of each key the newest counts, and of two at one time the same one ever. Of more
    than MAX_FACTS bytes those are kept that were told last.

    >>> from runway_streams.dependency.node import Node
    >>> fold_facts({"model:m": {"owner": (20, "b")}}, [Report("registry", 10, nodes=[Node("model:m", {"owner": "a", "tier": 1})])])
    {'model:m': {'owner': (20, 'b'), 'tier': (10, 1)}}
    """
    folded: dict[str, Facts] = {}
    for report in reports:
        for node in report.nodes:
            facts = folded.get(node.id) or dict(known.get(node.id, {}))
            for key, value in node.facts.items():
                if key not in facts or _rank((report.at, value)) > _rank(facts[key]):
                    facts[key] = (report.at, value)
            folded[node.id] = facts
    within = {node: _within(facts) for node, facts in folded.items()}
    return {node: facts for node, facts in within.items() if facts != known.get(node, {})}


def _within(facts: Facts) -> Facts:
    # As the facts of a report are measured, which so always fit: in an object each takes a colon and a comma.
    sizes = {key: len(msgspec.json.encode((key, value))) - 1 for key, (_, value) in facts.items()}
    if sum(sizes.values()) < MAX_FACTS:
        return facts
    newest = sorted(facts, key=lambda key: (facts[key][0], key), reverse=True)
    totals = accumulate(sizes[key] for key in newest)
    return {key: facts[key] for key, total in zip(newest, totals, strict=True) if total < MAX_FACTS}


def _rank(fact: tuple[int, Any]) -> tuple[int, str]:
    return fact[0], json.dumps(fact[1], sort_keys=True)


def _newest(wholes: Wholes) -> Wholes:
    if len(wholes) <= MAX_SCOPES:
        return wholes
    return dict(sorted(wholes.items(), key=lambda scope: scope[1][-1])[-MAX_SCOPES:])


def _absences(key: EdgeKey, wholes: Mapping[str, Wholes]) -> list[int]:
    into = wholes.get(key.downstream, {}).get(f"into {key.reporter}", [])
    return into + wholes.get(key.upstream, {}).get(f"out {key.reporter}", [])


def _sight(history: History, key: EdgeKey, claim: Claim, at: int, absences: list[int]) -> History:
    new = Edge(key.upstream, key.downstream, key.kind, key.reporter, claim.source, claim.confidence, at, at)
    # A span has the words of its last sighting, of two at one time the surer.
    words = {edge.last_seen: edge for edge in history}
    if at not in words or (new.confidence, new.source) > (words[at].confidence, words[at].source):
        words[at] = new
    return [_in(span, words[span.last_seen]) for span in sighted(_spans(history), at, absences)]


def _miss(history: History, at: int) -> History:
    def before(start: int) -> Edge:
        return max((edge for edge in history if edge.valid_from <= start), key=lambda edge: edge.valid_from)

    return [_in(span, before(span.start)) for span in missed(_spans(history), at)]


def _spans(history: History) -> list[Span]:
    return [Span(edge.valid_from, edge.last_seen, edge.valid_to) for edge in history]


def _in(span: Span, edge: Edge) -> Edge:
    return replace(edge, valid_from=span.start, last_seen=span.last_seen, valid_to=span.end)
