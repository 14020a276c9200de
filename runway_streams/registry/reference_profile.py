"""Reference profile: the distributions of a Parquet file's columns, in the bins that the stream counts in.

Columns are read one after the other in batches of rows, so that a file larger than memory works.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasketches
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from runway_streams.errors import ConfigError
from schemas.model_settings import BinProfile, ReferenceProfile

MAX_BINS = 64
"""Bins of a variable: 63 edges are taken by the stream."""
MAX_CATEGORIES = 50
"""Categories of a variable, the most frequent ones; the stream counts the others as OTHER."""
MAX_DISTINCT = 100_000
"""Different strings of a column: one with more is an identifier or free text, not a category."""
MAX_LABELS = 20
"""Different whole numbers of an outcome that is read as labels; one with more is a number."""
MAX_FEATURES = 2_000
"""Features of a version."""
EXACT_VALUES = 5_000_000
"""Values of a column up to which edges are exact (40 MB); beyond, a KLL sketch finds them."""
KLL_K = 4_096
"""An edge is the quantile of a rank at most 0.1 % off, with 99 % confidence; counts are exact in any case."""
BATCH_ROWS = 65_536
"""Rows in memory at a time."""
BUFFER_BYTES = 1 << 20
"""Bytes of a column read at a time."""

Numbers = NDArray[np.float64]
LabelOf = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are what; without `features`, all that are nothing else and not excluded."""

    features: tuple[str, ...] | None = None
    score: str | None = None
    outcome: str | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeProfile:
    """A profile, the rows that it is of, and in sentences what is not in it."""

    profile: ReferenceProfile
    rows: int
    notes: tuple[str, ...]


class _Unbinnable(Exception):
    """A column that no bins can be made of; says why."""


