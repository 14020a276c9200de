"""OpenLineage runs: what the events of one run tell together.

They come twice, in any order, and each tells a part: inputs often with START alone, outputs with COMPLETE alone. `merge` is a
join of what they tell: commutative, associative and idempotent. Of a facet told twice the newer counts.
"""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from runway_streams.dependency.openlineage.dataset import Datasets, Side, Told, datasets_told, newer, union, written
from runway_streams.dependency.openlineage.facets import LeftOut, read_facet
from runway_streams.dependency.refusals import BadNode, BadReport
from schemas.openlineage import Airflow, AirflowMappedTask, JobName, ParentRun, RunEvent, RunFacets


class RunTold(Struct, frozen=True):
    """What the events of one run tell. `cut` says that there was more. `parent` is the flow of the run that started it, and
    `parent_run` that run's id; `map_index` which one it is of those into which Airflow has mapped a task."""

    run: str
    job: Told
    last: int
    started: bool = False
    completed: int | None = None
    failed: int | None = None
    parent: Told | None = None
    parent_run: Told | None = None
    map_index: Told | None = None
    datasets: Datasets = {}
    cut: bool = False

    @property
    def ended(self) -> bool:
        """Whether its end was heard of."""
        return self.completed is not None or self.failed is not None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well, by the last that was heard of its end."""
        return self.completed is not None and (self.failed is None or self.failed < self.completed)


def told_by(event: RunEvent, left_out: LeftOut) -> RunTold:
    """What one event of a run tells. Raises BadNode for names that no node can have."""
    at = epoch_ms(event.event_time)
    sides = (Side("inputs", event.inputs), Side("outputs", event.outputs, written=True))
    datasets, cut = datasets_told(sides, event.job, at, left_out)
    facets = read_facet(event.run.facets, RunFacets, "run.facets", left_out) or RunFacets()
    parent = _parent(facets, left_out)
    parent_run = _run_id(parent) if parent else None
    index = _map_index(facets, left_out)
    return RunTold(
        run=str(event.run.run_id),
        job=Told(at, flow_node(event.job)),
        last=at,
        started=event.event_type == "START",
        completed=at if event.event_type == "COMPLETE" else None,
        failed=at if event.event_type in ("FAIL", "ABORT") else None,
        parent=Told(at, flow) if parent and (flow := _flow_of(parent, left_out)) else None,
        parent_run=Told(at, parent_run) if parent_run else None,
        map_index=Told(at, index) if index is not None else None,
        datasets=datasets,
        cut=cut or left_out.lost,
    )


def merge(one: RunTold, other: RunTold) -> RunTold:
    """What both tell together. Raises ValueError where they tell of two runs."""
    if one.run != other.run:
        raise ValueError(f"{one.run} and {other.run} are two runs.")
    datasets, cut = union([one.datasets, other.datasets])
    return RunTold(
        run=one.run,
        job=newer(one.job, other.job) or one.job,
        last=max(one.last, other.last),
        started=one.started or other.started,
        completed=_later(one.completed, other.completed),
        failed=_later(one.failed, other.failed),
        parent=newer(one.parent, other.parent),
        parent_run=newer(one.parent_run, other.parent_run),
        map_index=newer(one.map_index, other.map_index),
        datasets=datasets,
        cut=cut or one.cut or other.cut,
    )


def epoch_ms(time: datetime) -> int:
    """A time in epoch ms. Raises BadReport for one before 1970, which no run has."""
    at = round(time.timestamp() * 1000)
    if at < 0:
        raise BadReport(f"The eventTime {time.isoformat()} lies before 1970.")
    return at


def flow_node(job: JobName) -> str:
    """The node of a job. Raises BadNode."""
    return written("flow", job.namespace, job.name)


def _parent(facets: RunFacets, left_out: LeftOut) -> ParentRun | None:
    now = read_facet(facets.parent, ParentRun, "run.facets.parent", left_out)
    return now or read_facet(facets.parent_run, ParentRun, "run.facets.parentRun", left_out)


def _flow_of(parent: ParentRun, left_out: LeftOut) -> str | None:
    try:
        return flow_node(parent.job) if parent.job else None
    except BadNode as error:
        left_out.note("run.facets.parent", str(error))
        return None


def _run_id(parent: ParentRun) -> str | None:
    """Its id as it is written of its own events; what is no UUID is no run's."""
    try:
        return str(UUID(parent.run.run_id)) if parent.run and parent.run.run_id else None
    except ValueError:
        return None


def _map_index(facets: RunFacets, left_out: LeftOut) -> int | None:
    mapped = read_facet(facets.airflow_mapped_task, AirflowMappedTask, "run.facets.airflow_mappedTask", left_out)
    airflow = read_facet(facets.airflow, Airflow, "run.facets.airflow", left_out)
    told = [mapped.map_index] if mapped else []
    told += [airflow.task_instance.map_index] if airflow and airflow.task_instance else []
    return next((index for index in told if index is not None and index >= 0), None)


def _later(one: int | None, other: int | None) -> int | None:
    return max((at for at in (one, other) if at is not None), default=None)
