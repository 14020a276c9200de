"""MetaflowRun: what is known of one run of a flow, gathered from wherever Metaflow keeps it.

Values of artifacts are read by `plain_pickle.py`; what cannot be read is left out, and a note says so in a sentence.
"""

import hashlib
import math
from typing import Any

from msgspec import Struct

from runway_streams.dependency.metaflow.end import find_end, newest_task
from runway_streams.dependency.metaflow.plain_pickle import MAX_BYTES, NotPlain, Scalar, read_plain, unzip_pickle
from runway_streams.dependency.metaflow.runs import MAX_NAME, ArtifactRecord, MetaflowRuns, RunRecord
from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.urls import without_secrets

LINEAGE, METRICS, INTERVAL, MODEL = "runway_lineage", "runway_metrics", "runway_training_interval", "model"
SMALL = 64 << 10
"""Bytes, as stored, of an artifact that is looked at for a parameter or a metric."""
MAX_LOOKED_AT = 200
"""Artifacts of one task that are looked at."""
MAX_TEXT = 1024
"""Characters of a parameter; longer ones are left out."""
_GRAPH, _PARAMETERS, _START, _END = "_graph_info", "_parameters", "start", "end"


class MetaflowRun(Struct):
    """One run. Times are epoch ms; `finished_at` is None where it has failed or is not done. `lineage`, `metrics` and
    `interval` are the texts of the artifacts, unread; `triggers` that of the metadata; `graph` the plain `_graph_info`.
    `numbers` are plain numbers among the end's artifacts, parameters left out."""

    flow: str
    id: str
    started_at: int
    finished_at: int | None = None
    tags: list[str] = []
    system_tags: list[str] = []
    lineage: str | None = None
    triggers: str | None = None
    graph: dict[str, Any] | None = None
    parameters: dict[str, Scalar] = {}
    numbers: dict[str, float] = {}
    metrics: str | None = None
    interval: str | None = None
    model_uri: str | None = None
    model_sha256: str | None = None
    notes: list[str] = []

    @property
    def pathspec(self) -> str:
        """How Metaflow names it."""
        return f"{self.flow}/{self.id}"


async def gather_run(runs: MetaflowRuns, record: RunRecord, *, lineage_only: bool = False) -> MetaflowRun:
    """Everything that is known of a run; or, as that is much less to read, what tells of lineage. Raises DependencyDown, never
    for what an artifact holds."""
    run = MetaflowRun(
        record.flow_id, record.id, record.ts_epoch, tags=record.tags or [], system_tags=record.system_tags or []
    )
    run.notes = []
    given = await _artifacts(runs, run, _PARAMETERS)
    run.graph = await _graph(runs, run, given)
    await _look_at_start(runs, run)
    end = await find_end(runs, run.flow, run.id, step_name(run.graph, _END))
    if end is None:
        return run
    run.finished_at = end.finished_at
    if LINEAGE in end.artifacts:  # what is said at the end counts, if it says anything
        run.lineage = await _text(runs, run, end.artifacts[LINEAGE])
    if run.finished_at is not None and not lineage_only:
        await _look_at_made(runs, run, given, end.artifacts)
    return run


async def has_ended(runs: MetaflowRuns, record: RunRecord) -> bool:
    """Whether a run has ended well, by few questions: nothing tells of a run that it has failed, so it is asked often."""
    end = await find_end(runs, record.flow_id, record.id, _END)
    if end is None:
        run = MetaflowRun(record.flow_id, record.id, record.ts_epoch)
        run.notes = []
        step = step_name(await _graph(runs, run, await _artifacts(runs, run, _PARAMETERS)), _END)
        end = await find_end(runs, record.flow_id, record.id, step) if step != _END else None
    return end is not None and end.finished_at is not None


def step_name(graph: dict[str, Any] | None, which: str) -> str:
    """The name of the first or last step, which newer flows may choose.

    >>> step_name({"end_step": "publish"}, "end"), step_name(None, "end"), step_name({"end_step": "../x"}, "end")
    ('publish', 'end', 'end')
    """
    name = (graph or {}).get(f"{which}_step")
    return name if isinstance(name, str) and name.isidentifier() and name.isascii() and len(name) <= MAX_NAME else which


async def _artifacts(runs: MetaflowRuns, run: MetaflowRun, step: str) -> dict[str, ArtifactRecord]:
    task = await newest_task(runs, run.flow, run.id, step)
    if task is None:
        return {}
    return {one.name: one for one in await runs.artifacts(run.flow, run.id, step, task)}


