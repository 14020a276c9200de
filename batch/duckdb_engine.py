"""DuckDB as the batch's engine: in memory up to a limit, on disk beyond it, all cores of one machine."""
# ruff: noqa: S608 - statements are made of our own names and numbers; what is foreign is quoted.

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch.engine import Engine, Written
from batch.lake import Lake
from batch.memory import memory_bytes
from batch.statements import Dialect

ROW_GROUP = 65_536
WRITERS = 2
"""Queries whose rows are sorted and written at the same time: one file's rows go through one thread."""
BYTES_A_HASHED_ID = 24
"""Memory that the search for repeated ids takes for each: its hash in DuckDB, in numpy and on the way. Where they do not fit,
the ids are read again, a share at a time."""
BYTES_A_JOINED_ROW = 128
"""Memory that a join takes for each row of either side. What does not fit is joined a share at a time: to read it several
times is cheaper than to spill it once."""
SORTED = "lz4_raw"
"""A sixth larger than by zstd, which keeps the one thread of a sorted file busy a quarter longer."""

_DIALECT = {
    "EXCLUDE": "EXCLUDE",
    "DIV": "//",
    "UNNEST": "unnest",
    "TEXTS": """'["VARCHAR"]'""",
    "SEGMENTS": """'[{"key": "VARCHAR", "value": "VARCHAR", "declared": "BOOLEAN"}]'""",
    "SUM_OF_SQUARES": "list_sum(list_transform(map_values(scores), lambda s: s * s))",
    "STATUS": "::pair_status",
    "IS_REPEATED": "hash(id) IN (SELECT hash FROM repeated_hash)",
}


class DuckDBEngine(Engine):
    """A DuckDB connection of one run, `db`; files come from the lake by way of `folder` where they are not local."""

    dialect: Dialect = _DIALECT

    def __init__(self, lake: Lake, folder: Path, memory_limit: str, threads: int | None = None) -> None:
        self.db = connect(memory_limit, folder, threads)
        self._lake, self._folder = lake, folder
        self._hashed_at_once = memory_bytes(memory_limit) / BYTES_A_HASHED_ID
        self._joined_at_once = memory_bytes(duckdb_share(memory_limit)) / BYTES_A_JOINED_ROW
        self._local = folder / "lake"
        self.db.execute("CREATE TYPE pair_status AS ENUM ('unmatched', 'early', 'joined', 'late')")

    def files(self, view: str, paths: Sequence[str], schema: pa.Schema) -> None:
        empty = self._folder / f"{view}.empty.parquet"
        pq.write_table(schema.empty_table(), empty)
        listed = ", ".join(f"'{_quoted(path)}'" for path in (empty, *self._lake.fetch(paths, self._local)))
        self.view(view, f"SELECT * FROM read_parquet([{listed}], union_by_name = true)")

    def view(self, name: str, query: str) -> None:
        self.db.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")

    def table(self, name: str, query: str) -> None:
        self.db.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")

    def add(self, table: str, query: str) -> None:
        self.db.execute(f"INSERT INTO {table} {query}")

    def count(self, table: str) -> int:
        return self.number(f"SELECT count(*) FROM {table}")

    def load(self, name: str, table: pa.Table) -> None:
        self.db.register(name, table)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.db.execute(query).fetchall()

    def write(self, queries: Mapping[str, str], times: Sequence[str] = ()) -> dict[str, list[Written]]:
        def write_one(stem: str) -> list[Written]:
            with self.db.cursor() as own:
                target = self._local / f"{stem}.parquet"
                copy(own, queries[stem], target, SORTED)
                return self._put(own, [target], times)

        with ThreadPoolExecutor(WRITERS) as pool:
            return dict(zip(queries, pool.map(write_one, queries), strict=True))

    def scatter(self, query: str, stem: str, times: Sequence[str]) -> list[Written]:
        parts = self._local / f"{stem}.parts"
        parts.parent.mkdir(parents=True, exist_ok=True)
        options = "FORMAT parquet, PER_THREAD_OUTPUT, DICTIONARY_SIZE_LIMIT 5000, COMPRESSION snappy"
        self.db.execute(f"COPY ({query}) TO '{_quoted(parts)}' ({options})")
        found = [part.rename(self._local / f"{stem}-{i}.parquet") for i, part in enumerate(sorted(parts.rglob("*.parquet")))]
        return self._put(self.db, found, times)

    def find_repeated_ids(self, topic: str) -> bool:
        ids = f"(SELECT id FROM new_{topic} UNION ALL SELECT id FROM earlier_{topic})"
        # Whole files are counted by their footers; some of these ids are left out, so this is a bound.
        files = " + ".join(f"(SELECT count(*) FROM {view}_{topic})" for view in ("new", "recent", "carried"))
        shares = _shares_of_ids(ceil(self.number(f"SELECT {files}") / self._hashed_at_once))
        found = np.concatenate([self._repeated_hashes(f"SELECT hash(id) AS h FROM {ids} WHERE {one}") for one in shares])
        self.load("repeated_hash", pa.table({"hash": found}))
        return len(found) > 0

    def shares_to_join(self, *views: str) -> Sequence[str]:
        partitions = " UNION ALL ".join(f"SELECT log_partition FROM {view}" for view in views)
        rows = self.rows(f"SELECT log_partition, count(*) FROM ({partitions}) GROUP BY 1 ORDER BY 1")
        return shares_to_join(rows, self._joined_at_once)

    def enumerate_names(self, table: str, columns: Sequence[str]) -> None:
        """By enums: a sort moves their numbers instead of texts, and a Parquet file takes them as its dictionary without
        hashing each row's text."""
        for name in columns:
            # An enum must not be empty, a night may be.
            self.db.execute(f"CREATE TYPE {name}_name AS ENUM (SELECT {name} FROM {table} UNION SELECT '' ORDER BY 1)")
            self.db.execute(f"ALTER TABLE {table} ALTER {name} TYPE {name}_name")

    def _repeated_hashes(self, query: str) -> np.ndarray:
        hashes = self.db.execute(query).fetchnumpy()["h"]
        hashes.sort()
        return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])

    def _put(self, db: duckdb.DuckDBPyConnection, targets: Sequence[Path], times: Sequence[str]) -> list[Written]:
        found = []
        ends = "".join(f", min({name}), max({name})" for name in times)
        for target in targets:
            rows, *known = db.execute(f"SELECT count(*){ends} FROM read_parquet('{_quoted(target)}')").fetchone()  # type: ignore[misc]
            if rows:
                path = target.relative_to(self._local).as_posix()
                self._lake.put_file(path, target)
                pairs = zip(known[::2], known[1::2], strict=True)
                found.append(Written(path, rows, next((pair for pair in pairs if None not in pair), (0, 0))))
        return found


