"""Decompression within a bound: a batch of a few kilobytes may hold gigabytes of zeros, and the broker only bounds what is sent.

aiokafka inflates a batch whole, by functions that its record parsers look up in their own modules; here they are replaced.
These are private APIs, pinned exactly; tests/security/test_bombs.py holds the tests.
"""

import zlib
from collections.abc import Callable
from typing import Any

import cramjam
import numpy as np
from aiokafka.codec import _detect_xerial_stream
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record import default_records, legacy_records

from runway_streams.errors import Refused

MIB = 1 << 20
GZIP = 16 + zlib.MAX_WBITS
_XERIAL_HEADER = 16
USUAL_FACTOR = 8
"""By how much a batch of JSON may inflate to be decoded at the first try."""
_limit = 64 * MIB


class TooLarge(Exception):
    """A batch inflates beyond the bound; where it lies is added by who knows that."""


def bound_batches(limit: int) -> None:
    """Lets no consumer of this process inflate a batch to more than `limit` bytes."""
    global _limit  # noqa: PLW0603 - there is one parser a process, and so there is one bound
    _limit = limit
    fetcher.PartitionRecords = BoundedRecords
    for module in _parsers():
        for name, decode in DECODERS.items():
            if hasattr(module, name):
                setattr(module, name, decode)


class BatchRefused(Refused):
    """A topic-partition cannot be read beyond a batch that is too large."""

    def __init__(self, tp: Any, offset: int) -> None:
        super().__init__(
            f"{tp.topic}-{tp.partition}: the batch at offset {offset} inflates to more than {_limit // MIB} MiB, and nothing "
            "behind it is read.",
            "See who has sent it. Start with a RUNWAY_MAX_BATCH_MIB above it to read it all the same, or delete the records up "
            "to it (`kafka-delete-records`): what is deleted is not counted.",
        )
        self.tp = tp


class BoundedRecords(PartitionRecords):
    """The records of a topic-partition that were fetched. Those before a batch that is too large are given first; it is raised
    as BatchRefused when nothing stands before it."""

    _given = False

    def __next__(self) -> Any:
        try:
            record = super().__next__()
        except TooLarge:
            if self._given:
                raise StopIteration from None
            raise BatchRefused(self._tp, self.next_fetch_offset) from None
        self._given = True
        return record


def gunzip(payload: Any) -> bytes:
    """
    >>> import gzip
    >>> gunzip(gzip.compress(b"a") + gzip.compress(b"b"))
    b'ab'
    """
    parts, rest, left = [], bytes(payload), _limit
    while rest:
        member = zlib.decompressobj(GZIP)
        part = member.decompress(rest, left + 1)
        left -= len(part)
        if left < 0:
            raise TooLarge
        if not member.eof:
            raise EOFError("The gzip stream was cut.")
        parts.append(part)
        rest = member.unused_data
    return b"".join(parts)


def unsnap(payload: Any) -> bytes:
    """Snappy, raw or in xerial's blocks; each says beforehand how long it is.

    >>> from aiokafka.codec import snappy_encode
    >>> unsnap(snappy_encode(b"ab")), unsnap(snappy_encode(b"ab", xerial_compatible=False))
    (b'ab', b'ab')
    """
    blocks = list(_xerial_blocks(payload)) if _detect_xerial_stream(payload) else [bytes(payload)]
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > _limit:
        raise TooLarge
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(payload: Any) -> Any:
    view, at = memoryview(payload), _XERIAL_HEADER
    while at < len(view):
        end = at + 4 + int.from_bytes(view[at : at + 4], "big")
        yield bytes(view[at + 4 : end])
        at = end


def _into_bounded(decompress_into: Callable[[bytes, Any], int]) -> Callable[[Any], memoryview]:
    def decode(payload: Any) -> memoryview:
        packed = bytes(payload)
        # A buffer as large as the bound costs no memory, but the system 0.1 ms; most batches fit into a little one.
        for size in dict.fromkeys((min(_limit, USUAL_FACTOR * len(packed)), _limit)):
            room = np.empty(size, np.uint8)
            try:
                return memoryview(room)[: decompress_into(packed, room)]  # type: ignore[arg-type]
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):
                    raise
        raise TooLarge

    return decode


unzstd = _into_bounded(cramjam.zstd.decompress_into)
unlz4 = _into_bounded(cramjam.lz4.decompress_into)
DECODERS: dict[str, Callable[[Any], Any]] = {
    "gzip_decode": gunzip,
    "snappy_decode": unsnap,
    "lz4_decode": unlz4,
    "zstd_decode": unzstd,
}


def _parsers() -> list[Any]:
    modules = [default_records, legacy_records]
    try:
        from aiokafka.record._crecords import default_records as fast
        from aiokafka.record._crecords import legacy_records as fast_legacy
    except ImportError:  # a platform without the compiled parsers
        return modules
    return [*modules, fast, fast_legacy]
