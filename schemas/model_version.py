"""ModelVersion: one trained version of a model, as it was made; nothing of it changes afterwards."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.model_settings import Duration, ReferenceProfile
from schemas.patterns import ALIAS_NAME, SHA256, VERSION_NAME

VersionName = Annotated[str, Meta(min_length=1, max_length=128, pattern=VERSION_NAME)]
AliasName = Annotated[str, Meta(min_length=1, max_length=64, pattern=ALIAS_NAME)]
Stage = Literal["exploration", "training", "evaluation", "staging", "production", "deprecated", "archived"]
Moment = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Scalar = bool | int | float | Annotated[str, Meta(max_length=1024)] | None


class TrainingInterval(Struct, forbid_unknown_fields=True):
    """The training data's time, `end` excluded."""

    start: Moment
    end: Moment


class FeatureUse(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A feature that the version reads; `freshness` is the age (ISO 8601) beyond which its value is stale."""

    name: Name
    freshness: Duration | None = None


class Origin(Struct, forbid_unknown_fields=True):
    """Where an imported version lives: one version of one model in one other registry."""

    uri: Annotated[str, Meta(min_length=1, max_length=2048)]
    name: Name
    version: Annotated[str, Meta(min_length=1, max_length=128)]


class VersionContent(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A version but for its profile. `training_run` is a Metaflow pathspec (`Flow/123`) or another system's name for the
    run; `trained_at` is when training ended, from which the version's age is counted."""

    version: VersionName
    artifact_uri: Annotated[str, Meta(max_length=2048)] | None = None
    artifact_sha256: Annotated[str, Meta(pattern=SHA256)] | None = None
    training_run: Annotated[str, Meta(max_length=512)] | None = None
    code_ref: Annotated[str, Meta(max_length=512)] | None = None
    hyperparameters: Annotated[dict[Name, Scalar], Meta(max_length=500)] = {}
    metrics: Annotated[dict[Name, float], Meta(max_length=500)] = {}
    training_interval: TrainingInterval | None = None
    trained_at: Moment | None = None
    features: Annotated[list[FeatureUse], Meta(max_length=2_000)] = []
    origin: Origin | None = None


class ModelVersion(VersionContent):
    """A version, whole."""

    profile: ReferenceProfile | None = None
