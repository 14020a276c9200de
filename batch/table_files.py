"""Table files: the rows of CSV and Parquet, as the JSON events that the stream would have had.

The columns are the events' fields; others are ignored. docs/contracts.md says how a cell is read.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from duckdb.sqltypes import DuckDBPyType
from msgspec import Raw

from runway_streams.errors import ConfigError
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS
from schemas.outcome import Outcome
from schemas.prediction import Prediction

FETCHED = 4_000
"""Rows of Parquet that are in memory at a time."""
REQUIRED = {
    PREDICTIONS: ("prediction_id", "model_id", "timestamp", "prediction"),
    OUTCOMES: ("prediction_id", "actual_outcome", "timestamp"),
}
PARTS = ("label", "score", "value")
"""Fields that make a `prediction` where there is none."""
KNOWN = {
    PREDICTIONS: {*Prediction.__struct_fields__, *PARTS, "log_time"},
    OUTCOMES: {*Outcome.__struct_fields__, "log_time"},
}
_NAMES = {"prediction_id", "model_id", "model_version", "entity_id"}
"""Fields that are strings whatever they look like: version 1.0 is not version 1."""
_WORDS = {"True": True, "TRUE": True, "False": False, "FALSE": False}
"""How Python and spreadsheets write booleans; JSON's own are JSON."""
TOO_LARGE = "1e999"
"""Infinity as a JSON number, which the stream's decoder refuses as not finite."""

_decode_raw = msgspec.json.Decoder(Raw).decode
encode = msgspec.json.Encoder().encode

# RecursionError: nested a thousand levels deep.
NOT_AN_EVENT = (msgspec.DecodeError, OverflowError, RecursionError, ValueError)


def read_csv(path: Path, topic: str) -> Iterator[bytes]:
    """The rows of a CSV file with a header. Raises ConfigError where it is none, or lacks a required column."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=max(",;\t|", key=header.count), strict=True)
            columns = next(rows)
            _check_columns(path, topic, columns)
            names = [name for name in columns if name in KNOWN[topic]]
            places = [columns.index(name) for name in names]
            for cells in _cells(path, rows, places, len(columns)):
                yield _event(names, cells)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8: {error}.") from error
        except csv.Error as error:
            raise ConfigError(f"{path}, line {rows.line_num}, is no CSV: {error}.") from error


def _cells(path: Path, rows: Any, places: Sequence[int], width: int) -> Iterator[list[str | None]]:
    """The cells at some places of each row; an empty one is a missing value."""
    for row in rows:
        if len(row) == width:
            yield [row[place] or None for place in places]
        elif row:
            raise ConfigError(
                f"{path}, line {rows.line_num}, has {len(row)} cells for {width} columns.", "Correct that line."
            )


def read_parquet(path: Path, topic: str) -> Iterator[bytes]:
    """The rows of a Parquet file. Raises ConfigError where it is none, or lacks a required column."""
    source = "FROM read_parquet(?, binary_as_string = true)"
    with duckdb.connect() as db:
        try:
            file = db.sql(source, params=[str(path)])
            every = dict(zip(file.columns, file.types, strict=True))
            _check_columns(path, topic, every)
            kinds = {name: kind for name, kind in every.items() if name in KNOWN[topic]}
            texts = [name for name, kind in kinds.items() if name not in _NAMES and str(kind) in ("VARCHAR", "JSON")]
            typed = _object({name: _column(name, kind) for name, kind in kinds.items() if name not in texts})
            rows = db.execute(f"SELECT {', '.join([typed, *map(_quoted, texts)])} {source}", [str(path)])
            while batch := rows.fetchmany(FETCHED):
                for said, *cells in batch:
                    yield _event(texts, cells, said or "{}") if cells else said.encode()
        except duckdb.Error as error:
            raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error


# -- rows of a table --------------------------------------------------------------------------------------------------


def _check_columns(path: Path, topic: str, columns: Iterable[str]) -> None:
    columns = list(columns)
    missing = [name for name in REQUIRED[topic] if name not in columns]
    if "prediction" in missing and not missing[1:]:
        if not any(name in columns for name in PARTS):
            raise ConfigError(f"{path} has no column prediction.", f"Give it, or one of {', '.join(PARTS)}.")
        return
    missing = [name for name in missing if name != "prediction"]
    if missing:
        raise ConfigError(f"{path} has no column {', '.join(missing)}.", f"It has {', '.join(columns)}.")


def _event(names: Sequence[str], texts: Sequence[str | None], typed: str = "{}") -> bytes:
    """A row as a JSON object: what is typed is one already. A missing value is a missing field."""
    fields = {name: _READ.get(name, _text)(text) for name, text in zip(names, texts, strict=True) if text is not None}
    if not fields:
        return typed.encode()
    return encode(fields) if typed == "{}" else typed[:-1].encode() + b"," + encode(fields)[1:]


def _text(text: str) -> Any:
    """What a text says: a JSON number, boolean, object or string in quotes, or else itself.

    >>> _text("late"), _text("1 apple"), _text("True"), bytes(_text("0.70")), bytes(_text('"0.70"'))
    ('late', '1 apple', True, b'0.70', b'"0.70"')
    """
    if text[:1] not in '-0123456789{"tf':
        return _WORDS.get(text, text)
    try:
        return _decode_raw(text)
    except NOT_AN_EVENT:
        return text


def _time(text: str) -> Any:
    """A number, or a time; one without an offset is UTC, as a TIMESTAMP is."""
    found = _text(text)
    try:
        moment = datetime.fromisoformat(found)
    except (TypeError, ValueError):
        return found
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_READ = dict.fromkeys(_NAMES, str) | {"timestamp": _time}
"""How a text of a field is read that is not free to be anything."""


# -- columns of Parquet, as SQL: Python would take ten times as long for structs ----------------------------------------


def _column(name: str, kind: DuckDBPyType) -> str:
    if name in _NAMES:
        return f"to_json({_quoted(name)}::VARCHAR)::VARCHAR"
    if name == "log_time" and str(kind).startswith("TIMESTAMP"):
        return f"epoch_ms({_quoted(name)})::VARCHAR"
    return _json(_quoted(name), kind)


def _json(cell: str, kind: Any) -> str:
    """SQL of a cell as JSON text. What is missing is NULL."""
    if kind.id == "struct":
        return _object({name: _json(f"{cell}.{_quoted(name)}", member) for name, member in kind.children})
    if kind.id == "map":
        return f"json_merge_patch('{{}}', to_json({cell}))::VARCHAR"  # merging takes out null members
    if kind.id in ("double", "float"):
        return f"CASE WHEN isinf({cell}) THEN '{TOO_LARGE}' WHEN isfinite({cell}) THEN to_json({cell})::VARCHAR END"
    if str(kind).startswith(("TIMESTAMP", "DATE")) and kind.id != "list":
        # By way of epoch_us, for a cast to TIMESTAMP would use this machine's time zone; the stream's decoder rounds to ms.
        return f"strftime(make_timestamp(epoch_us({cell})), '\"%Y-%m-%dT%H:%M:%S.%fZ\"')"
    return f"to_json({cell})::VARCHAR"


def _object(members: dict[str, str]) -> str:
    """SQL of an object without the members that are NULL, NULL itself where all are: `||` with NULL is NULL, and
    concat_ws leaves that out."""
    named = ", ".join(f"{_literal(encode(name).decode() + ':')} || {json}" for name, json in members.items())
    return f"nullif('{{' || concat_ws(',', {named or 'NULL'}) || '}}', '{{}}')"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
