"""CatalogSink: takes versions of MLflow's into our catalog, each in one transaction with the mark that says what was taken."""

import contextlib
from collections import deque

import msgspec
import sqlalchemy as sa

from runway_streams.database import insert_new
from runway_streams.registry import aliases, catalog, versions
from runway_streams.registry.changes import Change, Registry, as_text
from runway_streams.registry.lifecycle import MOVES
from runway_streams.registry.mlflow.mapping import Mark, our_aliases
from runway_streams.registry.mlflow.sync import Key, Outcome
from runway_streams.registry.refusals import Conflict
from runway_streams.registry.tables import imports
from runway_streams.registry.versions import VersionEntry, origin_key
from schemas.model import Model
from schemas.model_version import ModelVersion, Origin, Stage

ACTOR = "import:mlflow"
REASON = "imported from MLflow"

_decode = msgspec.json.Decoder(Mark).decode


class CatalogSink:
    """The Sink of a sync on our registry. `owner` is the team of the models that it registers; one that is registered already
    stays as it is."""

    def __init__(self, registry: Registry, owner: str = ""):
        self._registry, self._owner = registry, owner

    async def marks(self, uri: str, keys: list[Key]) -> dict[Key, Mark]:
        """See Sink."""
        origins = [origin_key(Origin(uri, name, version)) for name, version in keys]
        return await self._found(imports.c.origin.in_(origins))

    async def aliased(self, uri: str) -> dict[Key, Mark]:
        """See Sink."""
        return await self._found(sa.and_(imports.c.aliased, imports.c.uri == uri))

    async def take(
        self, model: Model, version: ModelVersion, stage: Stage | None, aliases: list[str], mark: Mark
    ) -> Outcome:
        """See Sink. Where no legal moves lead to `stage` the version stays, and the mark is kept all the same; an archived
        one gets no aliases."""
        origin = version.origin
        assert origin, "what is imported comes from somewhere"
        key = origin_key(origin)
        async with self._registry.change(ACTOR) as change:
            known = await versions.having_origin(change.connection, [origin])
            if key in known:
                outcome, entry = await _move(change, known[key], stage)
            else:
                outcome, entry = await self._create(change, model, version, stage)
            before = await _mark_of(change, key)
            if await _point(change, entry, aliases, our_aliases(before.aliases)[0]) and outcome == "unchanged":
                outcome = "moved"
            await _keep(change, key, origin, entry, mark)
        return outcome

    async def _create(
        self, change: Change, model: Model, version: ModelVersion, stage: Stage | None
    ) -> tuple[Outcome, VersionEntry]:
        there = await catalog.find(change.connection, model.model_id)
        if there is None or not there.registered:
            with contextlib.suppress(Conflict):  # another process was faster, and that is as good
                await catalog.register(change, msgspec.structs.replace(model, owner=self._owner))
        entry, is_new = await versions.create(change, model.model_id, version, stage or "evaluation", REASON)
        return "created" if is_new else "unchanged", entry

    async def _found(self, which: sa.ColumnElement[bool]) -> dict[Key, Mark]:
        question = sa.select(imports.c.name, imports.c.origin_version, imports.c.mark).where(which)
        async with self._registry.read() as connection:
            return {(row.name, row.origin_version): _decode(row.mark) for row in (await connection.execute(question)).all()}


def path_to(before: Stage, goal: Stage) -> list[Stage] | None:
    """The fewest legal moves from one stage to another, never through production, where a version would serve; None where
    there are none.

    >>> path_to("evaluation", "production"), path_to("production", "archived"), path_to("staging", "staging")
    (['staging', 'production'], ['deprecated', 'archived'], [])
    >>> path_to("staging", "deprecated"), path_to("archived", "production")
    (None, None)
    """
    ways: deque[tuple[Stage, list[Stage]]] = deque([(before, [])])
    seen = {before}
    while ways:
        stage, way = ways.popleft()
        if stage == goal:
            return way
        if way and stage == "production":
            continue
        new = [after for after in MOVES[stage] if after not in seen]
        seen.update(new)
        ways += [(after, [*way, after]) for after in new]
    return None


async def _move(change: Change, found: VersionEntry, goal: Stage | None) -> tuple[Outcome, VersionEntry]:
    name = (found.model_id, found.version.version)
    await catalog.get(change.connection, found.model_id, lock=True)  # the model first, as `versions.move` has it
    entry = await versions.get(change.connection, *name, lock=True)
    way = path_to(entry.stage, goal or entry.stage)
    if way is None:
        return "stayed", entry
    for stage in way:
        entry = await versions.move(change, *name, stage, REASON)
    return "moved" if way else "unchanged", entry


async def _point(change: Change, entry: VersionEntry, wanted: list[str], before: list[str]) -> bool:
    """Follows what has changed in MLflow, and says whether anything was to be done here. What was pointed elsewhere here
    stays so until somebody points it anew there."""
    model_id, version = entry.model_id, entry.version.version
    now = (await aliases.aliases_of(change.connection, [model_id])).get(model_id, {})
    gone = [alias for alias in before if alias not in wanted and now.get(alias) == version]
    come = [alias for alias in wanted if alias not in before and now.get(alias) != version]
    if entry.stage == "archived":
        come = []
    for alias in gone:
        await aliases.delete(change, model_id, alias, None)
    for alias in come:
        await aliases.put(change, model_id, alias, version, None)
    return bool(gone or come)


async def _mark_of(change: Change, key: str) -> Mark:
    text = await change.connection.scalar(sa.select(imports.c.mark).where(imports.c.origin == key))
    return Mark("") if text is None else _decode(text)


async def _keep(change: Change, key: str, origin: Origin, entry: VersionEntry, mark: Mark) -> None:
    said = {"mark": as_text(mark), "aliased": bool(mark.aliases), "at": change.now}
    if (await change.execute(imports.update().where(imports.c.origin == key).values(said))).rowcount == 1:
        return
    row = {"origin": key, "uri": origin.uri, "name": origin.name, "origin_version": origin.version, **said}
    await insert_new(change.connection, imports, **row, model_id=entry.model_id, version=entry.version.version)
