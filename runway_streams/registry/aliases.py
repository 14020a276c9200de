"""Aliases: names such as `champion` and `challenger` that stand for one version of a model at a time."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import insert_new
from runway_streams.registry import catalog, versions
from runway_streams.registry.changes import Change
from runway_streams.registry.outbox import note_settings
from runway_streams.registry.refusals import Conflict, Invalid, Unknown, stale
from runway_streams.registry.tables import aliases
from schemas.model_version import AliasName

MAX_ALIASES = 50
"""Aliases of a model."""
MAX_NAMES = 1_000
"""Names that have been aliases of a model, those that were taken away included."""


async def aliases_of(connection: AsyncConnection, model_ids: list[str]) -> dict[str, dict[str, str]]:
    """Each model's aliases and the versions they stand for."""
    mine = sa.and_(aliases.c.model_id.in_(model_ids), aliases.c.version.is_not(None))
    question = sa.select(aliases).where(mine).order_by(aliases.c.alias)
    found: dict[str, dict[str, str]] = {}
    for row in (await connection.execute(question)).all():
        found.setdefault(row.model_id, {})[row.alias] = row.version
    return found


async def get(connection: AsyncConnection, model_id: str, alias: str) -> tuple[str, int]:
    """The version that an alias stands for, and its revision. Raises Unknown."""
    question = sa.select(aliases).where(_same(model_id, alias))
    row = None if "\0" in model_id + alias else (await connection.execute(question)).first()
    if row is None or row.version is None:
        await catalog.get(connection, model_id)
        raise Unknown(f"{model_id} has no alias {alias!r}.", f"PUT /v1/models/{model_id}/aliases/{alias} makes one.")
    return row.version, row.revision


async def put(change: Change, model_id: str, alias: str, version: str, revision: int | None) -> int:
    """Lets an alias stand for a version and returns its new revision.

    `revision` is the one that it had, 0 where it must be new, None for any. Raises Stale, Unknown, Conflict for an archived
    version, Invalid for one alias too many.
    """
    try:
        msgspec.convert(alias, AliasName)
    except msgspec.ValidationError:
        raise Invalid(f"{alias[:50]!r} is no alias.", "Use a-z, 0-9, _ and -, a letter first, 64 at most.") from None
    model = await catalog.get(change.connection, model_id, lock=True)
    entry = await versions.get(change.connection, model_id, version)
    if entry.stage == "archived":
        raise Conflict(f"The version {version} of {model_id} is archived.", "Choose another.")
    question = sa.select(aliases).where(_same(model_id, alias))
    before = (await change.execute(question)).first()
    there = before.revision if before else 0
    is_new = before is None or before.version is None
    if revision is not None and revision != there and not (revision == 0 and is_new):
        raise stale(f"The alias {alias} of {model_id}")
    if is_new:
        await _check_room(change, model_id)
    await _write(change, model_id, alias, version, there)
    await note_settings(change, model.model)
    told = None if before is None or before.version is None else {"version": before.version}
    await change.note("alias.put", f"{model_id}@{alias}", model_id=model_id, before=told, after={"version": version})
    return there + 1


async def delete(change: Change, model_id: str, alias: str, revision: int | None) -> None:
    """Takes an alias away. Raises Unknown, Stale."""
    model = await catalog.get(change.connection, model_id, lock=True)
    version, there = await get(change.connection, model_id, alias)
    if revision is not None and revision != there:
        raise stale(f"The alias {alias} of {model_id}")
    # The row stays, so that no revision ever comes again and a change of what was read before is refused.
    gone = aliases.update().where(_same(model_id, alias))
    await change.execute(gone.values(version=None, revision=there + 1))
    await note_settings(change, model.model)
    await change.note("alias.delete", f"{model_id}@{alias}", model_id=model_id, before={"version": version})


async def _check_room(change: Change, model_id: str) -> None:
    question = sa.select(sa.func.count(), sa.func.count(aliases.c.version)).where(aliases.c.model_id == model_id)
    names, live = (await change.execute(question)).one()
    if live >= MAX_ALIASES:
        raise Invalid(f"{model_id} has {MAX_ALIASES} aliases already.", "Delete one first.")
    if names >= MAX_NAMES:
        raise Invalid(f"{model_id} has had {MAX_NAMES} aliases already.", "Use one of those names again.")


async def _write(change: Change, model_id: str, alias: str, version: str, there: int) -> None:
    if there:
        same = sa.and_(_same(model_id, alias), aliases.c.revision == there)
        changed = await change.execute(aliases.update().where(same).values(version=version, revision=there + 1))
        if changed.rowcount == 1:
            return
    elif await insert_new(change.connection, aliases, alias=alias, model_id=model_id, version=version, revision=1):
        return
    raise stale(f"The alias {alias} of {model_id}")


def _same(model_id: str, alias: str) -> sa.ColumnElement[bool]:
    return sa.and_(aliases.c.model_id == model_id, aliases.c.alias == alias)
