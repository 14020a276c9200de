"""Manifests: the models and defaults that files describe, checked as a whole before anything is made of them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import UNSET, Meta, Struct, UnsetType

from runway_streams.errors import ConfigError, RunwayError
from schemas.model import Model
from schemas.model_settings import Task
from schemas.policy import Policy
from schemas.rules import Rule, RuleSet

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 10_000
MAX_FILE_BYTES = 1024 * 1024

Scope = Literal["teams", "tasks"]
TeamName = Annotated[str, Meta(min_length=1, max_length=128)]


class Manifest(Model, kw_only=True):
    """A document that describes a model: the whole model, and where they are named its own policy and its rules.

    Null as `policy` takes the model's own away; `rules` that are null or empty are none.
    """

    policy: Policy | UnsetType | None = UNSET
    rules: Annotated[list[Rule], Meta(max_length=50)] | UnsetType | None = UNSET


class DefaultPolicies(Struct, forbid_unknown_fields=True):
    """The defaults of teams and tasks; null takes one away."""

    teams: dict[TeamName, Policy | None] = {}
    tasks: dict[Task, Policy | None] = {}


class Defaults(Struct, forbid_unknown_fields=True):
    """A document that describes defaults."""

    defaults: DefaultPolicies


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model as it shall be; what is UNSET is left as it is."""

    model: Model
    policy: Policy | UnsetType | None = UNSET
    rules: RuleSet | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Desired:
    """All that the files describe, by model and by (scope, name)."""

    models: dict[str, Wanted] = field(default_factory=dict)
    defaults: dict[tuple[Scope, str], Policy | None] = field(default_factory=dict)


def read_desired(path: Path) -> Desired:
    """What a file, or all YAML and JSON files of a folder, describe. Raises ConfigError that names file and field."""
    return desired_of((where, document) for file in find_files(path) for where, document in read_documents(file))


def desired_of(documents: Iterable[tuple[str, Any]]) -> Desired:
    """What documents describe, each given with its place. Raises ConfigError for what cannot be, or is described twice.

    >>> desired_of([("a.yaml", {"model_id": "fraud"})]).models["fraud"].model.name
    'fraud'
    """
    desired, places = Desired(), dict[Any, str]()
    for where, document in documents:
        try:
            parts = _parts(document)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}: {error}.", "Correct the file; nothing was sent.") from None
        except RunwayError as error:
            raise ConfigError(f"{where}: {error.sentence}", error.remedy) from error
        for name, value in parts:
            if name in places:
                raise ConfigError(f"{_named(name)} is described in {places[name]} and in {where}.", "Take one away.")
            places[name] = where
            if isinstance(value, Wanted):
                desired.models[value.model.model_id] = value
            else:
                desired.defaults[name] = value
    return desired


def find_files(path: Path) -> list[Path]:
    """The file itself, or the YAML and JSON files of a folder and of those in it, hidden ones left out, in order."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist.", "Give a folder, or a YAML or JSON file.")
    if path.is_file():
        return [path]
    found = []
    for file in path.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file():
            found.append(file)
        if len(found) > MAX_FILES:
            raise ConfigError(f"{path} holds more than {MAX_FILES:,} files.", "Apply its folders one by one.")
    if not found:
        raise ConfigError(f"{path} holds no YAML or JSON file.", "Give the folder that holds them.")
    return sorted(found)


def read_documents(file: Path) -> Iterator[tuple[str, Any]]:
    """The documents of a file, each with its place. Raises ConfigError where it is too large, or no YAML or JSON."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", "Check the file.") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{file} is larger than 1 MiB.", "Split it; a folder may hold 10,000 files.")
    try:
        json_file = file.suffix.lower() == ".json"
        documents = [json.loads(content)] if json_file else list(yaml.safe_load_all(content))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"{file} is neither YAML nor JSON: {why}.", "Correct the file.") from error
    several = len(documents) > 1
    for number, document in enumerate(documents, 1):
        if document is not None:  # an empty one, or comments alone
            yield f"{file}, document {number}" if several else str(file), document


def _parts(document: Any) -> list[tuple[Any, Wanted | Policy | None]]:
    _check_text(document)
    if isinstance(document, dict) and "defaults" in document:
        defaults = msgspec.convert(document, Defaults).defaults
        named: list[tuple[Any, Wanted | Policy | None]] = [
            ((scope, name), policy)
            for scope, policies in (("teams", defaults.teams), ("tasks", defaults.tasks))
            for name, policy in policies.items()
        ]
        for name, policy in named:
            _check_policy(policy, f"defaults.{'.'.join(name)}")
        return named
    manifest = msgspec.convert(document, Manifest)
    model = Model(**{name: getattr(manifest, name) for name in Model.__struct_fields__})
    _check_model(model)
    _check_policy(manifest.policy, "policy")
    rules = UNSET if manifest.rules is UNSET else RuleSet(manifest.rules or [])
    if rules is not UNSET:
        _check_rules(rules)
    return [(model.model_id, Wanted(named_model(model), manifest.policy, rules))]


def named_model(model: Model) -> Model:
    """As the catalog keeps it: a model without a name is named as its id.

    >>> named_model(Model("fraud")).name
    'fraud'
    """
    return model if model.name else msgspec.structs.replace(model, name=model.model_id)


def _check_text(document: Any) -> None:
    if "\\u0000" in json.dumps(document, default=str):
        raise ConfigError("A text has a NUL character.", "Leave it out.")


def _check_model(model: Model) -> None:
    from runway_streams.ground_truth.settings import Settings
    from runway_streams.registry.settings import settings_of

    Settings.from_document(settings_of(model, None))


def _check_policy(policy: Any, name: str) -> None:
    from runway_streams.registry.policies import check_policy

    if isinstance(policy, Policy):
        try:
            check_policy(policy)
        except RunwayError as error:
            raise ConfigError(f"{name}: {error.sentence}", error.remedy) from error


def _check_rules(rules: RuleSet) -> None:
    from runway_streams.registry.rules import check_rules

    check_rules(rules)


def _named(name: Any) -> str:
    return f"The model {name}" if isinstance(name, str) else f"The default {'/'.join(name)}"
