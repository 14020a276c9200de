"""Policy: when a model counts as stale, and what happens then."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.model_settings import Duration
from schemas.model_version import Name, Scalar
from schemas.patterns import MODEL_ID

Weight = Annotated[float, Meta(ge=0, le=1_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Expression = Annotated[str, Meta(min_length=1, max_length=1_000)]


class AgeSignal(Struct, forbid_unknown_fields=True):
    """Time since training ended: 0 up to `ok`, 1 from `critical` on (ISO 8601 durations)."""

    weight: Weight
    ok: Duration
    critical: Duration


class DriftSignal(Struct, forbid_unknown_fields=True):
    """A drift measure of the data or the concept: 0 up to `ok`, 1 from `critical` on."""

    weight: Weight
    ok: Annotated[float, Meta(ge=0)]
    critical: Annotated[float, Meta(ge=0)]


class PerformanceSignal(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A metric of merged performance over `window`. Compared by `value`, `ok` and `critical` are levels of the metric
    itself (the better one is `ok`); compared with the `reference`, they are how much worse it is than the version's
    training metric of the same name; `relative` is the same as a share of that metric, for those that have a unit."""

    weight: Weight
    metric: Name
    ok: float
    critical: float
    compare: Literal["value", "reference", "relative"] = "value"
    window: Duration = "P1D"


class StalenessPolicy(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """How signals become a score in 0..1, and the score a verdict: AT_RISK from `enter` on, and again HEALTHY below `leave`,
    each after `scans` scans in a row. A signal below `minimum_samples` is not available."""

    age: AgeSignal | None = None
    data_drift: DriftSignal | None = None
    concept_drift: DriftSignal | None = None
    performance: PerformanceSignal | None = None
    enter: Share = 0.7
    leave: Share = 0.5
    scans: Annotated[int, Meta(ge=1, le=1_000)] = 3
    minimum_samples: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 500


class RetrainPolicy(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What an AT_RISK model sets off: a workflow by itself (`auto`), or once somebody has agreed (`review`). At most one
    run of a `concurrency_group` goes on at a time, higher `priority` first, none within `cooldown` of the last one."""

    mode: Literal["auto", "review"] = "review"
    cooldown: Duration = "P1D"
    concurrency_group: Annotated[str, Meta(min_length=1, max_length=128)] = "default"
    priority: Annotated[int, Meta(ge=0, le=100)] = 50
    workflow: Annotated[str, Meta(max_length=128, pattern=MODEL_ID)] | None = None
    parameters: Annotated[dict[Name, Scalar], Meta(max_length=100)] = {}
    when: Expression | None = None


class Policy(Struct, forbid_unknown_fields=True):
    """Both policies of a model, of a team's models, or of all models of a task."""

    staleness: StalenessPolicy
    retrain: RetrainPolicy
