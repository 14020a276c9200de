import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency import fold
from runway_streams.dependency.edge import Claim, EdgeKey
from runway_streams.dependency.fold import fold_edges, fold_facts, fold_wholes
from runway_streams.dependency.node import Node
from runway_streams.dependency.report import MAX_FACTS, Report, check_report

A, B, M = "dataset:n/a", "dataset:n/b", "model:M"
KEY = EdgeKey(A, M, "feeds", "one")

claims = st.builds(Claim, st.sampled_from([A, B]), st.just(M), confidence=st.sampled_from([0.5, 1.0]))
reports = st.lists(
    st.builds(
        Report,
        st.sampled_from(["one", "two"]),
        st.integers(0, 9),
        st.lists(claims, max_size=2),
        whole_inputs=st.sampled_from([[], [M]]),
    ),
    max_size=6,
)


def told(at: int, confidence: float = 1.0, reporter: str = "one") -> Report:
    return Report(reporter, at, [Claim(A, M, confidence=confidence)])


def spans(history: list) -> list[tuple]:
    return [(edge.valid_from, edge.last_seen, edge.valid_to, edge.confidence) for edge in history]


def test_a_span_has_the_words_of_its_last_sighting():
    assert spans(fold_edges({}, [told(10, 0.5), told(20, 0.9), told(15, 0.1)])[KEY]) == [(10, 20, None, 0.9)]
    assert spans(fold_edges({}, [told(10, 0.5), told(10, 0.9)])[KEY]) == [(10, 10, None, 0.9)]
    assert spans(fold_edges({}, [told(10, 0.9), told(10, 0.5)])[KEY]) == [(10, 10, None, 0.9)]


def test_a_reporter_ends_its_own_edges_alone():
    known = fold_edges({}, [told(10), told(10, reporter="two")])
    assert set(known) == {KEY, EdgeKey(A, M, "feeds", "two")}
    changed = fold_edges(known, [Report("one", 20, whole_inputs=[M])])
    assert {key: spans(history) for key, history in changed.items()} == {KEY: [(10, 10, 20, 1.0)]}
    assert not fold_edges(known, [Report("one", 20, whole_outputs=[M], whole_inputs=[A])])
    assert fold_edges(known, [Report("one", 20, whole_outputs=[A])]) == changed


def test_what_is_claimed_with_the_whole_goes_on():
    whole = Report("one", 20, [Claim(A, M)], whole_inputs=[M])
    assert spans(fold_edges(fold_edges({}, [told(10)]), [whole])[KEY]) == [(10, 20, None, 1.0)]


@given(reports)
def test_spans_of_an_edge_lie_apart_and_in_order(given_reports):
    for history in fold_edges({}, given_reports).values():
        for edge in history:
            assert edge.valid_from <= edge.last_seen
            assert edge.valid_to is None or edge.last_seen < edge.valid_to
        for before, after in pairwise(history):
            assert before.valid_to is not None
            assert before.valid_to <= after.valid_from


@given(reports)
def test_the_last_report_again_changes_nothing(given_reports):
    known: dict = {}
    for report in given_reports:
        known |= fold_edges(known, [report])
        assert not fold_edges(known, [report])


def taken(given_reports) -> dict:
    """The histories once each report was brought alone, in this order."""
    known: dict = {}
    wholes: dict = {}
    for report in given_reports:
        known |= fold_edges(known, [report], wholes)
        wholes |= fold_wholes(wholes, [report])
    return known


def in_force(histories: dict) -> set:
    return {key for key, history in histories.items() if history[-1].valid_to is None}


@given(
    st.permutations(range(8)), st.lists(st.tuples(st.sets(st.sampled_from([A, B])), st.booleans()), min_size=8, max_size=8)
)
def test_what_is_in_force_is_the_same_in_whatever_order_reports_come(order, said):
    reports = [
        Report("one", at, [Claim(one, M) for one in sorted(claims)], whole_inputs=[M] if whole else [])
        for at, (claims, whole) in enumerate(said)
    ]
    assert in_force(taken(reports[at] for at in order)) == in_force(taken(reports))


def test_wholes_are_kept_within_bounds(monkeypatch):
    monkeypatch.setattr(fold, "MAX_WHOLES", 2)
    monkeypatch.setattr(fold, "MAX_SCOPES", 2)
    wholes: dict = {}
    for at, reporter in enumerate(["one", "two", "two", "two", "three"]):
        wholes |= fold_wholes(wholes, [Report(reporter, at, whole_inputs=[M])])
    assert wholes == {M: {"into two": [2, 3], "into three": [4]}}


def test_the_newest_fact_counts_in_whatever_order_it_comes():
    def telling(at: int, **facts) -> Report:
        return Report("one", at, nodes=[Node(M, facts)])

    several = [telling(10, owner="a", tier=1), telling(20, owner="b"), telling(20, owner="c")]
    expected = {M: {"owner": (20, "c"), "tier": (10, 1)}}
    assert fold_facts({}, several) == fold_facts({}, several[::-1]) == expected
    assert not fold_facts(expected, several)


def test_of_too_many_facts_those_are_kept_that_were_told_last():
    facts = {f"{number:04}": "x" * 50 for number in range(1_100)}
    half = {key: facts[key] for key in list(facts)[:550]}
    report = Report("one", 10, nodes=[Node(M, half)])
    check_report(report)
    size = len(json.dumps(half, separators=(",", ":")))
    known = fold_facts({}, [report])
    assert len(known[M]) == 550
    later = Report("one", 20, nodes=[Node(M, {key: facts[key] for key in list(facts)[550:]} | {"0000": ""})])
    kept = fold_facts(known, [later])[M]
    assert {key for key, (at, _) in kept.items() if at == 20} == {"0000", *list(facts)[550:]}
    values = {key: value for key, (_, value) in kept.items()}
    assert size < len(json.dumps(values, separators=(",", ":"))) <= MAX_FACTS
    assert fold_facts(known | {M: kept}, [later]) == {}


def test_as_many_bytes_as_a_report_may_have_are_kept():
    facts: dict = {str(number): 0 for number in range(7_000)}
    facts["rest"] = "x" * (MAX_FACTS - len(json.dumps(facts | {"rest": ""}, separators=(",", ":"))))
    report = Report("one", 10, nodes=[Node(M, facts)])
    check_report(report)
    assert len(fold_facts({}, [report])[M]) == len(facts)
