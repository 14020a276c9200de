"""Policies: whether one makes sense, which one is in force, and what holds where nobody has said anything."""

from collections.abc import Sequence
from math import isfinite
from typing import Literal

from runway_streams.errors import RunwayError
from runway_streams.registry.expressions import compile_expression, tokenize
from runway_streams.registry.windows import check_window, parse_bounded
from runway_streams.times import DAY
from schemas.model_settings import Task
from schemas.policy import (
    AgeSignal,
    DriftSignal,
    PerformanceSignal,
    Policy,
    RetrainPolicy,
    StalenessPolicy,
)

Source = Literal["model", "team", "task", "built-in"]

MAX_DURATION_DAYS = 3_650
"""The longest age or cooldown, in days."""
MAX_INTEGER = (1 << 63) - 1
"""Whole numbers in parameters: what JSON documents and databases keep exactly."""
CONDITION_VARIABLES = ("model", "version", "staleness", "signals")
"""What `retrain.when` may ask."""
LEVELS = "Give as ok where the model is still fine, as critical where it is not any more."


def check_policy(policy: Policy) -> None:
    """Raises RunwayError, with the field's name, where a decoded policy contradicts itself or cannot be carried out.

    >>> check_policy(default_policy("binary"))
    >>> check_policy(Policy(StalenessPolicy(), RetrainPolicy()))
    Traceback (most recent call last):
    ...
    runway_streams.errors.RunwayError: staleness: no signal has a weight above 0. Give age, data_drift, concept_drift or \
performance a weight.
    """
    _check_staleness(policy.staleness)
    _check_retrain(policy.retrain)


def default_policy(task: Task | None) -> Policy:
    """The built-in policy of a task; None is for models whose task is not known.

    Age counts from 30 to 90 days. Data drift is a PSI: 0.1 is commonly called a small shift, 0.25 a large one; concept
    drift 0.05 to 0.2. Classifiers may lose 0.02 to 0.1 of the accuracy that they had in training. Regressions may become
    10 % to 50 % worse in MAE than in training: relative, because an MAE has the outcome's unit. Where the task is not
    known, no metric is. What was measured on outcomes weighs most (4), age, which measures nothing, least (1).

    >>> default_policy("regression").staleness.performance.compare
    'relative'
    """
    performance = None
    if task == "regression":
        performance = PerformanceSignal(weight=4, metric="mae", ok=0.1, critical=0.5, compare="relative")
    elif task is not None:
        performance = PerformanceSignal(weight=4, metric="accuracy", ok=0.02, critical=0.1, compare="reference")
    staleness = StalenessPolicy(
        age=AgeSignal(weight=1, ok="P30D", critical="P90D"),
        data_drift=DriftSignal(weight=2, ok=0.1, critical=0.25),
        concept_drift=DriftSignal(weight=3, ok=0.05, critical=0.2),
        performance=performance,
    )
    return Policy(staleness, RetrainPolicy())


def effective_policy(
    own: Policy | None, team: Policy | None, of_task: Policy | None, task: Task | None
) -> tuple[Policy, Source]:
    """The policy in force and where it is from: the model's own, else its team's, else its task's, else the built-in one.

    >>> effective_policy(None, None, None, "binary")[1]
    'built-in'
    """
    given: Sequence[tuple[Policy | None, Source]] = [(own, "model"), (team, "team"), (of_task, "task")]
    for policy, source in given:
        if policy is not None:
            return policy, source
    return default_policy(task), "built-in"


def _check_staleness(policy: StalenessPolicy) -> None:
    signals = (policy.age, policy.data_drift, policy.concept_drift, policy.performance)
    if not any(signal is not None and signal.weight > 0 for signal in signals):
        raise _wrong(
            "staleness", "no signal has a weight above 0", "Give age, data_drift, concept_drift or performance a weight."
        )
    if policy.age:
        _check_age(policy.age)
    for name, drift in (("data_drift", policy.data_drift), ("concept_drift", policy.concept_drift)):
        if drift:
            _check_ascending(f"staleness.{name}", drift.ok, drift.critical)
    if policy.performance:
        _check_performance(policy.performance)
    if not policy.leave < policy.enter:
        raise _wrong(
            "staleness.leave", f"{policy.leave} is not below enter, {policy.enter}", "Leave a gap, such as 0.5 and 0.7."
        )


def _check_age(age: AgeSignal) -> None:
    ok, critical = (_duration(f"staleness.age.{name}", getattr(age, name)) for name in ("ok", "critical"))
    if not ok < critical:
        raise _wrong("staleness.age.critical", f"{age.critical} is not longer than ok, {age.ok}", LEVELS)


def _check_performance(signal: PerformanceSignal) -> None:
    field = "staleness.performance"
    try:
        check_window(signal.window)
    except RunwayError as error:
        raise RunwayError(f"{field}.window: {error.sentence}", error.remedy) from None
    if signal.compare != "value":
        _check_ascending(field, signal.ok, signal.critical)
        return
    for name in ("ok", "critical"):
        if not isfinite(getattr(signal, name)):
            raise _wrong(f"{field}.{name}", f"{getattr(signal, name)} is not a finite number", "Give a level of the metric.")
    if signal.ok == signal.critical:
        raise _wrong(f"{field}.critical", f"{signal.critical} is ok too", LEVELS)


def _check_ascending(field: str, ok: float, critical: float) -> None:
    if not (isfinite(ok) and ok >= 0):
        raise _wrong(f"{field}.ok", f"{ok} is not a number from 0", LEVELS)
    if not (isfinite(critical) and critical > ok):
        raise _wrong(f"{field}.critical", f"{critical} is not more than ok, {ok}", LEVELS)


def _check_retrain(policy: RetrainPolicy) -> None:
    _duration("retrain.cooldown", policy.cooldown, least=0)
    for name, value in policy.parameters.items():
        if isinstance(value, float) and not isfinite(value):
            raise _wrong(f"retrain.parameters.{name}", f"{value} is not a finite number", "Give another value.")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise _wrong(f"retrain.parameters.{name}", "the number has more than 64 bits", "Give it as a string.")
    if policy.when is None:
        return
    try:
        compile_expression(tokenize(policy.when), CONDITION_VARIABLES)
    except RunwayError as error:
        raise RunwayError(f"retrain.when: {error.sentence}", error.remedy) from None


def _duration(field: str, text: str, least: int = 1) -> int:
    try:
        ms = parse_bounded(text)
    except RunwayError as error:
        raise RunwayError(f"{field}: {error.sentence}", error.remedy) from None
    if not least <= ms <= MAX_DURATION_DAYS * DAY:
        longest = f"P{MAX_DURATION_DAYS}D"
        raise _wrong(field, f"{text} is not {'above 0 and ' if least else ''}at most {longest}", "Give another duration.")
    return ms


def _wrong(field: str, what: str, remedy: str) -> RunwayError:
    return RunwayError(f"{field}: {what}.", remedy)
