"""Reports: what cannot be taken is refused with a sentence, before any store sees it."""

import pytest

from runway_streams.dependency.edge import Claim
from runway_streams.dependency.node import Node
from runway_streams.dependency.refusals import BadNode, BadReport
from runway_streams.dependency.report import LATEST, MAX_CLAIMS, MAX_FACTS, Report, check_report

EDGE = Claim("dataset:a/b", "model:m")


def test_a_report_within_its_bounds_is_taken():
    check_report(Report("one", LATEST - 1, [EDGE] * MAX_CLAIMS, [Node("model:m", {"title": "x" * 1_000})], ["model:m"]))
    check_report(Report("one", 0))


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (Report("", 1), "1 to 256 characters"),
        (Report("x" * 257, 1), "1 to 256 characters"),
        (Report("one", -1), "outside the years"),
        (Report("one", LATEST), "outside the years"),
        (Report("one", 2**63), "outside the years"),
        (Report("one", 1, [EDGE] * (MAX_CLAIMS + 1)), "at most 10000 edges"),
        (Report("one", 1, [Claim("dataset:a/b", "model:m", confidence=0)]), "not in"),
        (Report("one", 1, [Claim("dataset:a/b", "model:m", "eats")]), "is not known"),
        (Report("one", 1, [Claim("dataset:a b/c", "model:m")]), "Write dataset:a%20b/c"),
        (Report("one", 1, nodes=[Node("model:m", {"text": "x" * MAX_FACTS})]), "more than 65536 bytes"),
    ],
)
def test_what_is_beyond_is_refused_with_a_sentence(report: Report, says: str):
    with pytest.raises(BadReport, match=says):
        check_report(report)


@pytest.mark.parametrize("report", [Report("one", 1, whole_inputs=["nothing"]), Report("one", 1, nodes=[Node("a:b")])])
def test_a_name_that_no_node_has_is_refused_wherever_it_stands(report: Report):
    with pytest.raises(BadNode):
        check_report(report)
