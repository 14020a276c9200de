"""ReportQueue: the port to where reports wait, over restarts, while the graph does not answer."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from runway_streams.dependency.report import Report

MAX_WAITING = 100_000
"""Reports that may wait; a further one is refused, and its sender told to come again."""
BATCH = 200
"""Reports that are brought to the graph at a time."""


class Waiting(Struct, frozen=True):
    """A report that waits, in the order in which it came; `attempts` that were made to bring it."""

    number: int
    report: Report
    attempts: int


class ReportQueue(Protocol):
    """Keeps reports until they are done. Every method raises DependencyDown where the queue does not answer."""

    async def add(self, reports: Sequence[Report], now: int, problem: str = "") -> None:
        """Keeps reports, all or none. Raises QueueFull beyond MAX_WAITING."""

    async def oldest(self, limit: int = BATCH) -> list[Waiting]:
        """Those that came first."""

    async def done(self, numbers: Sequence[int]) -> None:
        """Takes reports out: they are in the graph."""

    async def failed(self, numbers: Sequence[int], problem: str) -> None:
        """Counts an attempt, and notes why it failed."""

    async def size(self) -> int:
        """How many wait."""
