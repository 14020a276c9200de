"""Event files: predictions and outcomes in Parquet, CSV or NDJSON, as the JSON events that the stream would have had.

A line of NDJSON is such an event. A row of a table becomes one: its columns are the event's fields. All are put in the
order of their log time in a temporary file, so that memory does not grow with the events' size.
"""

import csv
import mmap
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated, Any

import duckdb
import msgspec
import numpy as np
from duckdb.sqltypes import DuckDBPyType
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from runway_streams.errors import ConfigError
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, RawBatch
from runway_streams.ground_truth.times import YEAR_ONE, event_time
from schemas.outcome import Outcome
from schemas.prediction import Prediction, Timestamp

BATCH = 4_000
LAST = 253_402_214_400_000
"""9999-12-31, the latest log time: days and their ends are still dates. An event later than that is ahead of the log."""

_REQUIRED = {
    PREDICTIONS: ("prediction_id", "model_id", "timestamp", "prediction"),
    OUTCOMES: ("prediction_id", "actual_outcome", "timestamp"),
}
_PARTS = ("label", "score", "value")
"""Fields that make a `prediction` where there is none."""
_KNOWN = {
    PREDICTIONS: {*Prediction.__struct_fields__, *_PARTS, "log_time"},
    OUTCOMES: {*Outcome.__struct_fields__, "log_time"},
}
_NAMES = {"prediction_id", "model_id", "model_version", "entity_id"}
"""Fields that are strings whatever they look like: version 1.0 is not version 1."""
_WORDS = {"True": True, "TRUE": True, "False": False, "FALSE": False}
"""How Python and spreadsheets write booleans; JSON's own are JSON."""
TOO_LARGE = "1e999"
"""Infinity as a JSON number, which the stream's decoder refuses as not finite."""


class _Peek(Struct):
    """What has to be known of an event to place it; the stream's decoder reads the rest."""

    timestamp: Timestamp
    log_time: Annotated[float, Meta(ge=0, le=LAST)] | None = None
    prediction: Raw | UnsetType = UNSET


_peek = msgspec.json.Decoder(_Peek).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_raw = msgspec.json.Decoder(Raw).decode
_encode = msgspec.json.Encoder().encode

# RecursionError: nested a thousand levels deep.
_NOT_AN_EVENT = (msgspec.DecodeError, OverflowError, RecursionError, ValueError)


def read_events(path: Path, topic: str) -> Iterator[RawBatch]:
    """The events of a file in the order of their log time, those of one time in the file's, as batches of 4,000.

    Raises ConfigError where the file cannot be read or a required column is missing.
    """
    with TemporaryFile() as spool:
        times, ends = array("q"), array("q", [0])
        try:
            for time, event in _events(path, topic):
                spool.write(event)
                times.append(time)
                ends.append(ends[-1] + len(event))
            spool.flush()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read and sorted: {error}.") from error
        if times:
            yield from _in_order(spool, np.array(times), list(pairwise(ends)))


def _in_order(spool: IO[bytes], times: np.ndarray, spans: Sequence[tuple[int, int]]) -> Iterator[RawBatch]:
    order = np.argsort(times, kind="stable").tolist()
    with mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ) as events:
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH]
            values = [events[start:end] for start, end in map(spans.__getitem__, part)]
            yield RawBatch(values, range(first, first + len(part)), times[part].tolist(), first + len(part))


def _events(path: Path, topic: str) -> Iterator[tuple[int, bytes]]:
    """Each event with its log time. What is no event keeps its place, and becomes a dead letter as in the stream."""
    time, number = 0, 0
    missing = set(_REQUIRED[topic])
    for number, line in enumerate(_lines(path, topic), 1):
        if missing:
            missing -= _names(line)
        try:
            head = _peek(line)
        except _NOT_AN_EVENT as error:
            if "$.log_time" in str(error):
                raise ConfigError(
                    f"{path}, event {number}: log_time is no number of milliseconds since 1970.",
                    "Correct it or leave it out.",
                ) from error
            yield time, line
            continue
        in_parts = topic == PREDICTIONS and head.prediction is UNSET
        time = event_time(head.timestamp) if head.log_time is None else int(head.log_time)
        if not YEAR_ONE <= time <= LAST:
            time = YEAR_ONE if time < YEAR_ONE else LAST
        yield time, _as_sent(line, in_parts) if in_parts or head.log_time is not None else line
    if number and missing:
        raise ConfigError(f"No event in {path} has {', '.join(sorted(missing))}.", "Is it the right file?")


def _names(line: bytes) -> set[str]:
    try:
        names = set(_decode_fields(line))
    except _NOT_AN_EVENT:
        return set()
    return names | {"prediction"} if names.intersection(_PARTS) else names


