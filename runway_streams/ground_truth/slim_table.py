"""The slim tier at work: the hour records that a partition has in memory, updated whole batches at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.records import pack_slim_many, unpack_slim
from runway_streams.ground_truth.slim import INDEX, WIDTH
from runway_streams.times import BINS_PER_HOUR

MAX_PAIRS = 400
"""Label pairs that a record's bin keeps (20 x 20); further ones are counted under OTHER."""
OTHER = "__other__"

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class SlimKey(NamedTuple):
    """Whose hour: hours count from the epoch; ("", "") is the total's segment."""

    model: str
    version: str
    segment_key: str
    segment_value: str
    event_hour: int
    log_hour: int


class Measures(NamedTuple):
    """What joined pairs say, as columns. NaN where a pair says nothing of the kind."""

    truth: Floats
    """The probability that was given to what became true."""
    brier: Floats
    value: Floats
    outcome: Floats
    lower: Floats
    upper: Floats

    def take(self, source: NDArray[np.intp]) -> "Measures":
        """One entry a pair and record that counts it: entry i is pair number `source[i]`."""
        return Measures(*(column[source] for column in self))


class SlimTable:
    """Hour records of five-minute rows. A record is named by its number; row = number x 12 + bin.

    >>> table = SlimTable()
    >>> number = table.create(SlimKey("m", "", "", "", 480000, 480000))
    >>> table.add_predictions(np.array([number, number]), np.array([0, 3]))
    >>> table.rows.reshape(-1, 12, WIDTH)[number, :4, 0].tolist()
    [1.0, 0.0, 0.0, 1.0]
    """

    def __init__(self, capacity: int = 64):
        self.rows = slim.empty(capacity * BINS_PER_HOUR)
        self.index: dict[tuple, int] = {}
        self.keys: list[SlimKey | None] = [None] * capacity
        self.confusion: list[dict[tuple[int, str, str], int]] = [{} for _ in range(capacity)]
        self.partial: list[bool] = [False] * capacity
        self.touched = np.zeros(capacity, dtype=np.int64)
        self._free = list(range(capacity - 1, -1, -1))

    def __len__(self) -> int:
        return len(self.index)

    def create(self, key: SlimKey, record: bytes | None = None) -> int:
        """Takes a record in, empty or as it was saved, and returns its number."""
        if not self._free:
            self._grow()
        number = self._free.pop()
        self.index[key] = number
        self.keys[number] = key
        if record is not None:
            saved = unpack_slim(record)
            self._of(number)[:] = saved.matrix
            self.confusion[number] = {(bin, p, a): n for bin, p, a, n in saved.confusion}
            self.partial[number] = saved.partial
        return number

    def drop(self, number: int) -> None:
        """Forgets a record."""
        key = self.keys[number]
        assert key is not None
        del self.index[key]
        self.keys[number] = None
        self._of(number)[:] = 0
        self.confusion[number] = {}
        self.partial[number] = False
        self._free.append(number)

    def add_predictions(self, numbers: Ints, bins: Ints) -> None:
        """Counts predictions."""
        self._add(numbers * BINS_PER_HOUR + bins, INDEX["predictions"], 1.0)

    def add_outcomes(self, numbers: Ints, bins: Ints, fields: Ints, delays: Ints) -> None:
        """Counts settled outcomes: `fields` is the cell of the status, `delays` are in ms (early ones have no delay)."""
        rows = numbers * BINS_PER_HOUR + bins
        self._add(rows, fields, 1.0)
        timely = delays >= 0
        self._add(rows[timely], INDEX["delay_0"] + slim.delay_bins(delays[timely]), 1.0)

    def add_pairs(self, numbers: Ints, bins: Ints, pairs: Measures) -> None:
        """Adds up what joined pairs say: losses, errors and intervals."""
        rows = numbers * BINS_PER_HOUR + bins
        self._add_losses(rows, pairs)
        self._add_errors(rows, pairs)
        self._add_intervals(rows, pairs)

    def add_confusion(self, numbers: Sequence[int], bins: Sequence[int], labels: Sequence[tuple[str | None, str]]) -> None:
        """Counts (predicted, actual) label pairs; those without a predicted label say nothing."""
        confusion = self.confusion
        for number, bin, (predicted, actual) in zip(numbers, bins, labels, strict=True):
            if predicted is None:
                continue
            cells = confusion[number]
            cell = (bin, predicted, actual)
            if cell in cells:
                cells[cell] += 1
            elif len(cells) < MAX_PAIRS * BINS_PER_HOUR:
                cells[cell] = 1
            else:
                other = (bin, OTHER, OTHER)
                cells[other] = cells.get(other, 0) + 1

    def pack(self, numbers: Ints, written_in: int = 1) -> list[bytes]:
        """The records as they are written to RocksDB and to `runway.metrics`, in a format."""
        matrices = self.rows.reshape(-1, BINS_PER_HOUR, WIDTH)[numbers]
        confusions = [[(*cell, n) for cell, n in self.confusion[number].items()] for number in numbers]
        return pack_slim_many(matrices, confusions, [self.partial[number] for number in numbers], written_in)

    def _of(self, number: int) -> Floats:
        return self.rows[number * BINS_PER_HOUR : (number + 1) * BINS_PER_HOUR]

    def _grow(self) -> None:
        old = len(self.keys)
        self.rows = np.concatenate([self.rows, slim.empty(old * BINS_PER_HOUR)])
        self.keys += [None] * old
        self.confusion += [{} for _ in range(old)]
        self.partial += [False] * old
        self.touched = np.concatenate([self.touched, np.zeros(old, dtype=np.int64)])
        self._free = list(range(2 * old - 1, old - 1, -1))

    def _add(self, rows: Ints, field: int | Ints, amount: float | Floats) -> None:
        # An integer amount would be cast for every entry, which takes thirty times as long.
        np.add.at(self.rows.reshape(-1), rows * WIDTH + field, amount)

    def _add_losses(self, rows: Ints, pairs: Measures) -> None:
        scored = ~np.isnan(pairs.truth)
        if not scored.any():
            return
        rows = rows[scored]
        log_loss, _ = slim.losses(pairs.truth[scored])
        self._add(rows, INDEX["scored"], 1.0)
        self._add(rows, INDEX["log_loss"], log_loss)
        self._add(rows, INDEX["brier"], pairs.brier[scored])

    def _add_errors(self, rows: Ints, pairs: Measures) -> None:
        numeric = ~(np.isnan(pairs.value) | np.isnan(pairs.outcome))
        if not numeric.any():
            return
        touched, group = np.unique(rows[numeric], return_inverse=True)
        outcome = pairs.outcome[numeric]
        error = pairs.value[numeric] - outcome
        known = outcome != 0
        parts = slim.empty(len(error))
        parts[:, INDEX["errors"]] = 1
        parts[:, INDEX["error_mean"]] = error
        parts[:, INDEX["outcome_mean"]] = outcome
        parts[:, INDEX["abs_error"]] = np.abs(error)
        parts[:, INDEX["ape_n"]] = known
        parts[known, INDEX["ape"]] = np.abs(error[known] / outcome[known])
        # The rows' own values are one more part each, so that merge() is the only place where moments meet.
        own = np.arange(len(touched))
        parts = np.concatenate([self.rows[touched], parts])
        self.rows[touched] = slim.merge(parts, np.concatenate([own, group]), len(touched))

    def _add_intervals(self, rows: Ints, pairs: Measures) -> None:
        given = ~(np.isnan(pairs.lower) | np.isnan(pairs.outcome))
        if not given.any():
            return
        rows, lower, upper, outcome = rows[given], pairs.lower[given], pairs.upper[given], pairs.outcome[given]
        self._add(rows, INDEX["intervals"], 1.0)
        self._add(rows, INDEX["covered"], ((lower <= outcome) & (outcome <= upper)).astype(float))
        self._add(rows, INDEX["width"], upper - lower)
