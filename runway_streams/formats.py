"""Formats: one rule for all that outlives a process, so that two neighbouring versions of the program can run side by side.

One number stands for all of it: the state of a partition, checkpoints, records of `runway.metrics`, segments of the archive,
manifests of the batch, backups. Each carries the number in which it was written.

1. A process reads `OLDEST` to `NEWEST`. What is newer it refuses with one sentence, and leaves as it is.
2. It writes `WRITTEN`, or what `RUNWAY_FORMAT` says. A state that is newer already stays as new as it is.
3. A release that knows a new format goes on writing the one before, which its neighbour reads. The release after it writes
   the new one.

So workers of neighbouring releases share a group, in either direction, and nobody need do anything about it. What nobody
but the API has, the registry's tables, is numbered by migrations (`runway_streams.registry.migrate`).

This module's numbers are looked up when they are used, never imported by name: tests raise them to be the next version.
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from runway_streams.errors import Refused

OLDEST = 1
"""The oldest format that is read: what the release before wrote, or earlier."""
WRITTEN = 1
"""The format that is written where RUNWAY_FORMAT says nothing; the release before reads it."""
NEWEST = 1
"""The newest format that is known."""


class OtherFormat(Refused):
    """Something was written in a format, `number`, that this version does not read."""

    def __init__(self, number: int, sentence: str, remedy: str) -> None:
        super().__init__(sentence, remedy)
        self.number = number


class _Document(Struct):
    format: int = 1


class _Array(Struct, array_like=True):
    format: int


_of_json = msgspec.json.Decoder(_Document).decode
_of_document = msgspec.msgpack.Decoder(_Document).decode
_of_array = msgspec.msgpack.Decoder(_Array).decode


def is_read(number: int) -> bool:
    """Whether this version reads a format.

    >>> is_read(NEWEST), is_read(NEWEST + 1), is_read(OLDEST - 1)
    (True, False, False)
    """
    return OLDEST <= number <= NEWEST


def check(number: int, what: str) -> None:
    """Raises OtherFormat where a format is not read; `what` has it, and says where that is.

    >>> check(99, "The manifest view/manifests/C9.json")
    Traceback (most recent call last):
    ...
    runway_streams.formats.OtherFormat: The manifest view/manifests/C9.json has format 99, this version reads formats up to 1. \
A newer version wrote it, and nothing was changed: upgrade this process first.
    """
    if number > NEWEST:
        raise OtherFormat(
            number,
            f"{what} has format {number}, this version reads formats up to {NEWEST}.",
            "A newer version wrote it, and nothing was changed: upgrade this process first.",
        )
    if number < OLDEST:
        raise OtherFormat(
            number,
            f"{what} has format {number}, this version reads formats from {OLDEST} on.",
            "Upgrade release by release: start the one before this until it has written it anew.",
        )


def check_json(raw: bytes, what: str) -> None:
    """Checks the `format` of a JSON object before the rest of it is read; one without has format 1.

    >>> check_json(b'{"format": 1, "rest": []}', "It")
    """
    _check_first(_of_json, raw, what)


def check_document(raw: bytes, what: str) -> None:
    """Checks the `format` of a MessagePack map, as `check_json` does."""
    _check_first(_of_document, raw, what)


def check_array(raw: bytes, what: str) -> None:
    """Checks the first element of a MessagePack array.

    >>> check_array(msgspec.msgpack.encode([1, "rest"]), "It")
    """
    _check_first(_of_array, raw, what)


def _check_first(decode: Callable[[bytes], _Document | _Array], raw: bytes, what: str) -> None:
    try:
        number = decode(raw).format
    except msgspec.MsgspecError:
        return  # damaged: whoever reads the rest says so
    check(number, what)
