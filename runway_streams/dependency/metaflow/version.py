"""MetaflowVersion: a finished run of a model's flow, as a version of that model.

What cannot be read is left out, and a note says why; the registry's own rules are applied where it is registered.
"""

import math
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from runway_streams.dependency.metaflow.lineage import told_by
from runway_streams.dependency.metaflow.plain_pickle import Scalar
from runway_streams.dependency.metaflow.run import MetaflowRun

MAX_METRICS = 500
MAX_HYPERPARAMETERS = 500
MAX_KEY = 256
"""Characters of the name of a metric or parameter."""
MAX_TEXT = 1 << 20
"""Characters of an artifact that are read."""


class Interval(Struct, frozen=True):
    """The training data's time in epoch ms, `end` excluded."""

    start: int
    end: int


class VersionFromRun(Struct):
    """A version, as its run tells it. `trained_at` is epoch ms; `training_run` is Metaflow's pathspec."""

    model_id: str
    version: str
    training_run: str
    trained_at: int
    artifact_uri: str | None = None
    artifact_sha256: str | None = None
    hyperparameters: dict[str, Scalar] = {}
    metrics: dict[str, float] = {}
    training_interval: Interval | None = None
    notes: list[str] = []


def version_of_run(run: MetaflowRun, model_id: str | None = None) -> VersionFromRun | None:
    """The version that a run has made; None where it has not ended well, or made no model. `model_id` is the model whose
    flow this is, for a run that names none.

    >>> run = MetaflowRun("FraudFlow", "7", 10, 20, parameters={"rate": 0.1}, metrics='{"auc": 0.9}')
    >>> made = version_of_run(run, "fraud")
    >>> made.version, made.training_run, made.trained_at, made.hyperparameters, made.metrics
    ('7', 'FraudFlow/7', 20, {'rate': 0.1}, {'auc': 0.9})
    """
    told = told_by(run, model_id)
    if told.model_id is None or told.version is None or run.finished_at is None:
        return None
    notes = list(told.notes)
    return VersionFromRun(
        told.model_id,
        told.version,
        run.pathspec,
        run.finished_at,
        run.model_uri,
        run.model_sha256,
        _bounded(run.parameters, MAX_HYPERPARAMETERS),
        _bounded(_metrics(run, notes), MAX_METRICS),
        _interval(run, notes),
        notes,
    )


def _bounded(values: dict[str, Any], limit: int) -> dict[str, Any]:
    named = [(name, values[name]) for name in sorted(values) if 0 < len(name) <= MAX_KEY]
    return dict(named[:limit])


def _metrics(run: MetaflowRun, notes: list[str]) -> dict[str, float]:
    if run.metrics is None:
        return run.numbers
    try:
        found = msgspec.json.decode(run.metrics[:MAX_TEXT], type=dict[str, float])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        notes.append(_not_used("runway_metrics", run, f"it is no JSON object of numbers: {str(error)[:200]}"))
        return run.numbers
    return {name: value for name, value in found.items() if math.isfinite(value)}


class _Interval(Struct):
    start: datetime
    end: datetime


def _interval(run: MetaflowRun, notes: list[str]) -> Interval | None:
    """`{"start", "end"}` as RFC 3339 texts with an offset."""
    if run.interval is None:
        return None
    try:
        found = msgspec.json.decode(run.interval[:MAX_TEXT], type=_Interval)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        notes.append(_not_used("runway_training_interval", run, f'it is no JSON of "start" and "end": {str(error)[:200]}'))
        return None
    if found.start.tzinfo is None or found.end.tzinfo is None or found.start >= found.end:
        notes.append(
            _not_used("runway_training_interval", run, "its times have no offset, or its end is not after its start")
        )
        return None
    return Interval(round(found.start.timestamp() * 1000), round(found.end.timestamp() * 1000))


def _not_used(artifact: str, run: MetaflowRun, why: str) -> str:
    return f"The artifact {artifact} of {run.pathspec} is not used: {why}."
