"""Records whose headers are not named in UTF-8, read as all others: aiokafka's parser gives up a whole topic-partition for one.

Kafka's protocol calls a header's name a string, but the broker takes any bytes, and so do clients in C, Go and Rust. These
are private APIs of aiokafka, pinned exactly; tests/runway_streams/test_lenient_records.py holds the tests.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH = slice(8, 12)
_BEFORE_LENGTH = 12


def read_any_headers() -> None:
    """Makes all consumers of this process take header names that are not UTF-8, escaped: b"\\xff" becomes the text \\xff."""
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """What `MemoryRecords` is to the fetcher: the batches of one answer. Only a batch that fails is parsed a second time."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = memoryview(raw), 0
        self._records = MemoryRecords(raw)
        self.has_next = self._records.has_next
        self.size_in_bytes = self._records.size_in_bytes

    def next_batch(self) -> Any:
        """The next batch, which iterates over its records."""
        batch = self._records.next_batch()
        begin = self._at
        self._at += _BEFORE_LENGTH + int.from_bytes(self._raw[begin:][_LENGTH], "big")
        return _Batch(batch, self._raw[begin : self._at])


class _Batch:
    """A batch with all that it says, and an iteration that goes on where the fast parser gives up."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                read += 1
                yield record
        except UnicodeDecodeError:
            slow = _DefaultRecordBatchPy(self._raw)
            slow._maybe_uncompress()
            slow._buffer = _Buffer(slow._buffer)
            yield from islice(slow, read, None)

    def __next__(self) -> Any:
        return next(self._batch)


class _Buffer(bytearray):
    """A buffer whose pieces decode whatever they hold."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Piece(found) if isinstance(at, slice) else found


class _Piece(bytes):
    def decode(self, *_: Any, **__: Any) -> str:
        return super().decode("utf-8", "backslashreplace")
