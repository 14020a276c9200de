"""MemoryStore: a partition's state in dicts, for replay and for tests."""

from bisect import bisect_right
from collections.abc import Iterable

from runway_streams.ground_truth.partition import Changes


class MemoryStore:
    """Key: prediction id -> packed row, record key -> packed record. Bound: none but the process's memory."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.records: dict[bytes, bytes] = {}
        self.state: bytes | None = None
        self._order: list[bytes] | None = None

    def read_state(self) -> bytes | None:
        return self.state

    def get_rows(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.rows.get(key) for key in keys]

    def get_records(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.records.get(key) for key in keys]

    def iter_records(self) -> Iterable[tuple[bytes, bytes]]:
        return list(self.records.items())

    def scan_rows(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        if self._order is None or not after:
            self._order = sorted(self.rows)
        start = bisect_right(self._order, after) if after else 0
        return [(key, self.rows[key]) for key in self._order[start : start + limit] if key in self.rows]

    def write(self, changes: Changes) -> None:
        self.rows.update(changes.rows)
        self.records.update(changes.records)
        for key in changes.dead_rows:
            self.rows.pop(key, None)
        for key in changes.dead_records:
            self.records.pop(key, None)
        self.state = changes.state
