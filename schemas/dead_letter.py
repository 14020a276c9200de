"""DeadLetter: an event that could not be used, with why and whence; the topic `runway.dead-letters`."""

from msgspec import Struct

RAW_LIMIT = 64 * 1024
"""Bytes of the raw event that a dead letter keeps; the SHA-256 is of the whole."""


class DeadLetter(Struct):
    """`raw` is base64 of at most 64 KiB of the event; (topic, partition, offset) is where it stands in the log."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    log_time: int
    size: int
    sha256: str
    raw: bytes
