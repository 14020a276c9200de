"""The view's files: what a snapshot adds to each table, and their compaction."""
# ruff: noqa: S608 - statements are made of our own names and numbers.

from collections.abc import Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from batch.engine import Engine
from batch.manifest import TABLES, ViewFile
from batch.statements import COUNTED, floor, kind_of, statement
from runway_streams.ground_truth import slim
from runway_streams.times import BIN, BINS_PER_HOUR, DAY, HOUR

MOST_FILES = 32
"""A table with more files is compacted to one, which also drops the rows that are past their retention. The files that
one run of an engine has written side by side count as one."""
RETENTION_DAYS = {
    "five_minute": 35, "five_minute_confusion": 35,
    "hourly": 400, "hourly_confusion": 400, "hourly_histograms": 400,
    "ground_truth": 30, "archive": 35,
}  # fmt: skip
"""Days of log time that each table, the ground truth and the archive are kept for."""
_KEY = pa.schema([
    ("model", pa.string()), ("segment_key", pa.string()), ("segment_value", pa.string()), ("version", pa.string()),
    ("bin", pa.int64()), ("log_hour", pa.int64()),
])  # fmt: skip
_ROWS = pa.schema([
    *((name, pa.int64() if name in COUNTED else pa.float64()) for name in slim.FIELDS),
    *((f"late_{name}", pa.int64() if name in COUNTED else pa.float64()) for name in slim.QUALITY),
    ("partial", pa.bool_()),
])  # fmt: skip
_CONFUSION = pa.schema([("predicted", pa.string()), ("actual", pa.string()), ("joined", pa.int64()), ("late", pa.int64())])
_HISTOGRAMS = pa.schema([("family", pa.string()), ("cell", pa.int32()), ("joined", pa.float64()), ("late", pa.float64())])
_SHOWN = {"five_minute": _ROWS, "five_minute_confusion": _CONFUSION,
          "hourly": _ROWS, "hourly_confusion": _CONFUSION, "hourly_histograms": _HISTOGRAMS}  # fmt: skip
SCHEMAS = {table: pa.unify_schemas([_KEY, shown]) for table, shown in _SHOWN.items()}
"""The columns of each table's files. Cells of histograms are sums too: a calibration adds up scores."""
_MERGED = {"five_minute": "merged_rows", "hourly": "merged_rows", "hourly_histograms": "merged_histograms",
           "five_minute_confusion": "merged_confusion", "hourly_confusion": "merged_confusion"}  # fmt: skip


def make_tables(db: Engine) -> None:
    """Makes the five tables of the view out of the view `ground_truth`; keys are numbers until they are written."""
    db.view("contribution", db.text("contribution", floor_bin=floor("time", BIN)))
    db.table("segment_of_text", db.text("segment_of_text"))
    db.table("class_of_text", db.text("class_of_text"))
    db.table("dropped_segment", db.text("dropped_segments"))
    db.add("dropped_segment", "SELECT * FROM earlier_dropped_segment")
    db.table("dropped_part", db.text("dropped_part"))
    db.table("part", "SELECT DISTINCT part, key, value FROM segment_of_text UNION ALL SELECT 0, '', ''")
    # Without segments, the union's other branch would still cost a join.
    source = "(SELECT *, 0 AS part, true AS is_declared FROM contribution)"
    if db.count("segment_of_text"):
        db.view("contribution_by_part", db.text("contribution_by_part"))
        source = "contribution_by_part"
    db.table("five_minute", db.text("five_minute", contribution=source, errors=statement("errors").template))
    db.table("five_minute_confusion", db.text("five_minute_confusion", contribution=source))
    to_hour = {"floor": floor("bin", BINS_PER_HOUR), "key": "series, part, bin, log_hour"}
    db.table("hourly", db.text("merged_rows", source="five_minute", **to_hour))
    db.table("hourly_confusion", db.text("merged_confusion", source="five_minute_confusion", **to_hour))
    db.table("hourly_histograms", db.text("hourly_histograms", contribution=source, hour=to_hour["floor"]))


def write_tables(db: Engine, snapshot: str) -> list[ViewFile]:
    """Puts the tables' new files into the lake, the last table first: it is by far the largest."""
    queries = {table: db.text("named", table=table, columns=_columns(_SHOWN[table], "one.")) for table in reversed(TABLES)}
    return _write(db, queries, snapshot)[::-1]


def compact(db: Engine, files: Sequence[ViewFile], cutoff: int, snapshot: str) -> list[ViewFile]:
    """The tables' files, those of tables with too many of them merged."""
    kept: list[ViewFile] = []
    for table in TABLES:
        own = [file for file in files if file.table == table]
        # Either a file or the folder of those side by side.
        written = {PurePosixPath(file.path).relative_to("view", table).parts[0] for file in own}
        kept += own if len(written) <= MOST_FILES else _merge(db, table, own, cutoff, snapshot)
    return kept


def _merge(db: Engine, table: str, files: list[ViewFile], cutoff: int, snapshot: str) -> list[ViewFile]:
    oldest = cutoff - RETENTION_DAYS[table] * DAY // HOUR
    db.files("published", [file.path for file in files], SCHEMAS[table])
    key = ", ".join(_KEY.names)
    merged = db.text(_MERGED[table], source=f"(SELECT * FROM published WHERE log_hour >= {oldest})", floor="bin", key=key)
    query = f"SELECT {key}, {_columns(_SHOWN[table])} FROM ({merged}) AS merged ORDER BY {key}"
    return _write(db, {table: query}, f"{snapshot}-merged")


def _write(db: Engine, queries: dict[str, str], name: str) -> list[ViewFile]:
    """Writes each table's query, in its order."""
    stems = {f"view/{table}/{name}": table for table in queries}
    written = db.write({stem: queries[table] for stem, table in stems.items()}, ("bin",))
    return [ViewFile(table, one.path, one.rows, one.times) for stem, table in stems.items() for one in written[stem]]


def _columns(schema: pa.Schema, of: str = "") -> str:
    """Columns of the types that they are published with: engines add up counts to types of their own."""
    return ", ".join(f"{of}{field.name}::{kind_of(field.type)} AS {field.name}" for field in schema)