def profile_file(
    path: Path, columns: Columns, label_of: LabelOf, bins: int = 10, exact_values: int = EXACT_VALUES
) -> MadeProfile:
    """Makes the profile of a Parquet file; `label_of` gives the stream's text of an outcome's label.

    Numbers get edges at their quantiles, or between all values where there are at most `bins` different ones; booleans
    and strings get categories. Raises ConfigError where the file or a column that was named cannot be used.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not there, or is no file.", "Give the path of a Parquet file.")
    if not 2 <= bins <= MAX_BINS:
        raise ConfigError(f"{bins} bins cannot be made.", f"Choose 2 to {MAX_BINS}.")
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            return _Maker(file, str(path), label_of, bins, exact_values).make(columns)
    except (pa.ArrowException, OSError) as error:
        why = str(error).partition("\n")[0].rstrip(".")[:200]
        raise ConfigError(f"{path} cannot be read as Parquet: {why}.", "Give the path of a Parquet file.") from error


class _Maker:
    """Makes one profile and collects the notes on the way."""

    def __init__(self, file: pq.ParquetFile, path: str, label_of: LabelOf, bins: int, exact_values: int):
        self._file, self._path, self._label_of, self._bins = file, path, label_of, bins
        self._exact_values = exact_values
        self._rows = file.metadata.num_rows
        self._notes: list[str] = []

    def make(self, columns: Columns) -> MadeProfile:
        names = self._file.schema_arrow.names
        features = self._features(columns, names)
        if not self._rows:
            raise ConfigError(f"{self._path} has no rows.", "Give the rows that the version was trained on.")
        made = {name: self._feature(name, named=columns.features is not None) for name in features}
        profile = ReferenceProfile(
            {name: variable for name, variable in made.items() if variable is not None},
            score=None if columns.score is None else self._named(columns.score, self._score),
            outcome=None if columns.outcome is None else self._named(columns.outcome, self._outcome),
        )
        if not profile.features and not profile.score and not profile.outcome:
            raise ConfigError(f"{self._path} has no column that bins can be made of. {' '.join(self._notes)}".strip())
        return MadeProfile(profile, self._rows, tuple(self._notes))

    def _features(self, columns: Columns, names: list[str]) -> list[str]:
        others = [name for name in (columns.score, columns.outcome) if name is not None]
        given = [*(columns.features or ()), *others, *columns.exclude]
        for name in given:
            if name not in names:
                some = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
                raise ConfigError(f"{self._path} has no column {name!r}.", f"It has {some}.")
            if given.count(name) > 1 or names.count(name) > 1:
                raise ConfigError(f"The column {name!r} is there twice.", "Name each column once, for one purpose.")
        features = list(names if columns.features is None else columns.features)
        features = [name for name in features if name not in (*others, *columns.exclude)]
        if len(features) > MAX_FEATURES:
            raise ConfigError(
                f"{self._path} has {len(features)} features.", f"Choose at most {MAX_FEATURES} with --feature."
            )
        return features

    def _feature(self, name: str, named: bool) -> BinProfile | None:
        if named:
            return self._named(name, self._variable)
        try:
            return self._variable(name)
        except _Unbinnable as error:
            self._notes.append(f"Column {name} is left out: it {error}.")
            return None

    def _named(self, name: str, make: Callable[[str], BinProfile]) -> BinProfile:
        try:
            return make(name)
        except _Unbinnable as error:
            raise ConfigError(f"No bins can be made of column {name}: it {error}.", "Choose another column.") from None

    def _variable(self, name: str) -> BinProfile:
        if _is_number(self._type(name)):
            return self._numbers_profile(name)
        return self._categories(name, self._counted(name, str))

    def _score(self, name: str) -> BinProfile:
        if not _is_number(self._type(name)):
            raise _Unbinnable(f"is of type {self._type(name)}, and scores are numbers")
        return self._numbers_profile(name)

    def _outcome(self, name: str) -> BinProfile:
        if not _is_number(self._type(name)):
            return self._categories(name, self._counted(name, self._label_of))
        few = self._few(name, MAX_LABELS)
        if few is None or not all(value.is_integer() for value in few):
            return self._numbers_profile(name)
        labels: Counter[str] = Counter()
        for value, count in few.items():
            labels[self._label_of(value)] += count
        return self._categories(name, labels)

    def _numbers_profile(self, name: str) -> BinProfile:
        few = self._few(name, self._bins)
        if few is not None:
            if not few:
                raise _Unbinnable("has no values")
            values = sorted(few)
            return self._with_note(name, BinProfile([float(few[value]) for value in values], edges=values[:-1]))
        edges = self._exact_edges(name) if self._rows <= self._exact_values else self._sketched_edges(name)
        counts = np.zeros(len(edges) + 1, np.int64)
        for values_ in self._numbers(name):
            counts += np.bincount(np.searchsorted(edges, values_), minlength=len(counts))
        return self._with_note(name, BinProfile(counts.astype(float).tolist(), edges=edges.tolist()))

    def _exact_edges(self, name: str) -> Numbers:
        values = np.concatenate(list(self._numbers(name)))
        return _below(np.quantile(values, self._ranks(), method="lower"), values.max())

    def _sketched_edges(self, name: str) -> Numbers:
        sketch = datasketches.kll_doubles_sketch(KLL_K)
        for values in self._numbers(name):
            sketch.update(values)
        return _below(np.array(sketch.get_quantiles(self._ranks())), sketch.get_max_value())

    def _ranks(self) -> Numbers:
        return np.arange(1, self._bins) / self._bins

    def _few(self, name: str, limit: int) -> dict[float, int] | None:
        """Counts by value, or None where there are more than `limit` different ones."""
        found: Counter[float] = Counter()
        for values in self._numbers(name):
            distinct, counts = np.unique(values, return_counts=True)
            if len(distinct) > limit:
                return None
            found.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
            if len(found) > limit:
                return None
        return found

    def _counted(self, name: str, text_of: Callable[[Any], str]) -> Counter[str]:
        """Counts by text. A feature's text is `str` of its JSON value, as the stream has it: a boolean is `True`."""
        column = self._type(name)
        if not (_is_text(column) or pa.types.is_boolean(column)):
            raise _Unbinnable(f"is of type {column}, which is neither number, boolean nor string")
        found: Counter[str] = Counter()
        for array in self._arrays(name):
            counted = pc.value_counts(array)
            try:
                values = counted.field("values").to_pylist()
            except UnicodeDecodeError:
                raise _Unbinnable("has strings that are not UTF-8") from None
            for value, count in zip(values, counted.field("counts").to_pylist(), strict=True):
                found[text_of(value)] += count
            if len(found) > MAX_DISTINCT:
                raise _Unbinnable(f"has more than {MAX_DISTINCT:,} different values: it looks like an identifier")
        return found

    def _categories(self, name: str, found: Counter[str]) -> BinProfile:
        if not found:
            raise _Unbinnable("has no values")
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        rare = ordered[MAX_CATEGORIES:]
        if rare:
            count = sum(count for _, count in rare)
            self._notes.append(f"Column {name}: {count:,} values in {len(rare):,} rarer categories are not counted.")
        kept = ordered[:MAX_CATEGORIES]
        profile = BinProfile([float(count) for _, count in kept], categories=[category for category, _ in kept])
        return self._with_note(name, profile, found.total())

    def _with_note(self, name: str, profile: BinProfile, present: float | None = None) -> BinProfile:
        missing = self._rows - int(sum(profile.counts) if present is None else present)
        if missing:
            self._notes.append(
                f"Column {name}: {missing:,} of {self._rows:,} values are null or not finite and not counted."
            )
        return profile

    def _type(self, name: str) -> pa.DataType:
        column = self._file.schema_arrow.field(name).type
        return column.value_type if pa.types.is_dictionary(column) else column

    def _arrays(self, name: str) -> Iterator[pa.Array]:
        """The values that are not null, batch by batch."""
        for batch in self._file.iter_batches(BATCH_ROWS, columns=[name]):
            array = batch.column(0).drop_null()
            yield array.dictionary_decode() if pa.types.is_dictionary(array.type) else array

    def _numbers(self, name: str) -> Iterator[Numbers]:
        for array in self._arrays(name):
            values = array.cast(pa.float64(), safe=False).to_numpy()
            yield values[np.isfinite(values)]


def _below(edges: Numbers, greatest: float) -> Numbers:
    """Each edge once, and none above which no bin would have a reference."""
    distinct = np.unique(edges)
    return distinct[distinct < greatest]


def _is_number(column: pa.DataType) -> bool:
    return pa.types.is_integer(column) or pa.types.is_floating(column) or pa.types.is_decimal(column)


def _is_text(column: pa.DataType) -> bool:
    return pa.types.is_string(column) or pa.types.is_large_string(column) or pa.types.is_string_view(column)
