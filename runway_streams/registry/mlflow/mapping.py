"""What a registered model of MLflow, a version, its stage and its aliases are here: pure functions, each with its notes on
what did not fit."""

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from runway_streams.errors import RunwayError
from runway_streams.registry.mlflow.client import RegisteredModel, RegisteredVersion, Run
from runway_streams.registry.mlflow.client import Tag as MlflowTag
from schemas.model import Link, Model
from schemas.model_version import AliasName, ModelVersion, Origin, Scalar, Stage

T = TypeVar("T")

STAGES: dict[str, Stage] = {"None": "evaluation", "Staging": "staging", "Production": "production", "Archived": "archived"}
"""A stage of MLflow -> ours. What registries without stages leave out counts as None."""
ALIAS_STAGES: dict[str, Stage] = {"champion": "production", "challenger": "staging"}
"""An alias -> the stage that it stands for."""
_RANK: list[Stage] = ["archived", "evaluation", "staging", "production"]

NAME, DESCRIPTION, TAG, TAGS, ENTRIES, KEY, TEXT = 200, 10_000, 128, 64, 500, 256, 1_024
"""What `schemas.model` and `schemas.model_version` take: lengths of a name, a description and a tag; tags of a model; metrics
or parameters of a version, their names' length, a text parameter's length."""

