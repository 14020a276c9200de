"""Event files: predictions and outcomes in Parquet, CSV or NDJSON, as the JSON events that the stream would have had.

A line of NDJSON is such an event; `table_files` makes one of a table's row. All are put in the order of their log time in
a temporary file, so that memory does not grow with the events' size.
"""

import mmap
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from batch.table_files import NOT_AN_EVENT, PARTS, REQUIRED, encode, read_csv, read_parquet
from runway_streams.errors import ConfigError
from runway_streams.ground_truth.partition import PREDICTIONS, RawBatch
from runway_streams.times import YEAR_ONE, event_time
from schemas.prediction import Timestamp

BATCH = 4_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors put before UTF-8 text; it is no part of the first event."""
LAST = 253_402_214_400_000
"""9999-12-31, the latest log time: days and their ends are still dates. An event later than that is ahead of the log."""


class _Peek(Struct):
    """What has to be known of an event to place it; the stream's decoder reads the rest."""

    timestamp: Timestamp
    log_time: Annotated[float, Meta(ge=0, le=LAST)] | None = None
    prediction: Raw | UnsetType = UNSET


_peek = msgspec.json.Decoder(_Peek).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode


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
    missing = set(REQUIRED[topic])
    for number, line in enumerate(_lines(path, topic), 1):
        if missing:
            missing -= _names(line)
        try:
            head = _peek(line)
        except NOT_AN_EVENT as error:
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
    except NOT_AN_EVENT:
        return set()
    return names | {"prediction"} if names.intersection(PARTS) else names


def _as_sent(line: bytes, in_parts: bool) -> bytes:
    """The event as its producer would have sent it: without its log time, its prediction in one."""
    fields: dict[str, Any] = _decode_fields(line)
    fields.pop("log_time", None)
    if in_parts:
        parts = {name: fields.pop(name) for name in PARTS if name in fields}
        if given := {name: part for name, part in parts.items() if bytes(part) != b"null"}:
            fields["prediction"] = given
    return encode(fields)


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
        _skip_mark(file)
        yield from filter(None, map(bytes.strip, file))


def _read_json(path: Path, topic: str) -> Iterator[bytes]:
    """An array of events, or lines."""
    with path.open("rb") as file:
        _skip_mark(file)
        is_array = file.read(1024).lstrip().startswith(b"[")
    if not is_array:
        return _read_lines(path, topic)
    try:
        return map(bytes, _decode_array(path.read_bytes().removeprefix(BYTE_ORDER_MARK)))
    except NOT_AN_EVENT as error:
        raise ConfigError(f"{path} is no array of events: {error}.") from error


def _skip_mark(file: IO[bytes]) -> None:
    if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
        file.seek(0)


_READERS: dict[str, Callable[[Path, str], Iterator[bytes]]] = {
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".ndjson": _read_lines,
    ".jsonl": _read_lines,
    ".json": _read_json,
}
