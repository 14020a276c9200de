"""Spans: in the order of time they are what was told; out of order, what can be known."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency.spans import Span, missed, sighted

TOLD = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=20)


def apply(told: list[tuple[bool, int]]) -> list[Span]:
    spans: list[Span] = []
    for seen, at in told:
        spans = sighted(spans, at) if seen else missed(spans, at)
    return spans


@given(TOLD)
def test_spans_are_in_order_apart_from_each_other_and_at_most_the_last_is_open(told: list):
    spans = apply(told)
    for span, after in itertools.pairwise(spans):
        assert span.end is not None
        assert span.start <= span.last_seen < span.end <= after.start
    assert all(span.start <= span.last_seen for span in spans)


@given(TOLD)
def test_every_sighting_lies_in_a_span_where_absences_are_not_told_late(told: list):
    in_time = [
        (seen, at if seen else max((one for _, one in told[:index]), default=0) + 1) for index, (seen, at) in enumerate(told)
    ]
    spans = apply(in_time)
    gone = {at for seen, at in in_time if not seen}
    assert all(any(span.covers(at) for span in spans) for seen, at in in_time if seen and at not in gone)


@given(TOLD)
def test_the_same_again_changes_nothing(told: list):
    spans = apply(told)
    for seen, at in told[-1:]:
        assert (sighted(spans, at) if seen else missed(spans, at)) == spans


@given(st.lists(st.booleans(), max_size=12))
def test_in_the_order_of_time_spans_are_the_runs_of_sightings(seen: list):
    told = list(zip(seen, range(len(seen)), strict=True))
    spans = apply(told)
    in_force = [any(span.covers(at) for span in spans) for at in range(len(seen))]
    assert in_force == seen


@given(st.permutations([(True, 1), (False, 3), (True, 5)]))
def test_an_absence_between_two_sightings_is_known_whatever_came_first(told: list):
    spans = apply(told)
    if told.index((False, 3)) > 0 or told[0][0]:
        assert [span.covers(5) for span in spans][-1]
        assert any(span.covers(1) for span in spans)


@given(TOLD, st.integers(0, 20), st.integers(0, 20))
def test_an_absence_that_comes_late_takes_from_the_past_what_lies_between_it_and_the_last_sighting_alone(told, absent, at):
    spans = apply(told)
    struck = next((span for span in spans if span.covers(absent)), None)
    after = missed(spans, absent)
    in_force = any(span.covers(at) for span in after)
    if struck and struck.last_seen > absent > struck.start and absent <= at < struck.last_seen:
        assert not in_force
    elif not struck or at < absent or struck.last_seen >= absent:
        assert in_force == any(span.covers(at) for span in spans)
