"""Discoverer: asks Metaflow what runs were made from, and puts that into the graph; finished runs become versions."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from api.lineage_parts import Lineage
from runway_streams.dependency.cursors import cursor_name
from runway_streams.dependency.metaflow.discovery import Discovery
from runway_streams.dependency.metaflow.lineage import Told, told_by
from runway_streams.dependency.metaflow.poll import GIVE_UP, Cursor, look
from runway_streams.dependency.metaflow.run import MetaflowRun, gather_run
from runway_streams.dependency.metaflow.runs import MetaflowRuns
from runway_streams.dependency.metaflow.version import VersionFromRun, version_of_run
from runway_streams.dependency.node import node_type, parse_node
from runway_streams.dependency.refusals import QueueFull
from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from runway_streams.registry import catalog, versions
from runway_streams.registry.changes import Change, Registry
from runway_streams.registry.refusals import Conflict
from runway_streams.times import DAY
from schemas.model_version import ModelVersion

ACTOR = "metaflow"
POLL_MS = 30_000
"""How often each flow is looked at."""
FLOWS = 5_000
CANNOT_BE_TAKEN = (RunwayError, ValueError, OverflowError, OSError)
"""What a run's own data may come to: names that no node has, times beyond all calendars, texts that are no UTF-8, files that
may not be read."""
COME_AGAIN = (DependencyDown, QueueFull)
_log = logging.getLogger(__name__)


class Discoverer:
    """Works on one run at a time. `metaflow` is what the process has."""

    def __init__(self, registry: Registry, lineage: Lineage, metaflow: MetaflowRuns):
        self._registry, self._lineage, self._metaflow = registry, lineage, metaflow
        self._polled: dict[str, int] = {}

    async def at_once(self, pathspec: str, model_id: str, version: str) -> None:
        """Asks for the run of a version that was just registered. Raises DependencyDown, and then it is asked for again later,
        as it is if this is cancelled."""
        now = self._registry.now()
        one = Discovery(pathspec=pathspec, model_id=model_id, version=version, created_at=now)
        if await self._lineage.discoveries.ask([one], now):
            await self._discover(one)

    async def discover_due(self, draw: Callable[[], float]) -> int:
        """Asks for the runs that are due, and tells how many those were. Raises DependencyDown once for all, where Metaflow
        does not answer: each of them is noted, and tried again later."""
        due = await self._lineage.discoveries.due(self._registry.now())
        down: DependencyDown | None = None
        for one in due:
            try:
                if down is None:
                    await self._discover(one)
                    continue
            except DependencyDown as error:
                down = error
            except CANNOT_BE_TAKEN as error:  # this run alone; the others go on
                await self._failed(one, str(error), draw(), is_unknown=not isinstance(error, ConfigError | QueueFull))
                continue
            await self._failed(one, str(down), draw())
        if down is not None:
            raise down
        return len(due)

    async def follow_flows(self) -> None:
        """Looks for new runs of the flows that train registered models."""
        async with self._registry.read() as connection:
            flows = models_by_flow(await catalog.flows(connection, FLOWS))
        now = self._registry.now()
        for flow, model_ids in flows.items():
            if now - self._polled.get(flow, 0) >= POLL_MS:
                self._polled[flow] = now
                await self._follow(flow, model_ids)

    async def _follow(self, flow: str, model_ids: Sequence[str]) -> None:
        name = cursor_name(f"metaflow:{flow}", await self._lineage.cursors.graph())
        cursor = await self._lineage.cursors.get(name, Cursor())
        more = True
        while more:
            try:
                found = await look(self._metaflow, flow, cursor, self._registry.now())
            except DependencyDown:
                raise
            except CANNOT_BE_TAKEN as error:
                _log.warning("The flow of %s cannot be followed: %s", ", ".join(model_ids), error)
                return
            for note in found.notes:
                _log.warning("%s", note)
            for run in found.ended:
                await self._take(run, model_ids)
            cursor, more = found.cursor, found.more
            await self._lineage.cursors.put(name, cursor)

    async def _take(self, run: MetaflowRun, model_ids: Sequence[str]) -> None:
        # A run that says which model it has made has made that one; else it is of each model whose flow this is.
        try:
            for model_id in dict.fromkeys(told_by(run, one).model_id for one in model_ids):
                await self._tell(run, model_id, await self._registered(run, model_id), 0)
                await self._register(run, model_id)
        except COME_AGAIN:
            raise
        except CANNOT_BE_TAKEN as error:
            _log.warning("The run %s is left out: %s", run.pathspec, error)

    async def _discover(self, one: Discovery) -> None:
        flow, _, number = one.pathspec.partition("/")
        record = await self._metaflow.run(flow, number)
        if record is None:
            await self._failed(one, f"Metaflow knows no run {one.pathspec}.", 1.0, is_unknown=True)
            return
        run = await gather_run(self._metaflow, record, lineage_only=True)
        problem = ""
        if run.finished_at is None:
            if self._registry.now() < min(record.ts_epoch, one.created_at) + GIVE_UP:  # it may be about to say more
                await self._failed(one, f"{one.pathspec} has not ended well yet.", 1.0)
                return
            problem = f"{one.pathspec} has not ended well in {GIVE_UP // DAY} days: what it told until then was taken."
        await self._tell(run, one.model_id or None, {one.model_id: one.version}, one.depth)
        await self._lineage.discoveries.done(one, self._registry.now(), problem)

    async def _registered(self, run: MetaflowRun, model_id: str | None) -> dict[str, str]:
        if model_id is None:
            return {}
        async with self._registry.read() as connection:
            made = await versions.of_run(connection, model_id, run.pathspec)
        return {model_id: made.version.version} if made else {}

    async def _foreign(self, run: MetaflowRun, model_ids: Sequence[str]) -> set[str]:
        """Of these models those that do not name the run's flow, unless somebody has registered a version of this very run. A
        run says itself what it has made, and whoever may run a flow may say anything; of a model that nobody has registered
        it may."""
        async with self._registry.read() as connection:
            entries = await catalog.among(connection, model_ids) if model_ids else []
            others = [one.model.model_id for one in entries if one.registered and one.model.flow != run.flow]
            return {one for one in others if await versions.of_run(connection, one, run.pathspec) is None}

    async def _tell(self, run: MetaflowRun, model_id: str | None, registered: Mapping[str, str], depth: int) -> None:
        told = told_by(run, model_id, registered)
        if foreign := await self._foreign(run, told.makes):
            told = told_by(run, model_id, registered, foreign)
        for note in told.notes:
            _log.warning("%s", note)
        await self._lineage.graph.tell(told.reports)
        await self._lineage.discoveries.ask(further(told, run, depth), self._registry.now())

    async def _register(self, run: MetaflowRun, model_id: str | None) -> None:
        """Makes a version of a run, unless it is one already, or the registry refuses it."""
        made = version_of_run(run, model_id)
        if made is None:
            return
        for note in made.notes:
            _log.warning("%s", note)
        try:
            async with self._registry.change(ACTOR) as change:
                await create_version(change, run.flow, made)
        except DependencyDown:
            raise
        except CANNOT_BE_TAKEN as error:
            _log.warning("%s makes no version of %s: %s", made.training_run, made.model_id, error)

    async def _failed(self, one: Discovery, problem: str, share: float, *, is_unknown: bool = False) -> None:
        await self._lineage.discoveries.failed(one, problem, self._registry.now(), share, is_unknown=is_unknown)


async def create_version(change: Change, flow: str, made: VersionFromRun) -> None:
    """Makes a version of a run of a flow, unless somebody has made one of it, under whatever name. Raises Conflict where the
    model does not name that flow."""
    model = (await catalog.get(change.connection, made.model_id, lock=True)).model
    if model.flow != flow:
        raise Conflict(f"The flow of {made.model_id} is {model.flow or 'not set'}, not {flow}.", f"Set it to {flow} first.")
    if await versions.of_run(change.connection, made.model_id, made.training_run) is None:
        await versions.create(change, made.model_id, as_version(made), reason=f"made by {made.training_run}")


def models_by_flow(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The models of each flow, from pairs of a model and its flow.

    >>> models_by_flow([("a", "Train"), ("b", "Other"), ("c", "Train")])
    {'Train': ['a', 'c'], 'Other': ['b']}
    """
    flows: dict[str, list[str]] = {}
    for model_id, flow in found:
        flows.setdefault(flow, []).append(model_id)
    return flows


