"""MetaflowVersion: a finished run of a model's flow, as a version of that model.

What cannot be read is left out, and a note says why; the registry's own rules are applied where it is registered.
"""

import json
import math
import re
from datetime import UTC, datetime
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
MAX_URI = 2048
"""Characters of a model's address."""
MAX_TEXT = 1 << 20
"""Characters of an artifact that are read."""
SHOWN = 10
"""Names in a note."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Interval(Struct, frozen=True):
    """The training data's time in epoch ms, `end` excluded."""

    start: int
    end: int


class VersionFromRun(Struct):
    """A version, as its run tells it. `trained_at` is epoch ms; `training_run` is Metaflow's pathspec; `notes` say what of it
    is left out."""

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
    notes: list[str] = []
    return VersionFromRun(
        told.model_id,
        told.version,
        run.pathspec,
        run.finished_at,
        _uri(run, notes),
        run.model_sha256,
        _bounded(run, "parameters", run.parameters, MAX_HYPERPARAMETERS, notes),
        _bounded(run, "metrics", _metrics(run, notes), MAX_METRICS, notes),
        _interval(run, notes),
        notes,
    )


def _uri(run: MetaflowRun, notes: list[str]) -> str | None:
    if run.model_uri is not None and not (len(run.model_uri) <= MAX_URI and _is_text(run.model_uri)):
        notes.append(_not_used("model", run, f"its address is no text, or has more than {MAX_URI} characters"))
        return None
    return run.model_uri


def _bounded(run: MetaflowRun, what: str, values: dict[str, Any], limit: int, notes: list[str]) -> dict[str, Any]:
    good = [name for name in sorted(values) if 0 < len(name) <= MAX_KEY and _is_text(name) and _is_kept(values[name])]
    bad = sorted(values.keys() - good[:limit])
    if bad:
        shown = ", ".join(repr(name[:80]) for name in bad[:SHOWN]) + (", ..." if len(bad) > SHOWN else "")
        notes.append(f"{len(bad)} of the {what} of {run.pathspec} are left out, as no version can have them: {shown}.")
    return {name: values[name] for name in good[:limit]}


def _is_kept(value: Any) -> bool:
    if isinstance(value, str):
        return _is_text(value)
    return value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _is_text(text: str) -> bool:
    """Whether it can be written: of a surrogate pair, a pickle may hold one half."""
    return not _SURROGATE.search(text)


def _metrics(run: MetaflowRun, notes: list[str]) -> dict[str, float]:
    """All that are told, NaN where one is no number: Python writes NaN and Infinity into JSON, which knows neither."""
    if run.metrics is None:
        return run.numbers
    try:
        found = json.loads(run.metrics[:MAX_TEXT])
        if not isinstance(found, dict):
            raise ValueError("it has another form")
    except (ValueError, RecursionError) as error:
        notes.append(_not_used("runway_metrics", run, f"it is no JSON object of numbers: {str(error)[:200]}"))
        return {}
    return {name: _number(value) for name, value in found.items()}


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


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
    try:
        found.start.astimezone(UTC), found.end.astimezone(UTC)
    except OverflowError:
        notes.append(_not_used("runway_training_interval", run, "in UTC it is not between the years 1 and 9999"))
        return None
    return Interval(round(found.start.timestamp() * 1000), round(found.end.timestamp() * 1000))


def _not_used(artifact: str, run: MetaflowRun, why: str) -> str:
    return f"The artifact {artifact} of {run.pathspec} is not used: {why}."
