"""The shelf: records of `runway.metrics` in the form in which the speed store keeps them.

A shelved record is bytes of a quarter of the record's size. Which cells are filled is a bit each, counts are two bytes,
sums are float64, labels are one byte, a number of `Names`; records with larger counts or more labels are `wide`: float64
and four bytes. Hundreds of records are read with a few numpy calls.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.merge_rule import family_size
from runway_streams.ground_truth.records import Confusion, cells_of, family_names, read_slim
from runway_streams.times import BINS_PER_HOUR

HEADER = Struct("<BHI")
"""Flags, bytes of the mask, bytes of the cells' values; what follows the values are confusion rows."""
PARTIAL, WIDE = 1, 2
NARROW_MAX = 65_535
NARROW_PAIR = np.dtype([("bin", "u1"), ("predicted", "u1"), ("actual", "u1"), ("count", "<u2")])
WIDE_PAIR = np.dtype([("bin", "<u4"), ("predicted", "<u4"), ("actual", "<u4"), ("count", "<u4")])
COUNTED = {*slim.COUNTS, "scored", "errors", "ape_n", "intervals", "covered"}
SLIM_COUNTS = np.tile([name in COUNTED for name in slim.FIELDS], BINS_PER_HOUR)
"""Which cells of a slim record are whole numbers."""

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Cells = NDArray[np.float64]
NO_PAIRS: Ints = np.zeros((0, 4), dtype=np.int64)


class Names:
    """The numbers of one model's labels, and the first cell of each histogram family in one long row of cells."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.families: dict[str, int] = {}
        self.counts: Flags = np.zeros(0, dtype=bool)
        """Which histogram cells are whole numbers."""

    def label(self, name: str) -> int:
        """A label's number."""
        return self.labels.setdefault(name, len(self.labels))

    def family(self, name: str) -> int:
        """A family's first cell."""
        first = self.families.get(name)
        if first is None:
            first = self.families[name] = len(self.counts)
            places = np.arange(family_size(name))
            # The second of a calibration bin's three cells is a sum of scores.
            self.counts = np.concatenate([self.counts, (places % 3 != 1) | (name != "calibration")])
        return first


class Slims(NamedTuple):
    """n slim records: rows (n, 12, WIDTH), confusion (record, bin, predicted, actual, count), and which are partial."""

    rows: NDArray[np.float64]
    confusion: Ints
    partial: Flags


def shelve_slim(record: bytes, names: Names) -> bytes:
    """A slim record as it is kept."""
    found = read_slim(record)
    filled = np.unpackbits(np.frombuffer(found.mask, np.uint8), count=len(SLIM_COUNTS)).astype(bool)
    pairs = np.array(_numbered(found.confusion, names), dtype=np.int64).reshape(-1, 4)
    return _shelve(filled, np.frombuffer(found.values, "<f8"), SLIM_COUNTS, pairs, found.partial)


def shelve_full(record: bytes, names: Names) -> bytes:
    """A full record as it is kept: the families that performance is made of; the others serve other readers."""
    parts = cells_of(record, [name for name in family_names(record) if is_quality(name)])
    firsts = {name: names.family(name) for name in parts}
    cells = np.zeros(len(names.counts))
    for name, (places, values) in parts.items():
        cells[firsts[name] + places] = values
    return _shelve_cells(cells, names.counts, NO_PAIRS, False)


def read_slims(records: Sequence[bytes]) -> Slims:
    """What is in some slim records."""
    heads = [HEADER.unpack_from(record) for record in records]
    rows = _read_cells(records, heads, SLIM_COUNTS).reshape(-1, BINS_PER_HOUR, slim.WIDTH)
    partial = np.array([bool(flags & PARTIAL) for flags, _, _ in heads], dtype=bool)
    return Slims(rows, _read_pairs(records, heads), partial)


def read_fulls(records: Sequence[bytes], names: Names) -> Cells:
    """The histograms of some full records: (n, all cells of `names`). Bins do not depend on a layout."""
    if not len(records) or not len(names.counts):  # a regression's histograms may hold nothing that answers need
        return np.zeros((len(records), len(names.counts)))
    return _read_cells(records, [HEADER.unpack_from(record) for record in records], names.counts)


def sum_slims(records: Sequence[bytes]) -> bytes:
    """One record of several."""
    found = read_slims(records)
    return _shelve_cells(
        _merge(found.rows).ravel(), SLIM_COUNTS, _add_pairs(found.confusion[:, 1:]), bool(found.partial.any())
    )


def sum_fulls(records: Sequence[bytes], names: Names) -> bytes:
    """One record of several."""
    return _shelve_cells(read_fulls(records, names).sum(axis=0), names.counts, NO_PAIRS, False)


def is_quality(family: str) -> bool:
    """Whether performance is made of this family."""
    return family in ("score_class", "calibration") or family.startswith("class:")


def _numbered(confusion: Confusion, names: Names) -> list[tuple[int, int, int, int]]:
    number = names.labels
    try:
        return [(bin, number[predicted], number[actual], count) for bin, predicted, actual, count in confusion]
    except KeyError:  # once for each new label; a call for every pair would cost more than all the rest of a record
        for _, predicted, actual, _ in confusion:
            names.label(predicted)
            names.label(actual)
        return _numbered(confusion, names)


