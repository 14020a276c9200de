"""Refusals: why the registry does not do what was asked. Each is a sentence and a remedy, as every RunwayError."""

from runway_streams.errors import RunwayError


class Invalid(RunwayError):
    """The document cannot be taken as it is."""


class Unknown(RunwayError):
    """There is no such model, version, alias or policy."""


class Conflict(RunwayError):
    """It cannot be done as things stand: a second one of the same name, an illegal move."""


class Stale(RunwayError):
    """It was changed since it was read: read it again."""


class Mismatch(RunwayError):
    """The Idempotency-Key was used for another request before."""


def stale(what: str) -> Stale:
    """Somebody else was faster.

    >>> print(stale("The model fraud").sentence)
    The model fraud was changed since it was read.
    """
    return Stale(f"{what} was changed since it was read.", "Read it again, and send its ETag as If-Match.")
