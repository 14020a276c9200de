"""OpenLineage answers: what became of a batch of events."""

from typing import Literal

from msgspec import Struct


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