_LEGAL_ID = re.compile(r"[_a-zA-Z][.\-_a-zA-Z0-9]{0,127}")
_MADE_ID = re.compile(r".*--[0-9a-f]{16}")
_FOREIGN = re.compile(r"[^.\-_a-zA-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Mark:
    """What MLflow said of a version when it was last taken: its stage and its aliases, in order."""

    stage: str
    aliases: tuple[str, ...] = ()


class Unmappable(RunwayError):
    """A model or version of MLflow's that cannot be one of ours."""


def model_id(name: str) -> str:
    """The id of a registered model: its name where that is legal, else a readable part and 16 digits of the name's SHA-256. A
    legal name that looks like a made one is made too, so two names never share an id (but for a collision of the hash).

    >>> model_id("fraud.v2"), model_id("Crédit risk")
    ('fraud.v2', 'Cr-dit-risk--a8081d3059f49f87')
    """
    if _LEGAL_ID.fullmatch(name) and not _MADE_ID.fullmatch(name):
        return name
    readable = _FOREIGN.sub("-", name).strip("-")[:100]
    if not re.match("[_a-zA-Z]", readable):
        readable = f"m-{readable}".rstrip("-")
    return f"{readable}--{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:16]}"


def stage_of(mlflow_stage: str, aliases: Iterable[str]) -> Stage:
    """The highest of what the stage and the aliases stand for.

    >>> stage_of("None", []), stage_of("Staging", ["champion"]), stage_of("Archived", ["best"])
    ('evaluation', 'production', 'archived')
    """
    stages = [STAGES.get(mlflow_stage, "evaluation"), *(ALIAS_STAGES[alias] for alias in aliases if alias in ALIAS_STAGES)]
    return max(stages, key=_RANK.index)


def move_to(before: Mark | None, now: Mark) -> Stage | None:
    """The stage that a version goes to, None where MLflow has not moved it: then it stays where it is here. One that loses
    production and gets nothing for it is deprecated, not back in evaluation.

    >>> move_to(None, Mark("None")), move_to(Mark("None"), Mark("None", ("best",)))
    ('evaluation', None)
    >>> move_to(Mark("None", ("champion",)), Mark("None"))
    'deprecated'
    """
    goal = stage_of(now.stage, now.aliases)
    if before is None:
        return goal
    was = stage_of(before.stage, before.aliases)
    if was == goal:
        return None
    return "deprecated" if (was, goal) == ("production", "evaluation") else goal


def our_aliases(aliases: Iterable[str]) -> tuple[list[str], list[str]]:
    """The aliases that can be ours, and notes on the others."""
    taken, notes = [], []
    for alias in sorted(set(aliases)):
        if _fits(alias, AliasName):
            taken.append(alias)
        else:
            notes.append(f"alias {alias[:64]!r} is left out: ours are lower-case letters, digits, dashes and underscores.")
    return taken, notes


def model_of(found: RegisteredModel, uri: str) -> tuple[Model, list[str]]:
    """The catalog's entry of a registered model, and notes on what was cut."""
    notes: list[str] = []
    tags = [tag for tag in sorted(found.tags, key=lambda tag: tag.key) if not tag.key.startswith("mlflow.")]
    if len(tags) > TAGS:
        notes.append(f"{len(tags) - TAGS} of its {len(tags)} tags are left out.")
    model = Model(
        model_id=model_id(found.name),
        name=_cut("name", found.name, NAME, notes),
        description=_cut("description", found.description, DESCRIPTION, notes),
        tags=list(dict.fromkeys(_cut(f"tag {tag.key[:64]}", f"{tag.key}:{tag.value}", TAG, notes) for tag in tags[:TAGS])),
        links=[Link("MLflow", f"{uri}/#/models/{quote(found.name, safe='')}")],
    )
    return _checked(model, Model), notes


def version_of(found: RegisteredVersion, run: Run | None, uri: str) -> tuple[ModelVersion, list[str]]:
    """The version as it is here, and notes on what was cut. Raises Unmappable where it cannot be one of ours."""
    notes: list[str] = []
    if found.run_id and run is None:
        notes.append(f"run {found.run_id[:64]} is gone, and its parameters and metrics with it.")
    run_tags = {tag.key: tag.value for tag in run.data.tags} if run else {}
    # Training had ended by the time the version was registered, so without the run's end this is the nearest that is known.
    ended = (run.info.end_time if run else None) or found.creation_timestamp
    version = ModelVersion(
        version=found.version,
        artifact_uri=found.source or None,
        training_run=f"mlflow:{found.run_id}" if found.run_id else None,
        code_ref=run_tags.get("mlflow.source.git.commit") or None,
        hyperparameters=_parameters(run.data.params if run else [], notes),
        metrics=_metrics({metric.key: metric.value for metric in run.data.metrics} if run else {}, notes),
        trained_at=_moment(ended),
        origin=Origin(uri, found.name, found.version),
    )
    return _checked(version, ModelVersion), notes


def _parameters(params: list[MlflowTag], notes: list[str]) -> dict[str, Scalar]:
    # MLflow keeps every parameter as text; what it was before is not known, so text it stays.
    taken: dict[str, Scalar] = {param.key: _cut(f"parameter {param.key[:64]}", param.value, TEXT, notes) for param in params}
    return _bounded("parameters", taken, notes)


def _metrics(values: Mapping[str, float | str], notes: list[str]) -> dict[str, float]:
    finite = {key: float(value) for key, value in values.items() if _is_finite(value)}
    if len(finite) < len(values):
        notes.append(f"{len(values) - len(finite)} metrics that are not finite are left out.")
    return _bounded("metrics", finite, notes)


def _is_finite(value: float | str) -> bool:
    # NaN comes as text; an infinity is kept by MLflow as the largest double.
    return not isinstance(value, str) and abs(value) < sys.float_info.max


def _bounded(what: str, entries: dict[str, T], notes: list[str]) -> dict[str, T]:
    names = [name for name in sorted(entries) if 1 <= len(name) <= KEY][:ENTRIES]
    if len(names) < len(entries):
        notes.append(f"{len(entries) - len(names)} of its {len(entries)} {what} are left out.")
    return {name: entries[name] for name in names}


def _cut(what: str, text: str, length: int, notes: list[str]) -> str:
    if len(text) > length:
        notes.append(f"{what} is cut from {len(text)} to {length} characters.")
    return text[:length]


def _moment(ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC) if ms > 0 else None
    except (ValueError, OSError, OverflowError):
        return None


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _checked(made: T, kind: type[T]) -> T:
    try:
        msgspec.convert(msgspec.to_builtins(made), kind)
    except msgspec.ValidationError as error:
        raise Unmappable(f"It cannot be taken: {error}.") from error
    return made
