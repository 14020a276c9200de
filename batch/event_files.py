"""Event files: predictions and outcomes in Parquet, CSV or NDJSON, as the JSON events that the stream would have had.

Columns are the events' fields. Where there is no `prediction`, the columns `label`, `score` and `value` make one. A
TIMESTAMP is UTC. Log time is the column `log_time` (epoch ms) if there is one, else the event's own time.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb

from runway_streams.errors import ConfigError
from runway_streams.ground_truth.partition import RawBatch
from runway_streams.ground_truth.times import SECONDS_BELOW

BATCH = 4_000
_READERS = {
    ".parquet": "read_parquet(?)",
    ".csv": "read_csv(?)",
    ".ndjson": "read_json(?, format = 'newline_delimited')",
    ".jsonl": "read_json(?, format = 'newline_delimited')",
    ".json": "read_json(?)",
}
_REQUIRED = {
    "predictions": ("prediction_id", "model_id", "timestamp"),
    "outcomes": ("prediction_id", "actual_outcome", "timestamp"),
}
_VALUE_FIELDS = ("label", "score", "value")


def read_events(path: Path, topic: str) -> Iterator[RawBatch]:
    """The events of a file in the order of their log time, as batches of 4,000.

    Raises ConfigError where the file cannot be read or a required column is missing.
    """
    with duckdb.connect() as db:
        columns = _open(db, path)
        missing = [name for name in _REQUIRED[topic] if name not in columns]
        if missing:
            raise ConfigError(f"{path} has no column {', '.join(missing)}.", f"It has {', '.join(columns)}.")
        fields = ", ".join(f"{_quoted(name)} := {value}" for name, value in _fields(columns, topic, path).items())
        # Only column names, quoted, stand in the statement.
        query = f"SELECT to_json(struct_pack({fields})), {_log_time(columns)} AS log_time FROM events ORDER BY log_time"  # noqa: S608
        rows = db.execute(query)
        offset = 0
        while batch := rows.fetchmany(BATCH):
            values = [text.encode() for text, _ in batch]
            times = [int(time) if time is not None else 0 for _, time in batch]
            yield RawBatch(values, range(offset, offset + len(batch)), times, offset + len(batch))
            offset += len(batch)


def _open(db: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path} is of no kind that can be read.", f"Give one of {', '.join(_READERS)}.")
    try:
        db.execute("CREATE TABLE events AS SELECT * FROM " + reader, [str(path)])  # noqa: S608 - one of _READERS
    except duckdb.Error as error:
        raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    return {name: kind for name, kind, *_ in db.execute("DESCRIBE events").fetchall()}


def _fields(columns: dict[str, str], topic: str, path: Path) -> dict[str, str]:
    """SQL of each JSON field. A missing value is a missing field, as in the stream."""
    fields = {name: _value(name, kind) for name, kind in columns.items() if name != "log_time"}
    if topic == "predictions" and "prediction" not in columns:
        given = [name for name in _VALUE_FIELDS if name in columns]
        if not given:
            raise ConfigError(f"{path} has no column prediction.", "Give it, or one of label, score, value.")
        parts = ", ".join(f'{name} := "{name}"' for name in given)
        fields = {name: value for name, value in fields.items() if name not in given} | {
            "prediction": f"struct_pack({parts})"
        }
    return fields


def _value(name: str, kind: str) -> str:
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_ms({_quoted(name)}::TIMESTAMP)"
    if name in ("features", "feature_timestamps", "segment") and kind == "VARCHAR":
        return f"{_quoted(name)}::JSON"
    return _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _log_time(columns: dict[str, str]) -> str:
    if "log_time" in columns:
        return "log_time::BIGINT"
    kind = columns["timestamp"]
    if kind.startswith(("TIMESTAMP", "DATE")):
        return 'epoch_ms("timestamp"::TIMESTAMP)'
    if kind == "VARCHAR":
        return 'epoch_ms(try_cast("timestamp" AS TIMESTAMPTZ))'
    return f'CASE WHEN abs("timestamp") < {SECONDS_BELOW} THEN ("timestamp" * 1000)::BIGINT ELSE "timestamp"::BIGINT END'
