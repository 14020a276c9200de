"""ReportQueue: the port to where reports wait, over restarts, while the graph does not answer."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from runway_streams.dependency.report import Report

MAX_WAITING = 100_000
"""Reports that may wait; a further one is refused, and its sender told to come again."""
MAX_WAITING_BYTES = 1 << 30
"""Bytes that they may have together, as JSON."""
BATCH = 200
"""Reports that are brought to the graph at a time."""
BATCH_BYTES = 1 << 20
"""Bytes of them, unless one alone has more: some 5,000 edges, a second of work."""
MAX_ATTEMPTS = 20
"""After so many, a report for which the graph is too slow even alone is set aside: seven halve its batch, the others are its
own."""
MAX_ASIDE = 100
"""Reports that are kept though the graph did not take them, the last ones."""


class Waiting(Struct, frozen=True):
    """A report that waits, in the order in which it came; `attempts` for which the graph was too slow."""

    number: int
    report: Report
    attempts: int


class ReportQueue(Protocol):
    """Keeps reports until they are done. Every method raises DependencyDown where the queue does not answer.

    Two may bring the same reports at once, in two processes; neither a lease nor a token of each row is needed for that. A
    number is never given again, so whoever takes out what it has brought takes out nothing else. A report that comes to the
    graph twice, also late and behind newer ones, leaves the same in force.
    """

    async def add(self, reports: Sequence[Report], now: int, problem: str = "") -> None:
        """Keeps reports, all or none. Raises QueueFull beyond MAX_WAITING and MAX_WAITING_BYTES."""

    async def oldest(self, limit: int = BATCH) -> list[Waiting]:
        """Those that came first, at most `limit` and BATCH_BYTES; one at least."""

    async def done(self, numbers: Sequence[int]) -> None:
        """Takes reports out: they are in the graph."""

    async def failed(self, numbers: Sequence[int], problem: str) -> None:
        """Counts an attempt, and notes why it failed."""

    async def set_aside(self, problems: Mapping[int, str]) -> None:
        """Takes reports out that the graph does not take, by number, and why; the last MAX_ASIDE are kept to be looked at."""

    async def size(self) -> int:
        """How many wait."""

    async def aside(self) -> int:
        """How many were set aside, of those that are kept."""