async def _look_at_start(runs: MetaflowRuns, run: MetaflowRun) -> None:
    step = step_name(run.graph, _START)
    task = await newest_task(runs, run.flow, run.id, step)
    if task is None:
        return
    fields = {one.field_name: one.value for one in await runs.metadata(run.flow, run.id, step, task)}
    run.triggers = fields.get("execution-triggers")
    at_start = {one.name: one for one in await runs.artifacts(run.flow, run.id, step, task)}
    run.lineage = await _text(runs, run, at_start.get(LINEAGE))


async def _look_at_made(
    runs: MetaflowRuns, run: MetaflowRun, given: dict[str, ArtifactRecord], made: dict[str, ArtifactRecord]
) -> None:
    run.parameters = await _parameters(runs, run, given)
    run.metrics = await _text(runs, run, made.get(METRICS))
    run.interval = await _text(runs, run, made.get(INTERVAL))
    run.numbers = await _numbers(runs, run, made) if run.metrics is None else {}
    await _find_model(runs, run, made.get(MODEL))


async def _graph(runs: MetaflowRuns, run: MetaflowRun, given: dict[str, ArtifactRecord]) -> dict[str, Any] | None:
    graph = await _value(runs, run, given.get(_GRAPH), MAX_BYTES)
    return graph if isinstance(graph, dict) else None


async def _parameters(runs: MetaflowRuns, run: MetaflowRun, given: dict[str, ArtifactRecord]) -> dict[str, Scalar]:
    declared = (run.graph or {}).get("parameters")
    listed = isinstance(declared, list) and all(isinstance(one, dict) for one in declared)
    # Older flows do not list them: then they are what stands beside the flow's own name.
    names = [one.get("name") for one in declared] if listed and declared else [name for name in given if name != "name"]
    found: dict[str, Scalar] = {}
    for name in names[:MAX_LOOKED_AT]:
        if not isinstance(name, str) or name.startswith("_") or name not in given:
            continue
        value = await _value(runs, run, given[name], SMALL, quiet=True)
        if _is_scalar(value):
            found[name] = value
    return found


async def _numbers(runs: MetaflowRuns, run: MetaflowRun, made: dict[str, ArtifactRecord]) -> dict[str, float]:
    names = [name for name in made if not name.startswith(("_", "runway_")) and name not in run.parameters]
    found: dict[str, float] = {}
    for name in names[:MAX_LOOKED_AT]:
        value = await _value(runs, run, made[name], SMALL, quiet=True)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value):
            found[name] = float(value)
    return found


async def _find_model(runs: MetaflowRuns, run: MetaflowRun, artifact: ArtifactRecord | None) -> None:
    if artifact is None or runs.datastore is None:
        return
    value = await _value(runs, run, artifact, SMALL, quiet=True)
    if isinstance(value, str) and "://" in value:  # the flow has put the model elsewhere, and says where
        run.model_uri = without_secrets(value)
        if run.model_uri != value:
            run.notes.append(
                f"The address in the artifact {MODEL} of {run.pathspec} is kept without its user, query and fragment:"
                " they may be secrets."
            )
        return
    try:
        run.model_sha256 = await runs.datastore.sha256(run.flow, artifact.sha)
        run.model_uri = runs.datastore.uri(run.flow, artifact.sha)
    except DependencyDown:
        raise
    except RunwayError as error:
        run.notes.append(f"The artifact {MODEL} of {run.pathspec} is left out. {error}")


async def _text(runs: MetaflowRuns, run: MetaflowRun, artifact: ArtifactRecord | None) -> str | None:
    value = await _value(runs, run, artifact, MAX_BYTES)
    if artifact is not None and value is not None and not isinstance(value, str):
        run.notes.append(f"The artifact {artifact.name} of {run.pathspec} is no text, but JSON has to be a string.")
    return value if isinstance(value, str) else None


async def _value(
    runs: MetaflowRuns, run: MetaflowRun, artifact: ArtifactRecord | None, limit: int, quiet: bool = False
) -> Any:
    """The plain value of an artifact, None where there is none; `quiet` where it may well be none."""
    if artifact is None:
        return None
    try:
        if runs.datastore is None:
            raise RunwayError("Nobody has said where the datastore is.")
        data = unzip_pickle(await runs.datastore.read(run.flow, artifact.sha, limit))
        if hashlib.sha1(data, usedforsecurity=False).hexdigest() != artifact.sha:
            raise NotPlain("Its bytes are not those that were stored: the SHA-1 is another.")
        return read_plain(data)
    except DependencyDown:
        raise
    except RunwayError as error:
        if not quiet:
            run.notes.append(f"The artifact {artifact.name} of {run.pathspec} cannot be read. {error}")
        return None


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63)
