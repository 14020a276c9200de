"""Settled days: answers about whole days that cannot change until the next batch, kept as they were written.

A day is settled where the batch owns every row of it. Its windows are kept as compressed JSON, and their sum for the
total. Bound: MAX_BYTES; the least recently used give way.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import cramjam

from api.query import Query
from api.windows import Reading
from runway_streams.ground_truth.merge_rule import Layer, Tumbled
from runway_streams.times import BIN, DAY

MAX_BYTES = 256 * 1024 * 1024
SUM_BYTES = 16 * 1024
"""What a sum takes, about: slim rows and histograms of 542 cells, on time and late."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A run of days: the sum of its windows, and the windows as JSON items, read as `reading` and `rate` say."""

    total: Tumbled
    reading: Reading
    rate: float | None
    packed: bytes

    @property
    def items(self) -> bytes:
        """The items with commas between them; empty where there are none."""
        return bytes(cramjam.zstd.decompress(self.packed))


class SettledDays:
    """Runs of settled days by what was asked and by whom it is owned."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._kept: OrderedDict[Hashable, Settled] = OrderedDict()

    def get(self, key: Hashable) -> Settled | None:
        """What is kept, None where nothing is."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, total: Tumbled, reading: Reading, rate: float | None, items: bytes) -> None:
        """Keeps a run; `items` are JSON objects with commas between them."""
        old = self._kept.pop(key, None)
        self.bytes -= _size(old) if old else 0
        new = self._kept[key] = Settled(total, reading, rate, bytes(cramjam.zstd.compress(items, 1)))
        self.bytes += _size(new)
        while self.bytes > self.max_bytes and self._kept:
            self.bytes -= _size(self._kept.popitem(last=False)[1])


def settled_range(query: Query, speed: Layer, horizon: int) -> tuple[int, int] | None:
    """The whole days (ms) of the query that lie before the first row of the speed layer; None where there are none.

    `speed` has the rows that the batch does not own.
    """
    if query.view == "speed" or query.width > DAY:
        return None
    rows = speed.rows.bin
    limit = min(query.end, horizon, int(rows.min()) * BIN if len(rows) else query.end)
    start, end = -(-query.start // DAY) * DAY, limit // DAY * DAY
    return (start, end) if start < end else None


def _size(settled: Settled) -> int:
    return len(settled.packed) + SUM_BYTES