@contextmanager
def open_duckdb(lake: Lake, folder: Path, memory_limit: str, threads: int | None = None) -> Iterator[DuckDBEngine]:
    """A DuckDB engine for one run; `threads` of all cores where it is None."""
    engine = DuckDBEngine(lake, folder, memory_limit, threads)
    try:
        yield engine
    finally:
        engine.db.close()


def connect(memory_limit: str, folder: Path, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that uses at most `memory_limit` (such as 4GiB) and spills to `folder` beyond it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "memory_limit": duckdb_share(memory_limit),
        "temp_directory": str(folder / "spill"),
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


def shares_to_join(rows: Iterable[tuple[int, int]], most: float) -> list[str]:
    """Conditions that at most so many rows fulfil each; `rows` are (partition, how many). Partitions that fit together are
    one share, as Parquet's statistics say where its rows lie; one that is too large is cut by the ids' hashes, for each of
    which it is read again.

    >>> shares_to_join([(0, 3), (1, 2), (2, 6)], 5)  # doctest: +NORMALIZE_WHITESPACE
    ['log_partition BETWEEN 0 AND 1 AND true',
     'log_partition BETWEEN 2 AND 2 AND hash(id) % 2 = 0',
     'log_partition BETWEEN 2 AND 2 AND hash(id) % 2 = 1']
    >>> shares_to_join([(0, 3), (1, 2)], 5)
    ['true']
    """
    groups: list[tuple[int, int, int]] = []
    for partition, n in rows:
        if groups and groups[-1][2] + n <= most:
            first, _, before = groups.pop()
            groups.append((first, partition, before + n))
        else:
            groups.append((partition, partition, n))
    if len(groups) <= 1:
        return _shares_of_ids(ceil(sum(n for *_, n in groups) / most))
    return [
        f"log_partition BETWEEN {first} AND {last} AND {share}"
        for first, last, n in groups
        for share in _shares_of_ids(ceil(n / most))
    ]


def copy(db: duckdb.DuckDBPyConnection, query: str, target: Path, compression: str = "zstd") -> int:
    """Writes a query's rows as one local Parquet file; returns how many."""
    target.parent.mkdir(parents=True, exist_ok=True)
    options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {ROW_GROUP}"
    return db.execute(f"COPY ({query}) TO '{_quoted(target)}' ({options})").fetchone()[0]  # type: ignore[index]


def _shares_of_ids(n: int) -> list[str]:
    return [f"hash(id) % {n} = {i}" for i in range(n)] if n > 1 else ["true"]


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
