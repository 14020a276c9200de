"""Report: what one reporter has seen at one time; the one way by which the graph changes.

A report that is brought twice changes nothing, and reports may come out of order: what is in force is the same then, and what
of the past is not, `spans.missed` says.
"""

import msgspec
from msgspec import Struct

from runway_streams.dependency.edge import KINDS, Claim
from runway_streams.dependency.node import Node, parse_node
from runway_streams.dependency.refusals import BadReport

MAX_CLAIMS = 10_000
"""Edges of one report."""
MAX_REPORTER = 256
MAX_FACTS = 64 << 10
"""Bytes of a node's facts as JSON."""
LATEST = 253_402_300_800_000
"""The year 10000, epoch ms: no report is of a later time."""


class Report(Struct, frozen=True):
    """What `reporter` has seen at `at` (epoch ms). Edges of its own into a node of `whole_inputs`, and out of a node of
    `whole_outputs`, that it does not claim here, end at `at`: it has told all there is. Nodes that only claims name need not
    be listed."""

    reporter: str
    at: int
    claims: list[Claim] = []
    nodes: list[Node] = []
    whole_inputs: list[str] = []
    whole_outputs: list[str] = []

    def node_ids(self) -> set[str]:
        """All nodes that it names."""
        ends = {end for claim in self.claims for end in (claim.upstream, claim.downstream)}
        return ends | {node.id for node in self.nodes} | set(self.whole_inputs) | set(self.whole_outputs)


def check_report(report: Report) -> None:
    """Raises BadReport or BadNode where a report cannot be taken.

    >>> check_report(Report("registry", 1, [Claim("dataset:a/b", "model:m", confidence=2.0)]))
    Traceback (most recent call last):
    ...
    runway_streams.dependency.refusals.BadReport: The confidence 2.0 of dataset:a/b -> model:m is not in (0, 1].
    """
    if not 0 < len(report.reporter) <= MAX_REPORTER or "\0" in report.reporter:
        raise BadReport(f"A reporter's name has 1 to {MAX_REPORTER} characters, and no NUL.")
    if len(report.claims) > MAX_CLAIMS or len(report.nodes) > MAX_CLAIMS:
        raise BadReport(f"A report has at most {MAX_CLAIMS} edges and nodes.", "Send several.")
    if not 0 <= report.at < LATEST:
        raise BadReport("A report's time lies outside the years 1970 to 9999.")
    for node in report.nodes:
        if node.facts and len(msgspec.json.encode(node.facts)) > MAX_FACTS:
            raise BadReport(
                f"The facts of {node.id[:200]} have more than {MAX_FACTS} bytes.", "Keep them elsewhere, and link."
            )
    for node_id in report.node_ids():
        if str(parse_node(node_id)) != node_id:
            raise BadReport(f"{node_id!r} is not written as it is stored.", f"Write {parse_node(node_id)}.")
    for claim in report.claims:
        edge = f"{claim.upstream} -> {claim.downstream}"
        if not 0 < claim.confidence <= 1:
            raise BadReport(f"The confidence {claim.confidence} of {edge} is not in (0, 1].")
        if claim.kind not in KINDS:
            raise BadReport(f"The kind {claim.kind!r} of {edge} is not known.", f"Kinds are {', '.join(KINDS)}.")
