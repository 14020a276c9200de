"""Reconciliation: the batch's on-time values against the speed layer's, log hour by log hour, as each hour comes to be owned."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch.lake import Lake
from batch.manifest import Difference, Manifest, Reconciliation
from runway_streams.ground_truth import slim
from runway_streams.times import HOUR

Key = tuple[str, str, int, int]
"""(model, version, event hour, log hour); hours count from the epoch."""
Row = NDArray[np.float64]
"""One merged slim row, (slim.WIDTH,)."""
SpeedRows = Mapping[Key, Row]
SpeedReader = Callable[[int, int], SpeedRows]
"""The speed layer's rows of the total segment of the log hours [first, end), all partitions merged."""

RELATIVE = 1e-9
"""How far sums may differ, relative to the sum of their terms' sizes: both layers add in their own order."""
NAMED = 100
"""Differences that the manifest names; the rest is only counted."""
COUNTED = ("predictions", "joined", "scored", "errors", "ape_n", "intervals", "covered")
SUMMED = ("log_loss", "brier", "abs_error", "ape", "width")

log = logging.getLogger(__name__)


def reconcile(lake: Lake, manifest: Manifest, parent: Manifest | None, speed: SpeedReader, scratch: Path) -> Reconciliation:
    """Compares the hours that this snapshot owns and its parent did not."""
    first, end = parent.owned_before if parent else 0, manifest.owned_before
    return compare(batch_rows(lake, manifest, first, end, scratch), speed(first, end))


def compare(batch: SpeedRows, speed: SpeedRows) -> Reconciliation:
    """Every value of every key of either layer: counts must be equal, sums within RELATIVE.

    >>> row = slim.empty(1)[0]; row[slim.FIELDS.index("predictions")] = 2
    >>> compare({("m", "", 5, 5): row}, {}).differences[0]
    Difference(model='m', version='', event_hour=5, log_hour=5, field='predictions', batch=2.0, speed=0.0)
    """
    nothing = slim.empty(1)[0]
    found = Reconciliation(0, 0)
    for key in sorted(batch.keys() | speed.keys()):
        ours, theirs = batch.get(key, nothing), speed.get(key, nothing)
        for (field, mine, size), (_, other, _) in zip(values(ours), values(theirs), strict=True):
            found.compared += 1
            if abs(mine - other) > RELATIVE * size:
                found.differing += 1
                if len(found.differences) < NAMED:
                    found.differences.append(Difference(*key, field, mine, other))
    _tell(found)
    return found


def values(row: Row) -> Iterator[tuple[str, float, float]]:
    """What is compared of a row, as (name, value, size of its terms); counts have size 0 and must be equal. Moments are
    compared as what they are of: sums and sums of squares."""
    cell = dict(zip(slim.FIELDS, row.tolist(), strict=True))
    for name in COUNTED:
        yield name, cell[name], 0.0
    for name in SUMMED:
        yield name, cell[name], cell[name]
    n = cell["errors"]
    for name, mean, m2 in (
        ("error", cell["error_mean"], cell["error_m2"]),
        ("outcome", cell["outcome_mean"], cell["outcome_m2"]),
    ):
        squares = m2 + n * mean**2
        yield f"{name}_sum", n * mean, (n * squares) ** 0.5
        yield f"{name}_squares", squares, squares


def batch_rows(lake: Lake, manifest: Manifest, first: int, end: int, scratch: Path) -> dict[Key, Row]:
    """The batch's merged rows of the log hours [first, end)."""
    columns = ["model", "version", "segment_key", "bin", "log_hour", *slim.FIELDS]
    paths = [file.path for file in manifest.files if file.table == "hourly"]
    parts: dict[Key, list[Row]] = {}
    for file in lake.fetch(paths, scratch / "lake"):
        table = pq.read_table(file, columns=columns, filters=(pc.field("log_hour") >= first) & (pc.field("log_hour") < end))
        table = table.filter(pc.equal(table["segment_key"], ""))
        cells = np.stack([table[name].to_numpy().astype(float) for name in slim.FIELDS], axis=1)
        keys = zip(*(table[name].to_pylist() for name in ("model", "version", "bin", "log_hour")), strict=True)
        for (model, version, bin, log_hour), row in zip(keys, cells, strict=True):
            parts.setdefault((model, version, bin // HOUR, log_hour), []).append(row)
    return {key: rows[0] if len(rows) == 1 else slim.merge(np.stack(rows))[0] for key, rows in parts.items()}


def _tell(found: Reconciliation) -> None:
    if not found.differing:
        log.info("The batch agrees with the speed layer in all %d values.", found.compared)
        return
    log.error("The batch differs from the speed layer in %d of %d values.", found.differing, found.compared)
    for one in found.differences[:10]:
        where = f"{one.model} {one.version!r}, event hour {one.event_hour}, log hour {one.log_hour}"
        log.error("%s: %s is %r in the batch and %r in the speed layer.", where, one.field, one.batch, one.speed)