def _shelve_cells(cells: Cells, counts: Flags, pairs: Ints, partial: bool) -> bytes:
    filled = cells != 0
    return _shelve(filled, cells[filled], counts, pairs, partial)


def _shelve(filled: Flags, values: Cells, counts: Flags, pairs: Ints, partial: bool) -> bytes:
    """A record of the cells that are `filled`, with their values."""
    mask, counted = np.packbits(filled).tobytes(), counts[filled]
    whole = values[counted]
    wide = bool(max(whole.max(initial=0), pairs[:, 3].max(initial=0)) > NARROW_MAX or pairs[:, 1:3].max(initial=0) > 255)
    packed = whole.astype("<f8" if wide else "<u2").tobytes() + values[~counted].astype("<f8").tobytes()
    rows = np.empty(len(pairs), dtype=WIDE_PAIR if wide else NARROW_PAIR)
    for number, name in enumerate(WIDE_PAIR.names or ()):
        rows[name] = pairs[:, number]
    return HEADER.pack(PARTIAL * partial + WIDE * wide, len(mask), len(packed)) + mask + packed + rows.tobytes()


def _merge(rows: NDArray[np.float64]) -> slim.Rows:
    """The twelve bins of several hours' rows (n, 12, WIDTH)."""
    if not rows[:, :, slim.INDEX["errors"]].any():
        return rows.sum(axis=0)  # without moments, merging is adding: ten times faster
    return slim.merge(rows.reshape(-1, slim.WIDTH), np.tile(np.arange(BINS_PER_HOUR), len(rows)), BINS_PER_HOUR)


def _read_cells(records: Sequence[bytes], heads: Sequence[tuple[int, int, int]], counts: Flags) -> Cells:
    """The cells of all records; those that a record does not know are 0."""
    size, first = (len(counts) + 7) // 8, HEADER.size
    masks = b"".join([r[first : first + mask].ljust(size, b"\0") for r, (_, mask, _) in zip(records, heads, strict=True)])
    filled = np.unpackbits(np.frombuffer(masks, np.uint8).reshape(-1, size), axis=1, count=len(counts)).astype(bool)
    cells = np.zeros(filled.shape)
    whole = np.count_nonzero(filled & counts, axis=1).tolist()
    for wide in (False, True):
        chosen = [i for i, (flags, _, _) in enumerate(heads) if bool(flags & WIDE) == wide]
        if chosen:
            cells[chosen] = _read_alike(records, heads, chosen, whole, filled[chosen], counts, "<f8" if wide else "<u2")
    return cells


def _read_alike(
    records: Sequence[bytes],
    heads: Sequence[tuple[int, int, int]],
    chosen: Sequence[int],
    whole: Sequence[int],
    filled: Flags,
    counts: Flags,
    kind: str,
) -> Cells:
    width = np.dtype(kind).itemsize
    starts = [HEADER.size + heads[i][1] for i in chosen]
    splits = [start + width * whole[i] for i, start in zip(chosen, starts, strict=True)]
    ends = [start + heads[i][2] for i, start in zip(chosen, starts, strict=True)]
    cells = np.zeros(filled.shape)
    counted = b"".join([records[i][a:b] for i, a, b in zip(chosen, starts, splits, strict=True)])
    summed = b"".join([records[i][a:b] for i, a, b in zip(chosen, splits, ends, strict=True)])
    cells[filled & counts] = np.frombuffer(counted, kind)
    cells[filled & ~counts] = np.frombuffer(summed, "<f8")
    return cells


def _read_pairs(records: Sequence[bytes], heads: Sequence[tuple[int, int, int]]) -> Ints:
    parts = [np.zeros((0, 5), dtype=np.int64)]
    for wide, kind in ((False, NARROW_PAIR), (True, WIDE_PAIR)):
        chosen = [i for i, (flags, _, _) in enumerate(heads) if bool(flags & WIDE) == wide]
        rest = [records[i][HEADER.size + heads[i][1] + heads[i][2] :] for i in chosen]
        rows = np.frombuffer(b"".join(rest), kind)
        whose = np.repeat(np.array(chosen, dtype=np.int64), [len(part) // kind.itemsize for part in rest])
        parts.append(np.stack([whose, *(rows[name].astype(np.int64) for name in kind.names or ())], axis=1))
    return np.concatenate(parts)


def _add_pairs(pairs: Ints) -> Ints:
    """Counts of (bin, predicted, actual), each once."""
    if not len(pairs):
        return pairs
    labels = int(pairs[:, 1:3].max()) + 1
    cells = (pairs[:, 0] * labels + pairs[:, 1]) * labels + pairs[:, 2]
    distinct, place = np.unique(cells, return_inverse=True)
    rest, actual = np.divmod(distinct, labels)
    return np.stack([*np.divmod(rest, labels), actual, np.bincount(place, pairs[:, 3]).astype(np.int64)], axis=1)
