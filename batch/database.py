"""DuckDB as the batch uses it: in memory up to a limit, on disk beyond it; its statements are the files of `sql/`."""
# ruff: noqa: S608 - statements are made of our own names and numbers; what is foreign is quoted.

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import CALIBRATION_BINS, CLASS_BINS, SCORE_BINS
from runway_streams.ground_truth.slim_table import MAX_PAIRS, OTHER
from runway_streams.times import BIN, BINS_PER_HOUR, DAY, HOUR, LIFE

CARRY = 7 * DAY
"""How far apart, in log time, a prediction and an outcome may lie for the batch to count it as late."""
MAX_SEGMENT_VALUES = 64
"""Undeclared segment values that a model keeps in a log hour, most frequent first."""
ROW_GROUP = 65_536

_SUMS = tuple(name for name in slim.QUALITY if not name.endswith(("_mean", "_m2")))
_ERRORS = slim.QUALITY[slim.QUALITY.index("errors") :]
_UP_TO = tuple(f"up_to_{i}" for i in range(len(slim.DELAY_EDGES)))
_CONSTANTS = {
    "BIN": BIN, "HOUR": HOUR, "HOUR_BINS": BINS_PER_HOUR, "LIFE": LIFE, "CARRY": CARRY, "CLIP": slim.CLIP,
    "SCORE_BINS": SCORE_BINS, "CALIBRATION_BINS": CALIBRATION_BINS, "CLASS_BINS": CLASS_BINS,
    "MAX_SEGMENT_VALUES": MAX_SEGMENT_VALUES, "MAX_PAIRS": MAX_PAIRS, "OTHER": OTHER,
    "counts_up_to": ",\n    ".join(
        f"coalesce(count_if(delay <= {edge}), 0)::INT AS {name}" for edge, name in zip(slim.DELAY_EDGES, _UP_TO, strict=True)
    ),
    "delay_counts": ",\n    ".join(
        f"{upper} - {lower} AS {name}"
        for name, lower, upper in zip(slim.DELAYS, ("0", *_UP_TO), (*_UP_TO, "(joined + late)"), strict=True)
    ),
    "merged_counts": ",\n    ".join(f"sum({name})::INT AS {name}" for name in slim.COUNTS),
    "merged_sums": ",\n    ".join(f"sum({name}) AS {name}" for name in _SUMS),
    "merged_late_sums": ",\n    ".join(f"sum(late_{name}) AS late_{name}" for name in _SUMS),
    "error_columns": ", ".join(f"coalesce(joined_errors.{name}, 0) AS {name}" for name in _ERRORS),
    "late_error_columns": ", ".join(f"coalesce(late_errors.{name}, 0) AS late_{name}" for name in _ERRORS),
}  # fmt: skip
"""What `$NAME` stands for in the statements: bounds and lists of columns have one source, the Python of both layers."""


def connect(memory_limit: str, scratch: Path, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that uses at most `memory_limit` (such as 4GiB) and spills to `scratch` beyond it."""
    scratch.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "memory_limit": duckdb_share(memory_limit),
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        # An archive has thousands of small files, which several statements read.
        "parquet_metadata_cache": True,
    }
    return duckdb.connect(config=settings | ({"threads": threads} if threads else {}))


def duckdb_share(memory_limit: str) -> str:
    """DuckDB's share of the memory limit: four fifths; the rest is for hashes, Arrow and Python.

    >>> duckdb_share("4GiB"), duckdb_share("500 MB")
    ('3.2GiB', '400MB')
    """
    number, unit = re.fullmatch(r"([\d.]+)\s*([a-zA-Z]+)", memory_limit.strip()).groups()  # type: ignore[union-attr]
    return f"{float(number) * 0.8:g}{unit}"


@cache
def statement(name: str) -> Template:
    """The text of `sql/NAME.sql`."""
    return Template(files("batch").joinpath("sql", f"{name}.sql").read_text())


def text(name: str, **values: object) -> str:
    """`sql/NAME.sql` with its `$NAMES` filled in. Fragments may hold names of their own, hence the second round."""
    once = statement(name).safe_substitute(_CONSTANTS, **values)
    return Template(once).substitute(_CONSTANTS, **values)


def create(db: duckdb.DuckDBPyConnection, table: str, name: str, **values: object) -> int:
    """Makes a table of what `sql/NAME.sql` selects; returns its rows."""
    return count(db, f"CREATE OR REPLACE TABLE {table} AS {text(name, **values)}")


def create_view(db: duckdb.DuckDBPyConnection, name: str, **values: object) -> None:
    """Makes a view of what `sql/NAME.sql` selects."""
    db.execute(f"CREATE OR REPLACE VIEW {name} AS {text(name, **values)}")


def view_of(db: duckdb.DuckDBPyConnection, name: str, paths: Sequence[Path], schema: pa.Schema, scratch: Path) -> None:
    """A view of Parquet files; of no rows where there are no files."""
    listed = _listed(paths or [_of_no_rows(name, schema, scratch)])
    db.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet({listed})")


def view_by_name(db: duckdb.DuckDBPyConnection, name: str, paths: Sequence[Path], schema: pa.Schema, scratch: Path) -> None:
    """The same of files that leave out columns: those that would be null throughout, or that older files do not have."""
    listed = _listed([_of_no_rows(name, schema, scratch), *paths])
    db.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet({listed}, union_by_name = true)")


def _of_no_rows(name: str, schema: pa.Schema, scratch: Path) -> Path:
    file = scratch / f"{name}.empty.parquet"
    pq.write_table(schema.empty_table(), file)
    return file


def write(db: duckdb.DuckDBPyConnection, query: str, target: Path, compression: str = "zstd") -> int:
    """Writes a query's rows as one Parquet file; returns how many."""
    target.parent.mkdir(parents=True, exist_ok=True)
    options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {ROW_GROUP}"
    return db.execute(f"COPY ({query}) TO '{_quoted(target)}' ({options})").fetchone()[0]  # type: ignore[index]


def count(db: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number that a query selects."""
    return db.execute(query).fetchone()[0]  # type: ignore[index]


def _listed(paths: Sequence[Path]) -> str:
    return "[" + ", ".join(f"'{_quoted(path)}'" for path in paths) + "]"


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
