"""Refusals: why a question about lineage is not answered, or a report not taken. Each is a sentence and a remedy."""

from runway_streams.errors import RunwayError


class BadNode(RunwayError):
    """The name of a node cannot be read."""


class UnknownNode(RunwayError):
    """Nobody has told of this node."""


class BadQuestion(RunwayError):
    """The question has an argument that is not answered: a depth, a type, a time."""


class BadReport(RunwayError):
    """A report, or the event that brought it, cannot be taken as it is."""


class QueueFull(RunwayError):
    """So much waits for the graph already that no more can be kept."""
