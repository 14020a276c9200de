"""OpenLineage answers: what became of an event, or of a batch of them."""

from typing import Literal

from msgspec import Struct


class EventAnswer(Struct):
    """What of an event was left out, though it was taken: a facet that cannot be read, a name that is too long."""

    notes: list[str]


class EventNote(Struct):
    """The same of an event of a batch, by its place, from 0."""

    index: int
    note: str


class BatchSummary(Struct):
    """How many events came, and how many of them were taken."""

    received: int
    successful: int
    failed: int


class FailedEvent(Struct):
    """An event that was not taken: its place in the batch, from 0, and why. Sending it again would not help."""

    index: int
    reason: str
    retriable: bool = False


class BatchAnswer(Struct):
    """What became of a batch."""

    status: Literal["success", "partial_success", "failure"]
    summary: BatchSummary
    failed_events: list[FailedEvent]
    notes: list[EventNote]
