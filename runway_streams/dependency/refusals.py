"""Refusals: why a question about lineage is not answered, or a report not taken. Each is a sentence and a remedy."""

from collections.abc import Mapping

from runway_streams.errors import RunwayError


class BadNode(RunwayError):
    """The name of a node cannot be read."""


class UnknownNode(RunwayError):
    """Nobody has told of this node."""


class BadQuestion(RunwayError):
    """The question has an argument that is not answered: a depth, a type, a time."""


class BadReport(RunwayError):
    """A report, or the event that brought it, cannot be taken as it is."""


class ReportsRefused(BadReport):
    """Some of several reports cannot be taken: `errors` says why, by their places. The others were taken; `in_graph` is False
    where those wait in the queue.

    >>> str(ReportsRefused({3: BadReport("It has no reporter.", "Name one."), 5: BadReport("It lies in the future.")}, True))
    'It has no reporter. Name one. (2 reports were not taken.)'
    """

    def __init__(self, errors: Mapping[int, RunwayError], in_graph: bool) -> None:
        first = errors[min(errors)]
        more = f"({len(errors)} reports were not taken.)" if len(errors) > 1 else ""
        super().__init__(first.sentence, f"{first.remedy} {more}".strip())
        self.errors, self.in_graph = errors, in_graph


class QueueFull(RunwayError):
    """So much waits for the graph already that no more can be kept."""