def further(told: Told, run: MetaflowRun, depth: int) -> list[Discovery]:
    """The runs that led to this one, to be asked for next.

    >>> run = MetaflowRun("B", "2", 10, 20, triggers='[{"type": "run", "id": "A/1"}]')
    >>> [one.pathspec for one in further(told_by(run), run, 0)]
    ['A/1']
    """
    names = {claim.upstream for report in told.reports for claim in report.claims if node_type(claim.upstream) == "run"}
    pathspecs = sorted(parse_node(name).name for name in names)
    return [Discovery(pathspec=one, depth=depth + 1) for one in pathspecs if one != run.pathspec]


def as_version(made: VersionFromRun) -> ModelVersion:
    """A run's version as the registry takes it. Raises RunwayError where it has a field that no version may have."""
    interval = made.training_interval
    document = {
        "version": made.version,
        "artifact_uri": made.artifact_uri,
        "artifact_sha256": made.artifact_sha256,
        "training_run": made.training_run,
        "hyperparameters": made.hyperparameters,
        "metrics": made.metrics,
        "training_interval": interval and {"start": _moment(interval.start), "end": _moment(interval.end)},
        "trained_at": _moment(made.trained_at),
    }
    try:
        return msgspec.convert(document, ModelVersion)
    except msgspec.ValidationError as error:
        raise RunwayError(f"The run {made.training_run} cannot be a version: {error}.") from None


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)
