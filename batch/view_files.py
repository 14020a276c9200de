"""The view's files: what a snapshot adds to each table, and their compaction."""
# ruff: noqa: S608 - statements are made of our own names and numbers; what is foreign is quoted.

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from batch.database import create, create_view, statement, text, write
from batch.lake import Lake
from batch.manifest import TABLES, ViewFile
from runway_streams.times import BIN, BINS_PER_HOUR, DAY, HOUR

MOST_FILES = 32
"""A table with more files is compacted to one, which also drops the rows that are past their retention."""
WRITERS = 2
"""Tables that are sorted and written at the same time."""
RETENTION_DAYS = {
    "five_minute": 35, "five_minute_confusion": 35,
    "hourly": 400, "hourly_confusion": 400, "hourly_histograms": 400,
    "ground_truth": 30, "archive": 35,
}  # fmt: skip
"""Days of log time that each table, the ground truth and the archive are kept for."""
_KEY = "model, segment_key, segment_value, version, bin, log_hour"
_MERGED = {"five_minute": "merged_rows", "hourly": "merged_rows", "hourly_histograms": "merged_histograms",
           "five_minute_confusion": "merged_confusion", "hourly_confusion": "merged_confusion"}  # fmt: skip


def make_tables(db: duckdb.DuckDBPyConnection) -> None:
    """Makes the five tables of the view out of the view `ground_truth`; keys are numbers until they are written."""
    create_view(db, "contribution", floor_bin=floor("time", BIN))
    segmented = create(db, "segment_of_text", "segment_of_text")
    create(db, "class_of_text", "class_of_text")
    create(db, "dropped_segment", "dropped_segments")
    db.execute("INSERT INTO dropped_segment FROM earlier_dropped_segment")
    create(db, "dropped_part", "dropped_part")
    db.execute("""CREATE TABLE part AS SELECT DISTINCT part, key, value FROM segment_of_text
        UNION ALL SELECT 0, '', ''""")
    create_view(db, "contribution_by_part")
    # Without segments, the union's other branch would still cost a join.
    source = "contribution_by_part" if segmented else "(SELECT *, 0 AS part, true AS is_declared FROM contribution)"
    create(db, "five_minute", "five_minute", contribution=source, errors=statement("errors").template)
    create(db, "five_minute_confusion", "five_minute_confusion", contribution=source)
    to_hour = {"floor": floor("bin", BINS_PER_HOUR), "key": "series, part, bin, log_hour"}
    create(db, "hourly", "merged_rows", source="five_minute", **to_hour)
    create(db, "hourly_confusion", "merged_confusion", source="five_minute_confusion", **to_hour)
    create(db, "hourly_histograms", "hourly_histograms", contribution=source, hour=to_hour["floor"])


def floor(column: str, width: int) -> str:
    """SQL of the start of the bin that a time lies in; SQL's own division rounds towards zero, and times before 1970
    are negative."""
    return f"({column} - (({column} % {width}) + {width}) % {width})"


def write_tables(db: duckdb.DuckDBPyConnection, lake: Lake, snapshot: str, scratch: Path) -> list[ViewFile]:
    """Puts the tables' new files into the lake, `WRITERS` at a time: one file's rows go through one thread."""

    def write_one(table: str) -> ViewFile | None:
        with db.cursor() as own:
            return _write(own, lake, table, text("named", table=table), snapshot, scratch)

    with ThreadPoolExecutor(WRITERS) as pool:
        # The last table is by far the largest, so it comes first.
        found = list(pool.map(write_one, reversed(TABLES)))[::-1]
    return [file for file in found if file is not None]


def compact(
    db: duckdb.DuckDBPyConnection, lake: Lake, files: Sequence[ViewFile], cutoff: int, snapshot: str, scratch: Path
) -> list[ViewFile]:
    """The tables' files, those of tables with too many of them merged to one."""
    kept: list[ViewFile] = []
    for table in TABLES:
        own = [file for file in files if file.table == table]
        kept += own if len(own) <= MOST_FILES else _merge(db, lake, own, cutoff, snapshot, scratch)
    return kept


def _merge(
    db: duckdb.DuckDBPyConnection, lake: Lake, files: list[ViewFile], cutoff: int, snapshot: str, scratch: Path
) -> list[ViewFile]:
    table = files[0].table
    oldest = cutoff - RETENTION_DAYS[table] * DAY // HOUR
    paths = ", ".join(f"'{path}'" for path in lake.fetch([file.path for file in files], scratch / "lake"))
    source = f"(SELECT * FROM read_parquet([{paths}], union_by_name = true) WHERE log_hour >= {oldest})"
    merged_rows = text(_MERGED[table], source=source, floor="bin", key=_KEY)
    query = f"SELECT * FROM ({merged_rows}) ORDER BY {_KEY}"
    merged = _write(db, lake, table, query, f"{snapshot}-merged", scratch)
    return [merged] if merged else []


def _write(db: duckdb.DuckDBPyConnection, lake: Lake, table: str, query: str, name: str, scratch: Path) -> ViewFile | None:
    target = scratch / "view" / table / f"{name}.parquet"
    # A sixth larger than by zstd, which keeps the one thread of a sorted table busy a quarter longer.
    rows = write(db, query, target, "lz4_raw")
    if not rows:
        return None
    first, last = db.execute(f"SELECT min(bin), max(bin) FROM read_parquet('{target}')").fetchone()  # type: ignore[misc]
    path = f"view/{table}/{name}.parquet"
    lake.put_file(path, target)
    return ViewFile(table, path, rows, (first, last))
