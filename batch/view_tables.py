"""View tables: a table of the batch view as its readers hold it, memory-mapped columns and an index by model and segment.

A Parquet file is turned once into an uncompressed Arrow file in the reader's cache folder, whose numeric columns numpy reads
in place: the memory that answers take is the page cache's, and a restart finds the files again.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch.lake import Lake
from batch.manifest import ViewFile
from runway_streams.ground_truth import slim

Owner = tuple[str, str, str]
"""(model, segment key, segment value): the rows of one lie together in every file."""
KEY = ("model", "segment_key", "segment_value", "version", "bin", "log_hour")
LATE = tuple(f"late_{name}" for name in slim.QUALITY)
PARTIAL = ".partial"


class Stretch(NamedTuple):
    """One owner's rows of one file: numeric columns by name; `texts` are (names, codes) by column."""

    columns: dict[str, NDArray]
    texts: dict[str, tuple[list[str], NDArray[np.int32]]]


class ViewPart:
    """One file of a table, open."""

    def __init__(self, path: Path, texts: tuple[str, ...]):
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._columns = {name: _numpy(table[name].chunk(0)) for name in table.column_names if name not in (*KEY[:4], *texts)}
        self._texts = {name: _texts(table[name].chunk(0)) for name in ("version", *texts)}
        self.index = _index([_texts(table[name].chunk(0)) for name in KEY[:3]])

    def stretch(self, owner: Owner) -> Stretch | None:
        """The rows of an owner, without copying; None where there are none."""
        place = self.index.get(owner)
        if place is None:
            return None
        start, end = place
        columns = {name: values[start:end] for name, values in self._columns.items()}
        return Stretch(columns, {name: (names, codes[start:end]) for name, (names, codes) in self._texts.items()})


class ViewTable:
    """One table: its files, opened when they are first asked for."""

    def __init__(self, name: str, files: Iterable[ViewFile], lake: Lake, cache: Path, previous: "ViewTable | None" = None):
        self.name = name
        self._files = list(files)
        self._lake, self._cache = lake, cache / name
        self._texts = _TEXTS.get(name, ())
        self._parts: dict[str, ViewPart] = {
            file.path: previous._parts[file.path] for file in self._files if previous and file.path in previous._parts
        }

    def stretches(self, owner: Owner, start: int, end: int) -> Iterator[Stretch]:
        """The owner's rows in every file that has times of [start, end)."""
        for file in self._files:
            if file.times[1] >= start and file.times[0] < end:
                found = self._part(file).stretch(owner)
                if found is not None:
                    yield found

    def owners(self) -> Iterator[Owner]:
        """Whose rows there are; an owner may come more than once."""
        for file in self._files:
            yield from self._part(file).index

    def open_all(self) -> None:
        """Opens every file, so that no answer waits for it."""
        for file in self._files:
            self._part(file)

    def forget(self) -> None:
        """Deletes cached files that the table no longer has."""
        wanted = {Path(file.path).with_suffix(".arrow").name for file in self._files}
        for path in self._cache.glob("*.arrow"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _part(self, file: ViewFile) -> ViewPart:
        found = self._parts.get(file.path)
        if found is None:
            target = self._cache / Path(file.path).with_suffix(".arrow").name
            if not target.exists():
                (source,) = self._lake.fetch([file.path], self._cache / "lake")
                _convert(source, target, self._texts)
                if source.is_relative_to(self._cache):
                    source.unlink()
            found = self._parts[file.path] = ViewPart(target, self._texts)
        return found


_TEXTS = {
    "five_minute_confusion": ("predicted", "actual"),
    "hourly_confusion": ("predicted", "actual"),
    "hourly_histograms": ("family",),
}


def _convert(source: Path, target: Path, texts: tuple[str, ...]) -> None:
    """Writes a Parquet file as one uncompressed Arrow batch: texts as dictionaries, slim columns as two matrices."""
    table = pq.read_table(source)
    columns: dict[str, pa.Array] = {}
    for name in (*KEY[:4], *texts):
        columns[name] = (
            pa.array(table[name].combine_chunks()).dictionary_encode().cast(pa.dictionary(pa.int32(), pa.string()))
        )
    columns["bin"] = table["bin"].cast(pa.int64()).combine_chunks()
    columns["log_hour"] = table["log_hour"].cast(pa.int64()).combine_chunks()
    if slim.FIELDS[0] in table.column_names:
        columns["joined"] = _matrix(table, slim.FIELDS)
        columns["late"] = _matrix(table, LATE)
        columns["partial"] = table["partial"].cast(pa.int8()).combine_chunks()
    else:
        columns |= {name: table[name].cast(pa.float64()).combine_chunks() for name in ("joined", "late")}
        if "cell" in table.column_names:
            columns["cell"] = table["cell"].cast(pa.int32()).combine_chunks()
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
    with pa.ipc.new_file(str(aside), batch.schema) as writer:
        writer.write_batch(batch)
    aside.rename(target)


def _matrix(table: pa.Table, names: Iterable[str]) -> pa.Array:
    columns = [table[name].cast(pa.float64()).to_numpy() for name in names]
    return pa.FixedSizeListArray.from_arrays(pa.array(np.stack(columns, axis=1).reshape(-1)), len(columns))


def _numpy(column: pa.Array) -> NDArray:
    if isinstance(column, pa.FixedSizeListArray):
        width = column.type.list_size
        return column.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    return column.to_numpy(zero_copy_only=True)


def _texts(column: pa.DictionaryArray) -> tuple[list[str], NDArray[np.int32]]:
    return column.dictionary.to_pylist(), column.indices.to_numpy(zero_copy_only=True)


def _index(keys: list[tuple[list[str], NDArray[np.int32]]]) -> dict[Owner, tuple[int, int]]:
    """Owner -> (first row, row after the last): the file is sorted by the keys."""
    rows = len(keys[0][1])
    changes = np.zeros(max(0, rows - 1), dtype=bool)
    for _, codes in keys:
        changes |= codes[1:] != codes[:-1]
    starts = [0, *(np.flatnonzero(changes) + 1).tolist()]
    ends = [*starts[1:], rows]
    owners = zip(*([names[code] for code in codes[starts]] for names, codes in keys), strict=True)
    return dict(zip(owners, zip(starts, ends, strict=True), strict=True)) if rows else {}
