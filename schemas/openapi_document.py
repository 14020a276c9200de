"""The OpenAPI document: paths are written by hand in `schemas/openapi/`, a file a service; documents come from the types."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from schemas import answers, lineage, openlineage_answers, requests
from schemas.api_key import NewApiKey
from schemas.model import Model, Status
from schemas.model_settings import ReferenceProfile, Task
from schemas.model_version import Stage
from schemas.policy import Policy
from schemas.rules import RuleSet

FOLDER = Path(__file__).parent / "openapi"
PARTS = ("base", "ground_truth", "registry", "access", "imports", "lineage", "openlineage")
NAMED = {"Stage": Stage, "Status": Status, "Task": Task}
PROBLEM = {"$ref": "#/components/responses/Problem"}


def openapi() -> dict[str, Any]:
    """The whole document.

    >>> openapi()["paths"]["/v1/models"]["post"]["responses"].keys() >= {"201", "401", "409"}
    True
    """
    document: dict[str, Any] = {}
    for part in PARTS:
        _merge(document, yaml.safe_load((FOLDER / f"{part}.yaml").read_text()))
    _merge(document["components"]["schemas"], schemas_of_types())
    for path in document["paths"].values():
        for method, operation in path.items():
            if method != "parameters":
                _add_common_answers(operation, bool(path.get("parameters") or operation.get("parameters")))
    return document


def schemas_of_types() -> dict[str, Any]:
    """The schemas of all documents, by name."""
    types = [
        Model,
        Policy,
        NewApiKey,
        RuleSet,
        ReferenceProfile,
        *_structs(requests),
        *_structs(answers),
        *_structs(lineage),
        *_structs(openlineage_answers),
    ]
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    found["ModelPatch"] = _patch_of(found["Model"])
    return {**found, **{name: {"enum": list(get_args(choices))} for name, choices in NAMED.items()}}


def _patch_of(schema: dict[str, Any]) -> dict[str, Any]:
    """A merge patch of a model: any of its members, null for the default; and whether it is archived."""
    members: dict[str, Any] = {}
    for name, member in schema["properties"].items():
        kept = {key: value for key, value in member.items() if key != "default"}
        members[name] = {"anyOf": [kept, {"type": "null"}]}
    members["archived"] = {"type": "boolean"}
    description = "Members to be changed; null puts one back to its default."
    return {"type": "object", "description": description, "properties": members, "additionalProperties": False}


def _structs(module: Any) -> list[type]:
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    return [each for each in own if issubclass(each, msgspec.Struct)]


def _add_common_answers(operation: dict[str, Any], has_parameters: bool) -> None:
    """What any operation may answer, as far as it applies to this one."""
    if operation.get("security") == []:
        return
    statuses = ["401", "403", "429", "503"]
    statuses += ["400"] if has_parameters or "requestBody" in operation else []
    statuses += ["413", "415"] if "requestBody" in operation else []
    for status in statuses:
        operation["responses"].setdefault(status, PROBLEM)


def _merge(into: dict[str, Any], part: dict[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        elif name in into:
            raise ValueError(f"{name} is said twice in schemas/openapi/.")
        else:
            into[name] = value
