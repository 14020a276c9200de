"""DeadLetter: an event that could not be used, with why and whence; the topic `runway.dead-letters`."""

from typing import Literal

from msgspec import Struct

RAW_LIMIT = 256 * 1024
"""Bytes of the raw event that a dead letter keeps: all of any that is not too large. The SHA-256 is of the whole."""
KEY_LIMIT = 16 * 1024
"""Bytes of its key that a dead letter keeps."""
HEADERS_LIMIT = 64 * 1024
"""Bytes of headers, names and values, that a dead letter keeps: those that come first and fit."""

Part = Literal["raw", "key", "headers"]


class DeadLetter(Struct):
    """What is needed to see why, and to send the event again as it was.

    (topic, partition, offset) is where it stands in the log. `raw` is base64 of its bytes, null where it had none, `key` that
    of its key, and `headers` are [name, base64 or null] in their order. `cut` names what did not fit.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    log_time: int
    size: int
    sha256: str
    raw: bytes | None
    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    cut: list[Part]
