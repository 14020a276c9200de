"""Answers: what the registry's API tells, as `openapi.yaml` describes it."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from schemas.api_key import Role
from schemas.model import Criticality, Model, Status
from schemas.model_settings import Task
from schemas.model_version import Stage, VersionContent
from schemas.policy import Policy, RetrainPolicy, StalenessPolicy
from schemas.rules import RuleSet

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Cursor = Annotated[str | None, Meta(description="cursor of the next page; null on the last one.")]
Degraded = list[Literal["gap", "speed_unavailable", "batch_unavailable"]]
Outcome = Literal["fired", "not", "unknown"]


class Seen(Struct, kw_only=True):
    """What the stream has seen of a model."""

    versions: list[str]
    first: Time
    last: Time
    task: str | None
    predictions: int | None = None


class ModelItem(Struct, kw_only=True):
    """A model of a list."""

    model_id: str
    name: str
    owner: str
    task: Task | None
    tags: list[str]
    criticality: Criticality
    registered: bool
    archived: bool
    status: Status
    stages: list[Stage]
    aliases: dict[str, str]
    created_at: Time
    updated_at: Time
    revision: int
    seen: Seen | None


class ModelPage(Struct, kw_only=True):
    """A page of models."""

    items: list[ModelItem]
    next_cursor: Cursor
    degraded: Degraded


class SettingsState(Struct, kw_only=True):
    """Whether the workers have been told how the model's events are read, and from which log time on that applies."""

    published: bool
    effective_from: Time | None


class ModelDocument(Model, kw_only=True, omit_defaults=False):
    """A model with all that is known of it."""

    model_id: str
    registered: bool
    archived: bool
    status: Status
    stages: list[Stage]
    aliases: dict[str, str]
    created_at: Time
    updated_at: Time
    revision: int
    settings: SettingsState
    seen: Seen | None


class VersionDocument(VersionContent, kw_only=True, omit_defaults=False):
    """A version with its stage and its status; the profile is at `.../profile`."""

    model_id: str
    profile_digest: str | None
    aliases: list[str]
    stage: Stage
    stage_since: Time
    status: Status
    status_reason: str
    status_since: Time
    created_at: Time
    created_by: str
    revision: int


class VersionPage(Struct, kw_only=True):
    """A page of versions."""

    items: list[VersionDocument]
    next_cursor: Cursor


class MoveItem(Struct, kw_only=True, rename={"from_": "from"}):
    """A step from one stage to another."""

    from_: Stage | None
    to: Stage
    at: Time
    actor: str
    reason: str
    rule: str | None


class MoveList(Struct, kw_only=True):
    """The steps of a version."""

    items: list[MoveItem]
    next_cursor: None


class AliasItem(Struct, kw_only=True):
    """An alias and its version."""

    alias: str
    version: str


class AliasList(Struct, kw_only=True):
    """The aliases of a model."""

    items: list[AliasItem]
    next_cursor: None


class RulesDocument(RuleSet, kw_only=True):
    """A model's rules."""

    revision: int


class VerdictItem(Struct, kw_only=True, rename={"from_": "from"}):
    """What a rule comes to on the facts as they are."""

    rule: str
    from_: Stage
    to: Stage
    outcome: Outcome
    reason: str
    facts: dict[str, Any]


class DryRun(Struct, kw_only=True):
    """What a model's rules would do to a version now; `move_to` is null where nothing."""

    version: str
    stage: Stage
    verdicts: list[VerdictItem]
    move_to: Stage | None


class EvaluationItem(Struct, kw_only=True):
    """What a rule came to, written down when that changed."""

    seq: int
    at: Time
    version: str
    rule: str
    outcome: Outcome
    reason: str
    facts: dict[str, Any]


class EvaluationPage(Struct, kw_only=True):
    """A page of evaluations."""

    items: list[EvaluationItem]
    next_cursor: Cursor


class PolicyInForce(Policy, kw_only=True):
    """The policy that applies to a model, and whose it is. `revision` is that of the model's own."""

    source: Literal["model", "team", "task", "built-in"]
    revision: int


class PolicyRevisionItem(Struct, kw_only=True):
    """One revision; both parts are null where the policy was taken away."""

    staleness: StalenessPolicy | None
    retrain: RetrainPolicy | None
    revision: int
    at: Time
    actor: str


class PolicyRevisionPage(Struct, kw_only=True):
    """A page of revisions."""

    items: list[PolicyRevisionItem]
    next_cursor: Cursor


class AuditItem(Struct, kw_only=True):
    """One change."""

    seq: int
    at: Time
    actor: str
    action: str
    model_id: str | None
    target: str
    before: Any
    after: Any


class AuditPage(Struct, kw_only=True):
    """A page of changes."""

    items: list[AuditItem]
    next_cursor: Cursor


class SkippedVersion(Struct, kw_only=True):
    """A version of another registry that was not taken, and why."""

    name: str
    version: str
    reason: str


class ImportReport(Struct, kw_only=True):
    """What a sync with another registry did; at most 100 reasons and notes, but all are counted."""

    models: int
    created: int
    moved: int
    stayed: int
    unchanged: int
    skipped: int
    reasons: list[SkippedVersion]
    notes: list[str]


class MlflowImportState(Struct, kw_only=True):
    """How the import from MLflow stands. `problem` is null where the newest sync went well."""

    uri: str
    poll: str
    webhook: bool
    last_success_at: Time | None
    last_full_at: Time | None
    last_report: ImportReport | None
    last_full_report: ImportReport | None
    problem: str | None
    problem_at: Time | None


class KeyItem(Struct, kw_only=True):
    """What is told of an API key."""

    prefix: str
    name: str
    role: Role
    teams: list[str]
    created_at: Time
    created_by: str
    expires_at: Time | None
    revoked_at: Time | None


class KeyPage(Struct, kw_only=True):
    """A page of keys."""

    items: list[KeyItem]
    next_cursor: Cursor


class KeyMade(KeyItem, kw_only=True):
    """A key that was made, and the key itself, which is told this once."""

    key: str
