"""Execution: the runs of one job that a run has started, which together are what a single run is elsewhere.

A job may run several times for one run of its parent: a task that Airflow has mapped over a list, another try, a loop in Spark.
Each reads and writes its own, so that only all of them tell all that the job does. Which runs those are is told by the run of
the parent. A run without a parent is an execution by itself.

| runs | have told everything, once |
|---|---|
| of a mapped task | the parent's run has ended, and of each map index the newest run has ended well |
| others | the newest of them has ended well |
"""

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b

from runway_streams.dependency.openlineage.run import RunTold


def execution_key(run: RunTold) -> str | None:
    """By what the runs of an execution are found; None for a run that is one by itself. Mapped runs are found by their
    parent's, since they wait for its end.

    >>> from runway_streams.dependency.openlineage.dataset import Told
    >>> from msgspec.structs import replace
    >>> run = RunTold("r", Told(1, "flow:a/b"), last=1, parent_run=Told(1, "p"))
    >>> execution_key(replace(run, map_index=Told(1, 0))), execution_key(replace(run, parent_run=None))
    ('p', None)
    >>> len(execution_key(run))
    32
    """
    if run.parent_run is None or run.parent_run.value == run.run:
        return None
    if run.map_index is not None:
        return run.parent_run.value
    return blake2b(f"{run.parent_run.value} {run.job.value}".encode(), digest_size=16).hexdigest()


def executions(key: str, runs: Sequence[RunTold]) -> list[list[RunTold]]:
    """The executions that have told everything, of those that are found by a key; the runs are all that are found by it, and
    the parent's with them, where it is known."""
    theirs = [run for run in runs if execution_key(run) == key]
    is_over = any(run.run == key and run.ended for run in runs)
    if not is_over and any(run.map_index is not None for run in theirs):
        return []
    jobs = defaultdict(list)
    for run in theirs:
        jobs[run.job.value].append(run)
    return [found for found in jobs.values() if all(run.succeeded for run in newest(found))]


def newest(runs: Sequence[RunTold]) -> list[RunTold]:
    """Of each map index the run that was heard of last: the others were tried before it."""
    found: dict[int | None, RunTold] = {}
    for run in sorted(runs, key=lambda one: (one.last, one.run)):
        found[run.map_index.value if run.map_index else None] = run
    return list(found.values())
