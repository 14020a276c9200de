"""The statements of `sql/`, and how they are put into the words of an engine.

Both engines read the same files. What differs between their dialects are the few `$words` of a `Dialect`; what is the same
for both, bounds and lists of columns, are constants with one source, the Python of both layers.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from string import Template

import pyarrow as pa

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import CALIBRATION_BINS, CLASS_BINS, SCORE_BINS
from runway_streams.ground_truth.slim_table import MAX_PAIRS, OTHER
from runway_streams.times import BIN, BINS_PER_HOUR, DAY, HOUR, LIFE

CARRY = 7 * DAY
"""How far apart, in log time, a prediction and an outcome may lie for the batch to count it as late."""
MAX_SEGMENT_VALUES = 64
"""Undeclared segment values that a model keeps in a log hour, most frequent first."""

Dialect = Mapping[str, str]
"""What an engine says instead of a `$word`:

- `EXCLUDE`: leaves columns out of `*`; `DIV`: divides integers
- `UNNEST`: makes rows of a list; `TEXTS`, `SEGMENTS`: what `from_json` reads, a list of texts and one of segments
- `SUM_OF_SQUARES`: of the values of the map `scores`
- `STATUS`: stands behind a text that is a pair's status
- `IS_REPEATED`: whether an `id` came more than once on its topic, once `Engine.find_repeated_ids` has been asked
"""

_LATE_COUNTS = ("scored", "errors", "ape_n", "intervals", "covered")
COUNTED = (*slim.COUNTS, *_LATE_COUNTS)
"""Columns of slim rows that are whole numbers."""
_SUMS = ("log_loss", "brier", "abs_error", "ape", "width")
_ERRORS = slim.QUALITY[slim.QUALITY.index("errors") :]
_UP_TO = tuple(f"up_to_{i}" for i in range(len(slim.DELAY_EDGES)))


def _summed(counts: Iterable[str], sums: Iterable[str], prefix: str) -> str:
    kinds = {**dict.fromkeys(counts, "::BIGINT"), **dict.fromkeys(sums, "")}
    return ",\n    ".join(f"sum({prefix}{name}){kind} AS {prefix}{name}" for name, kind in kinds.items())


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
    "merged": _summed(COUNTED, _SUMS, ""),
    "merged_late": _summed(_LATE_COUNTS, _SUMS, "late_"),
    "error_columns": ", ".join(f"coalesce(joined_errors.{name}, 0) AS {name}" for name in _ERRORS),
    "late_error_columns": ", ".join(f"coalesce(late_errors.{name}, 0) AS late_{name}" for name in _ERRORS),
}  # fmt: skip
"""What `$NAME` stands for in the statements of either engine."""
_KINDS = {pa.string(): "STRING", pa.int64(): "BIGINT", pa.int32(): "INT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN",
          pa.map_(pa.string(), pa.float64()): "MAP<STRING, DOUBLE>"}  # fmt: skip


@cache
def statement(name: str) -> Template:
    """The text of `sql/NAME.sql`."""
    return Template(files("batch").joinpath("sql", f"{name}.sql").read_text())


def text(name: str, dialect: Dialect, **values: object) -> str:
    """`sql/NAME.sql` with its `$NAMES` filled in. Fragments may hold names of their own, hence the second round."""
    known = {**_CONSTANTS, **dialect}
    once = statement(name).safe_substitute(known, **values)
    return Template(once).substitute(known, **values)


def floor(column: str, width: int) -> str:
    """SQL of the start of the bin that a time lies in; SQL's own division rounds towards zero, and times before 1970
    are negative.

    >>> floor("time", 10)
    '(time - ((time % 10) + 10) % 10)'
    """
    return f"({column} - (({column} % {width}) + {width}) % {width})"


def kind_of(type: pa.DataType) -> str:
    """A type of Arrow as both engines' SQL names it.

    >>> kind_of(pa.int64())
    'BIGINT'
    """
    return _KINDS[type]
