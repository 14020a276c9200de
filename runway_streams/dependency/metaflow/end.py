"""End: the last step of a run, which tells whether and when the run ended well.

Metaflow writes in this order: the values of the artifacts, the metadata `attempt_ok`, the metadata `attempt-done`, and the
artifacts' records (`TaskDataStore.done`). Its own client takes a task as finished once `_task_ok` is among the artifacts, and
as successful by the value of `_success`; who looks before that sees half a run.
"""

from msgspec import Struct

from runway_streams.dependency.metaflow.runs import ArtifactRecord, MetadataRecord, MetaflowRuns

_FINISHED, _SUCCESS = "_task_ok", "_success"


class End(Struct, frozen=True):
    """The artifacts of the last attempt by name, and when that was done, epoch ms; None where it failed or is not done."""

    artifacts: dict[str, ArtifactRecord]
    finished_at: int | None = None


async def newest_task(runs: MetaflowRuns, flow: str, run: str, step: str) -> str | None:
    """The task of a step; of several the newest."""
    tasks = await runs.tasks(flow, run, step)
    return str(max(tasks, key=lambda task: task.ts_epoch).task_id) if tasks else None


async def find_end(runs: MetaflowRuns, flow: str, run: str, step: str) -> End | None:
    """How a run's last step stands, None where it has not begun. Raises DependencyDown."""
    task = await newest_task(runs, flow, run, step)
    if task is None:
        return None
    # The metadata first: what is written between the two questions is then in the artifacts at least.
    metadata = await runs.metadata(flow, run, step, task)
    artifacts = {one.name: one for one in await runs.artifacts(flow, run, step, task)}
    return End(artifacts, finished_at(metadata, artifacts))


def finished_at(metadata: list[MetadataRecord], artifacts: dict[str, ArtifactRecord]) -> int | None:
    """When a task's last attempt was done, None where it did not end well, or not all of it is written yet.

    >>> ok = MetadataRecord("attempt_ok", "True", ["attempt_id:1"], 20)
    >>> done = MetadataRecord("attempt-done", "1", ["attempt_id:1"], 21)
    >>> made = {"_task_ok": ArtifactRecord("_task_ok", "0", attempt_id=1)}
    >>> finished_at([ok, done], made), finished_at([ok], made), finished_at([ok, done], {})
    (21, None, None)
    """
    ends = [record for record in metadata if record.field_name == "attempt_ok"]
    last = max(ends, key=lambda record: (record.attempt, record.ts_epoch), default=None)
    if last is None or last.value != "True":
        return None
    done = [one.ts_epoch for one in metadata if one.field_name == "attempt-done" and one.attempt == last.attempt]
    return max(done, default=None) if _is_success(artifacts, last.attempt) else None


def _is_success(artifacts: dict[str, ArtifactRecord], attempt: int) -> bool:
    finished, success = artifacts.get(_FINISHED), artifacts.get(_SUCCESS)
    if finished is None or finished.attempt_id != attempt:
        return False
    # `_task_ok` is True here. The same value has the same hash; after a failure that `@catch` caught, `_success` is False.
    return success is None or success.sha == finished.sha
