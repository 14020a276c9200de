"""Plan: the steps from what is in the registry to what files describe. Nothing here reads or sends anything."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import UNSET

from runway_streams.cli.addresses import default_path, model_path
from runway_streams.cli.fields import flat, whole
from runway_streams.cli.manifests import Desired, Scope, Wanted
from schemas.model import Model
from schemas.policy import Policy
from schemas.rules import RuleSet

NEW_TAG = '"0"'
"""The ETag of what is not there yet."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """What is there of something, and its ETag; `value` is None where nothing is."""

    value: Any = None
    tag: str = NEW_TAG


@dataclass(frozen=True, slots=True)
class CurrentModel:
    """What the registry has of a model. `model` is None where nobody has registered it."""

    model: Model | None = None
    tag: str = NEW_TAG
    archived: bool = False
    policy: Tagged = Tagged()
    rules: Tagged = Tagged()


@dataclass(frozen=True, slots=True)
class Current:
    """What the registry has of all that the files describe."""

    models: dict[str, CurrentModel] = field(default_factory=dict)
    defaults: dict[tuple[Scope, str], Tagged] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that becomes another; None where it is not there."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One request, and what people are told of it. Without a tag it makes something that must not be there."""

    action: Literal["create", "change", "delete"]
    what: Literal["model", "policy", "rules", "default"]
    name: str
    changes: tuple[FieldChange, ...]
    method: str
    path: str
    document: Any = None
    tag: str | None = None

    def told(self) -> dict[str, Any]:
        """The step for scripts."""
        changes = [{"field": each.field, "before": each.before, "after": each.after} for each in self.changes]
        return {"action": self.action, "what": self.what, "name": self.name, "changes": changes}


def make_plan(current: Current, desired: Desired) -> list[Step]:
    """The steps in the order in which they are sent: defaults, then each model with its policy and its rules.

    What is as it shall be makes no step.
    """
    steps: list[Step] = []
    for (scope, name), policy in desired.defaults.items():
        there = current.defaults.get((scope, name), Tagged())
        steps += _policy_steps("default", f"{scope}/{name}", default_path(scope, name), there, policy)
    for model_id, wanted in desired.models.items():
        steps += _steps_of(model_id, current.models.get(model_id, CurrentModel()), wanted)
    return steps


def _steps_of(model_id: str, there: CurrentModel, wanted: Wanted) -> Iterator[Step]:
    yield from _model_steps(model_id, there, wanted.model)
    if wanted.policy is not UNSET:
        yield from _policy_steps("policy", model_id, model_path(model_id, "policy"), there.policy, wanted.policy)
    if isinstance(wanted.rules, RuleSet):
        yield from _rules_steps(model_id, there.rules, wanted.rules)


def _model_steps(model_id: str, there: CurrentModel, wanted: Model) -> Iterator[Step]:
    if there.model is None:
        ids = {"model_id": model_id}
        changes = _differences(whole(Model(model_id)) | ids, whole(wanted), new=True)
        yield Step("create", "model", model_id, changes, "POST", model_path(model_id).rpartition("/")[0], wanted)
        return
    before, after = whole(there.model), whole(wanted)
    if there.archived:
        # What stands in a file is in use.
        before, after = before | {"archived": True}, after | {"archived": False}
    patch = {name: value for name, value in after.items() if value != before[name]}
    if patch:
        changes = tuple(FieldChange(name, before[name], value) for name, value in patch.items())
        yield Step("change", "model", model_id, changes, "PATCH", model_path(model_id), patch, there.tag)


def _policy_steps(
    what: Literal["policy", "default"], name: str, path: str, there: Tagged, wanted: Policy | None
) -> Iterator[Step]:
    if there.value == wanted:
        return
    if wanted is None:
        yield Step("delete", what, name, (), "DELETE", path, tag=there.tag)
    elif there.value is None:
        changes = tuple(FieldChange(field, None, value) for field, value in flat(whole(wanted)).items() if value is not None)
        yield Step("create", what, name, changes, "PUT", path, wanted, there.tag)
    else:
        changes = _differences(flat(whole(there.value)), flat(whole(wanted)))
        yield Step("change", what, name, changes, "PUT", path, wanted, there.tag)


def _rules_steps(model_id: str, there: Tagged, wanted: RuleSet) -> Iterator[Step]:
    before = there.value or RuleSet([])
    if before == wanted:
        return
    changes = _differences(_by_name(before), _by_name(wanted))
    if not changes:
        order = [[rule.name for rule in rules.rules] for rules in (before, wanted)]
        changes = (FieldChange("order", *order),)
    action: Literal["create", "change", "delete"] = "change" if wanted.rules else "delete"
    yield Step(
        action if before.rules else "create",
        "rules",
        model_id,
        changes,
        "PUT",
        model_path(model_id, "rules"),
        wanted,
        there.tag,
    )


def _differences(before: dict[str, Any], after: dict[str, Any], *, new: bool = False) -> tuple[FieldChange, ...]:
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return tuple(FieldChange(name, None if new else before.get(name), after.get(name)) for name in names)


def _by_name(rules: RuleSet) -> dict[str, Any]:
    return {rule.name: whole(rule) for rule in rules.rules}
