"""Writes the checked-in documents from the types: `python -m schemas.generate`, or with `--check` tells whether they agree.

`schemas/json/*.json` are JSON Schemas (2020-12) of the events and documents, `schemas/asyncapi.yaml` describes the topics,
`schemas/openapi.yaml` and `schemas/json/openapi.json` the API, which serves the latter.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from schemas.dead_letter import DeadLetter
from schemas.model_settings import ModelSettings
from schemas.openapi_document import openapi
from schemas.outcome import Outcome
from schemas.prediction import Prediction
from schemas.runway_lineage import RunwayLineage

HERE = Path(__file__).parent
TYPES = {
    "prediction": Prediction, "outcome": Outcome, "model_settings": ModelSettings, "dead_letter": DeadLetter,
    "runway_lineage": RunwayLineage,
}  # fmt: skip
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = {"type": "string", "minLength": 1, "maxLength": 256}

PREDICTION_KEY = {**ID, "description": "prediction_id, so that a prediction and its outcome lie in one partition."}
METRICS_KEY = {
    "type": "array",
    "description": '["slim", model, version, segment key, segment value, event hour, log hour], ["full", ..., digest] or ["mark"].',
}
MODEL_KEY = {"type": "string", "description": "model_id"}
MSGPACK = {"description": "MessagePack of SlimRecord, FullRecord or Mark; see schemas/metrics_record.py."}
PARTITIONER = "murmur2_random"

CHANNELS: dict[str, dict[str, Any]] = {
    "predictions": {
        "event": "prediction", "key": PREDICTION_KEY, "action": "receive", "type": "application/json",
        "says": "What served models said. As many partitions as the outcomes, LogAppendTime.",
    },
    "outcomes": {
        "event": "outcome", "key": PREDICTION_KEY, "action": "receive", "type": "application/json",
        "says": "What really happened, in the partition of its prediction.",
    },
    "models": {
        "event": "model_settings", "key": MODEL_KEY, "action": "receive", "type": "application/json", "list": True,
        "says": "Settings; compacted. The value is the array of a model's last 32 changes, newest last.",
    },
    "metrics": {
        "event": "metrics_record", "key": METRICS_KEY, "action": "send", "type": "application/msgpack",
        "says": "Absolute values of open accumulators by partition; compacted. Read committed records alone.",
    },
    "dead-letters": {
        "event": "dead_letter", "key": None, "action": "send", "type": "application/json",
        "says": "Events that could not be used, with why and whence.",
    },
}  # fmt: skip


def documents() -> dict[Path, str]:
    """Every generated file and its content."""
    found = {HERE / "json" / f"{name}.json": as_json(json_schema(name)) for name in TYPES}
    found[HERE / "asyncapi.yaml"] = as_yaml(asyncapi())
    found[HERE / "json" / "openapi.json"] = as_json(openapi())
    found[HERE / "openapi.yaml"] = as_yaml(openapi())
    return found


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one event.

    >>> json_schema("outcome")["required"]
    ['prediction_id', 'actual_outcome', 'timestamp']
    """
    (reference,), components = msgspec.json.schema_components([TYPES[name]], ref_template="#/$defs/{name}")
    root = components.pop(reference["$ref"].removeprefix("#/$defs/"))
    return {"$schema": DIALECT, "title": name, **_described(root), **({"$defs": components} if components else {})}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document of the topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Runway Streams",
            "version": "1",
            "description": f"Producers use the partitioner {PARTITIONER} (librdkafka: partitioner={PARTITIONER}), acks all.",
        },
        "defaultContentType": "application/json",
        "channels": {noun: _channel(noun, channel) for noun, channel in CHANNELS.items()},
        "operations": {noun: _operation(noun, channel["action"]) for noun, channel in CHANNELS.items()},
        "components": {"messages": {channel["event"]: _message(channel) for channel in CHANNELS.values()}},
    }


def _channel(noun: str, channel: dict[str, Any]) -> dict[str, Any]:
    event = channel["event"]
    return {
        "address": f"runway.{noun}",
        "description": channel["says"],
        "messages": {event: {"$ref": f"#/components/messages/{event}"}},
        "bindings": {"kafka": {"topic": f"runway.{noun}"}},
    }


def _operation(noun: str, action: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{noun}"}}


def _message(channel: dict[str, Any]) -> dict[str, Any]:
    event = channel["event"]
    payload: dict[str, Any] = {"$ref": f"./json/{event}.json"} if event in TYPES else MSGPACK
    if channel.get("list"):
        payload = {"type": "array", "maxItems": 32, "items": payload}
    bindings = {"bindings": {"kafka": {"key": channel["key"]}}} if channel["key"] else {}
    return {"name": event, "contentType": channel["type"], "payload": payload, **bindings}


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the first paragraph of its docstring: the rest speaks to Python."""
    return {**schema, "description": schema.get("description", "").split("\n\n")[0]}


def as_json(document: object) -> str:
    """The document as it is checked in."""
    return json.dumps(document, indent=2) + "\n"


def as_yaml(document: object) -> str:
    """The document as it is checked in."""
    return "# Generated by `python -m schemas.generate`; change the types, or schemas/openapi/.\n" + yaml.safe_dump(
        document, sort_keys=False, width=120
    )


def outdated() -> list[Path]:
    """The files that differ from what the types say."""
    return [path for path, text in documents().items() if not path.exists() or path.read_text() != text]


def main(arguments: list[str]) -> int:
    """The command line."""
    paths = outdated()
    if arguments == ["--check"]:
        for path in paths:
            print(f"{path.relative_to(HERE.parent)} differs from its type: run `python -m schemas.generate`.")
        return bool(paths)
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(documents()[path])
        print(f"{path.relative_to(HERE.parent)} written.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
