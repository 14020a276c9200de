"""Metrics records: absolute values of open accumulators; the compacted topic `runway.metrics`.

Keys are JSON arrays: `["slim", model, version, segment_key, segment_value, event_hour, log_hour]`,
`["full", the same seven..., layout_digest]` and `["mark"]`; the segment of the total is `"", ""`. Hours count from the epoch.
A record holds the share of one partition, the one it lies in; the values of all partitions are merged by the reader.
Values are MessagePack of the types below; `format` is the number of `runway_streams.formats` in which each was written.
"""

from msgspec import Struct


class SlimRecord(Struct, array_like=True, gc=False):
    """The twelve five-minute bins of an hour.

    `mask` has one bit a cell of the 12 x WIDTH matrix of `ground_truth.slim.FIELDS` (row-major, numpy.packbits order):
    set where the cell is not 0; `values` are those cells as little-endian float64. `confusion` lists
    (bin, predicted label, actual label, count). `partial`: some segment values were not kept.
    """

    format: int
    mask: bytes
    values: bytes
    confusion: list[tuple[int, str, str, int]]
    partial: bool = False


class FullRecord(Struct, array_like=True, gc=False):
    """An hour's histograms. `families` is the layout, name -> (first cell, cells); `cells` are the numbers of the cells
    that are not 0 as little-endian uint32, `values` theirs as float64. `sketches`: serialised KLL of features
    without a profile."""

    format: int
    families: dict[str, tuple[int, int]]
    cells: bytes
    values: bytes
    sketches: dict[str, bytes] = {}


class Mark(Struct, gc=False):
    """How far a partition's emitted values reach: all events below `offsets` (topic -> next offset) are in them.

    `clock` is the partition's log time (ms); hours up to `closed_before` (a log hour) are never emitted again;
    `counters` are the partition's totals since the beginning (events, joined, late, dead letters by reason...).
    """

    offsets: dict[str, int]
    clock: int
    closed_before: int
    counters: dict[str, int]
    incomplete_hours: list[int] = []
    cluster_id: str = ""
    format: int = 1
