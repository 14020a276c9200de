"""Requests: what the registry's API takes, beside models, policies and rules."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.model import Status
from schemas.model_version import ModelVersion, Stage, VersionName
from schemas.rules import Rule

Reason = Annotated[str, Meta(min_length=1, max_length=1_000)]


class NewVersion(ModelVersion):
    """A version to be registered, and the stage that it begins in."""

    stage: Stage = "exploration"

    def version_alone(self) -> ModelVersion:
        """The part that never changes.

        >>> NewVersion("1", stage="staging").version_alone()
        ModelVersion(version='1', artifact_uri=None, artifact_sha256=None, training_run=None, code_ref=None, \
hyperparameters={}, metrics={}, training_interval=None, trained_at=None, features=[], origin=None, profile=None)
        """
        return ModelVersion(**{field: getattr(self, field) for field in ModelVersion.__struct_fields__})


class NewMove(Struct, forbid_unknown_fields=True):
    """The stage that a version shall move to, and why."""

    to: Stage
    reason: Reason


class NewStatus(Struct, forbid_unknown_fields=True):
    """How a version is doing, and why that is known."""

    status: Status
    reason: Reason


class NewAlias(Struct, forbid_unknown_fields=True):
    """The version that an alias shall stand for."""

    version: VersionName


class NewDryRun(Struct, forbid_unknown_fields=True):
    """A version to try rules on; without `rules`, the model's own."""

    version: VersionName
    rules: Annotated[list[Rule], Meta(max_length=50)] | None = None
