"""Spark as the batch's engine: the same job where a night outgrows one machine.

Executors read and write the lake's files by themselves; the driver sees counts, names and the few ids with several heads.
"""
# ruff: noqa: S608 - statements are made of our own names and numbers.

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch.engine import Engine, Written
from batch.lake import FETCHES, Lake
from batch.spark_session import spark_session, spark_url
from batch.statements import Dialect, kind_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

WRITERS = 2
"""Queries that are written at the same time: a small one leaves most of Spark idle."""

_DIALECT = {
    "EXCLUDE": "EXCEPT",
    "DIV": "div",
    "UNNEST": "explode",
    "TEXTS": "'ARRAY<STRING>'",
    "SEGMENTS": "'ARRAY<STRUCT<key: STRING, value: STRING, declared: BOOLEAN>>'",
    "SUM_OF_SQUARES": "aggregate(map_values(scores), 0D, (sum, s) -> sum + s * s)",
    "STATUS": "",
    "IS_REPEATED": "id IN (SELECT id FROM repeated_id)",
}


class SparkEngine(Engine):
    """Temporary views of a session. `url` is the lake's address as Spark knows it."""

    dialect: Dialect = _DIALECT

    def __init__(self, spark: "SparkSession", lake: Lake, url: str) -> None:
        self._spark, self._lake, self._url = spark, lake, url
        self._views: set[str] = set()

    def files(self, view: str, paths: Sequence[str], schema: pa.Schema) -> None:
        columns = ", ".join(f"{field.name} {kind_of(field.type)}" for field in schema)
        if paths:
            self._name(view, self._spark.read.schema(columns).parquet(*map(self._address, paths)))
        else:
            self._name(view, self._spark.createDataFrame([], columns))

    def view(self, name: str, query: str) -> None:
        self._name(name, self._spark.sql(query))

    def table(self, name: str, query: str) -> None:
        self._keep(name, self._spark.sql(query))

    def add(self, table: str, query: str) -> None:
        self._keep(table, self._spark.table(table).union(self._spark.sql(query)))

    def count(self, table: str) -> int:
        return self._spark.table(table).count()

    def load(self, name: str, table: pa.Table) -> None:
        self._name(name, self._spark.createDataFrame(table))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._spark.sql(query).collect()]

    def write(self, queries: Mapping[str, str], times: Sequence[str] = ()) -> dict[str, list[Written]]:
        with ThreadPoolExecutor(WRITERS) as pool:
            found = pool.map(lambda stem: self.scatter(queries[stem], stem, times), queries)
            return dict(zip(queries, found, strict=True))

    def scatter(self, query: str, stem: str, times: Sequence[str]) -> list[Written]:
        # A folder of this run's own: an earlier one may have been killed while it wrote, or be the current snapshot.
        folder = f"{stem}-{uuid.uuid4().hex[:8]}"
        frame = self._spark.sql(query)
        frame.write.option("compression", "snappy").parquet(f"{self._url}/{folder}")
        paths = self._lake.paths(folder)
        with ThreadPoolExecutor(FETCHES) as pool:
            told = dict(zip(paths, pool.map(lambda path: self._measure(path, times), paths), strict=True))
        for path in paths:
            if told[path] is None:
                self._lake.delete(path)
        found = [one for one in told.values() if one is not None]
        self._lake.settle(one.path for one in found)
        return found

    def find_repeated_ids(self, topic: str) -> bool:
        ids = f"SELECT id FROM new_{topic} UNION ALL SELECT id FROM earlier_{topic}"
        self.table("repeated_id", f"SELECT id FROM ({ids}) GROUP BY id HAVING count(*) > 1")
        return self.count("repeated_id") > 0

    def shares_to_join(self, *views: str) -> Sequence[str]:
        """All rows at once: Spark shares them out by itself."""
        return ("true",)

    def enumerate_names(self, table: str, columns: Sequence[str]) -> None:
        """Nothing: Spark keeps texts as texts."""

    def close(self) -> None:
        """Forgets the run's views, in a session that others use too."""
        for name in self._views:
            self._spark.catalog.dropTempView(name)

    def _name(self, name: str, frame: "DataFrame") -> None:
        frame.createOrReplaceTempView(name)
        self._views.add(name)

    def _keep(self, name: str, frame: "DataFrame") -> None:
        # Not persist(): what is built on it would be planned with all that it was built of, again and again, and planning
        # took most of a night. The price: with an executor that is lost the run ends, and is to be run again.
        self._name(name, frame.localCheckpoint())

    def _measure(self, path: str, times: Sequence[str]) -> Written | None:
        """What a file's footer says of it; None of one without rows."""
        with self._lake.open(path) as file:
            metadata = pq.read_metadata(file)
        if not metadata.num_rows:
            return None
        ends = (_ends(metadata, name) for name in times)
        return Written(path, metadata.num_rows, next((found for found in ends if found), (0, 0)))

    def _address(self, path: str) -> str:
        """A file's address; Spark would read some letters as patterns."""
        return re.sub(r"([\\*?\[\]{}])", r"\\\1", f"{self._url}/{path}")


def _ends(metadata: pq.FileMetaData, column: str) -> tuple[int, int] | None:
    """The least and the largest of a column, None where it is null throughout."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    place = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == column)
    known = [told for group in groups if (told := group.column(place).statistics) and told.has_min_max]
    return (min(one.min for one in known), max(one.max for one in known)) if known else None


@contextmanager
def open_spark(lake: Lake, folder: Path, memory_limit: str, *, master: str, archive_url: str) -> Iterator[SparkEngine]:
    """A Spark engine for one run, in a session of its own at a master such as local[2], spark://HOST:7077 or
    k8s://HOST:443."""
    url = spark_url(archive_url)
    with spark_session(master, memory_limit, folder / "spark", archive_url) as session:
        yield SparkEngine(session, lake, url)
