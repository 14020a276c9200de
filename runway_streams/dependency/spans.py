"""Spans: from when to when an edge was in force, from sightings and absences that may come late, twice, or out of order."""

from collections.abc import Sequence

from msgspec import Struct


class Span(Struct, frozen=True, order=True):
    """`start` <= t < `end`, epoch ms; None where it has not ended. `last_seen` is the last sighting in it."""

    start: int
    last_seen: int
    end: int | None = None

    def covers(self, at: int) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


def sighted(spans: list[Span], at: int, absences: Sequence[int] = ()) -> list[Span]:
    """The spans, in order of time, once the edge was seen at `at`; `absences` are times at which all edges were told, this one
    among them or not.

    Within a span a sighting makes it no longer than it is; before one it begins that earlier, if the edge was not absent
    between; after all of them it begins a new one, which ends where the edge was next absent, if that came first.

    >>> sighted([], 10)
    [Span(start=10, last_seen=10, end=None)]
    >>> sighted([Span(10, 10)], 5), sighted([Span(10, 10)], 15)
    ([Span(start=5, last_seen=10, end=None)], [Span(start=10, last_seen=15, end=None)])
    >>> sighted([Span(10, 10, 20)], 30)
    [Span(start=10, last_seen=10, end=20), Span(start=30, last_seen=30, end=None)]
    >>> sighted([Span(10, 10)], 5, [7, 10]), sighted([], 5, [3, 7])
    ([Span(start=5, last_seen=5, end=7), Span(start=10, last_seen=10, end=None)], [Span(start=5, last_seen=5, end=7)])
    """
    absent = min((time for time in absences if time > at), default=None)
    for index, span in enumerate(spans):
        if span.covers(at):
            return [*spans[:index], Span(span.start, max(span.last_seen, at), span.end), *spans[index + 1 :]]
        if at < span.start:
            if absent is not None and absent < span.start:
                return [*spans[:index], Span(at, at, absent), *spans[index:]]
            return [*spans[:index], Span(at, span.last_seen, span.end), *spans[index + 1 :]]
    return [*spans, Span(at, at, absent)]


def missed(spans: list[Span], at: int) -> list[Span]:
    """The spans once the edge was not there at `at`, though all edges were told.

    The span that covers `at` ends there; where the edge was seen again later, which came first, it begins anew at the last
    sighting, for no other is kept: as of a time between the absence and that sighting the edge is not in force, though it may
    have been seen there, and the part before the absence has its first sighting as its last. An absence at the very time of the
    first sighting takes nothing back.

    >>> missed([Span(10, 15)], 20)
    [Span(start=10, last_seen=15, end=20)]
    >>> missed([Span(10, 30)], 20)
    [Span(start=10, last_seen=10, end=20), Span(start=30, last_seen=30, end=None)]
    >>> missed([Span(10, 15, 20)], 30), missed([Span(10, 15)], 10)
    ([Span(start=10, last_seen=15, end=20)], [Span(start=10, last_seen=15, end=None)])
    """
    for index, span in enumerate(spans):
        if span.start < at and span.covers(at) and span.last_seen != at:
            if span.last_seen < at:
                return [*spans[:index], Span(span.start, span.last_seen, at), *spans[index + 1 :]]
            parts = [Span(span.start, span.start, at), Span(span.last_seen, span.last_seen, span.end)]
            return [*spans[:index], *parts, *spans[index + 1 :]]
    return spans