def _as_sent(line: bytes, in_parts: bool) -> bytes:
    """The event as its producer would have sent it: without its log time, its prediction in one."""
    fields: dict[str, Any] = _decode_fields(line)
    fields.pop("log_time", None)
    if in_parts:
        parts = {name: fields.pop(name) for name in _PARTS if name in fields}
        if given := {name: part for name, part in parts.items() if bytes(part) != b"null"}:
            fields["prediction"] = given
    return _encode(fields)


# -- kinds of files ---------------------------------------------------------------------------------------------------


def _lines(path: Path, topic: str) -> Iterator[bytes]:
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ConfigError(f"{path} is of no kind that can be read.", f"Give one of {', '.join(_READERS)}.")
    if not path.is_file():
        raise ConfigError(f"{path} {'is not a file' if path.exists() else 'does not exist'}.", "Give the path of a file.")
    if not path.stat().st_size:
        raise ConfigError(f"{path} is empty.", "Give a file with events.")
    return read(path, topic)


def _read_lines(path: Path, topic: str) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from filter(None, map(bytes.strip, file))


def _read_json(path: Path, topic: str) -> Iterator[bytes]:
    """An array of events, or lines."""
    with path.open("rb") as file:
        is_array = file.read(1024).lstrip().startswith(b"[")
    if not is_array:
        return _read_lines(path, topic)
    try:
        return map(bytes, _decode_array(path.read_bytes()))
    except _NOT_AN_EVENT as error:
        raise ConfigError(f"{path} is no array of events: {error}.") from error


def _read_csv(path: Path, topic: str) -> Iterator[bytes]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=max(",;\t|", key=header.count), strict=True)
            columns = next(rows)
            _check_columns(path, topic, columns)
            names = [name for name in columns if name in _KNOWN[topic]]
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


def _read_parquet(path: Path, topic: str) -> Iterator[bytes]:
    source = "FROM read_parquet(?, binary_as_string = true)"
    with duckdb.connect() as db:
        try:
            file = db.sql(source, params=[str(path)])
            every = dict(zip(file.columns, file.types, strict=True))
            _check_columns(path, topic, every)
            kinds = {name: kind for name, kind in every.items() if name in _KNOWN[topic]}
            texts = [name for name, kind in kinds.items() if name not in _NAMES and str(kind) in ("VARCHAR", "JSON")]
            typed = _object({name: _column(name, kind) for name, kind in kinds.items() if name not in texts})
            rows = db.execute(f"SELECT {', '.join([typed, *map(_quoted, texts)])} {source}", [str(path)])
            while batch := rows.fetchmany(BATCH):
                for said, *cells in batch:
                    yield _event(texts, cells, said or "{}") if cells else said.encode()
        except duckdb.Error as error:
            raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error


_READERS: dict[str, Callable[[Path, str], Iterator[bytes]]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".ndjson": _read_lines,
    ".jsonl": _read_lines,
    ".json": _read_json,
}


# -- rows of a table --------------------------------------------------------------------------------------------------


def _check_columns(path: Path, topic: str, columns: Iterable[str]) -> None:
    columns = list(columns)
    missing = [name for name in _REQUIRED[topic] if name not in columns]
    if "prediction" in missing and not missing[1:]:
        if not any(name in columns for name in _PARTS):
            raise ConfigError(f"{path} has no column prediction.", f"Give it, or one of {', '.join(_PARTS)}.")
        return
    missing = [name for name in missing if name != "prediction"]
    if missing:
        raise ConfigError(f"{path} has no column {', '.join(missing)}.", f"It has {', '.join(columns)}.")


def _event(names: Sequence[str], texts: Sequence[str | None], typed: str = "{}") -> bytes:
    """A row as a JSON object: what is typed is one already. A missing value is a missing field."""
    fields = {name: _READ.get(name, _text)(text) for name, text in zip(names, texts, strict=True) if text is not None}
    if not fields:
        return typed.encode()
    return _encode(fields) if typed == "{}" else typed[:-1].encode() + b"," + _encode(fields)[1:]


def _text(text: str) -> Any:
    """What a text says: a JSON number, boolean, object or string in quotes, or else itself.

    >>> _text("late"), _text("1 apple"), _text("True"), bytes(_text("0.70")), bytes(_text('"0.70"'))
    ('late', '1 apple', True, b'0.70', b'"0.70"')
    """
    if text[:1] not in '-0123456789{"tf':
        return _WORDS.get(text, text)
    try:
        return _decode_raw(text)
    except _NOT_AN_EVENT:
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
    named = ", ".join(f"{_literal(_encode(name).decode() + ':')} || {json}" for name, json in members.items())
    return f"nullif('{{' || concat_ws(',', {named or 'NULL'}) || '}}', '{{}}')"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
