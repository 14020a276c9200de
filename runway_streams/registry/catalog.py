"""The catalog: the models, registered by their teams or only seen by the stream."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import insert_all_new
from runway_streams.errors import RunwayError
from runway_streams.registry.changes import Change, as_text
from runway_streams.registry.outbox import note_settings
from runway_streams.registry.refusals import Conflict, Invalid, Unknown, stale
from runway_streams.registry.settings import settings_of
from runway_streams.registry.tables import model_tags, models
from schemas.model import Model, Status

CRITICALITIES = ("low", "medium", "high", "critical")
MAX_UNREGISTERED = 100_000
UNKNOWN_STATUS: Status = "UNKNOWN"

_decode = msgspec.json.Decoder(Model).decode


@dataclass(frozen=True, slots=True)
class Entry:
    """A model as the catalog has it."""

    model: Model
    registered: bool
    archived: bool
    status: Status
    created_at: int
    updated_at: int
    revision: int


async def register(change: Change, model: Model) -> Entry:
    """Adds a model; one that was only seen keeps its history. Raises Conflict where it is registered, Invalid where its
    fields contradict each other."""
    model = _named(model)
    check(change, model)
    before = await find(change.connection, model.model_id, lock=True)
    if before and before.registered:
        raise Conflict(f"A model {model.model_id} is registered already.", "Change it, or use another id.")
    columns = {"registered": True, "archived": False, "updated_at": change.now, **_columns(model)}
    if before:
        changed = models.update().where(models.c.model_id == model.model_id)
        await change.execute(changed.values(columns | {"revision": before.revision + 1}))
    else:
        fresh = {"status": UNKNOWN_STATUS, "created_at": change.now, "revision": 1}
        if not await insert_all_new(change.connection, models, [columns | fresh]):
            raise Conflict(f"A model {model.model_id} was registered at this moment.", "Read it.")
    await _set_tags(change, model)
    await note_settings(change, model)
    await change.note("model.register", model.model_id, model_id=model.model_id, after=model)
    return await get(change.connection, model.model_id)


async def replace(change: Change, model: Model, revision: int | None = None, *, archived: bool | None = None) -> Entry:
    """Puts a changed model, and whether it is archived, in the place of the one of that revision (None: of any).

    Raises Unknown, Stale where the revision is another, Invalid as `register`.
    """
    before = await get(change.connection, model.model_id, lock=True)
    if not before.registered:
        raise Unknown(f"{model.model_id} has been seen, but nobody has registered it.", "Register it first.")
    if revision is not None and revision != before.revision:
        raise stale(f"The model {model.model_id}")
    model = _named(model)
    now_archived = before.archived if archived is None else archived
    if (model, now_archived) == (before.model, before.archived):
        return before
    check(change, model)
    columns = _columns(model) | {"archived": now_archived, "updated_at": change.now, "revision": before.revision + 1}
    same = sa.and_(models.c.model_id == model.model_id, models.c.revision == before.revision)
    if (await change.execute(models.update().where(same).values(columns))).rowcount != 1:
        raise stale(f"The model {model.model_id}")
    await _set_tags(change, model)
    await note_settings(change, model)
    action = "model.change" if now_archived == before.archived else "model.archive" if now_archived else "model.restore"
    await change.note(action, model.model_id, model_id=model.model_id, before=before.model, after=model)
    return await get(change.connection, model.model_id)


async def get(connection: AsyncConnection, model_id: str, *, lock: bool = False) -> Entry:
    """The model; with `lock` nobody else changes it before the transaction ends. Raises Unknown."""
    found = await find(connection, model_id, lock=lock)
    if found is None:
        raise Unknown(f"There is no model {model_id!r}.", "GET /v1/models lists them.")
    return found


async def find(connection: AsyncConnection, model_id: str, *, lock: bool = False) -> Entry | None:
    """The model, or None."""
    if "\0" in model_id:
        return None  # PostgreSQL cannot even ask for it
    question = sa.select(models).where(models.c.model_id == model_id)
    row = (await connection.execute(question.with_for_update() if lock else question)).first()
    return None if row is None else entry_of(row)


async def among(connection: AsyncConnection, model_ids: Collection[str]) -> list[Entry]:
    """The models of these ids, by id; at most 10,000 are asked for at a time."""
    question = sa.select(models).where(models.c.model_id.in_([one for one in model_ids if "\0" not in one]))
    return [entry_of(row) for row in await connection.execute(question.order_by(models.c.model_id))]


async def flows(connection: AsyncConnection, limit: int) -> list[tuple[str, str]]:
    """Registered models that are not archived and name the flow that trains them, with it, by id."""
    kept = sa.and_(models.c.registered, sa.not_(models.c.archived), models.c.document.contains('"flow":"', autoescape=True))
    rows = await connection.execute(sa.select(models).where(kept).order_by(models.c.model_id).limit(limit))
    entries = [entry_of(row) for row in rows]
    return [(entry.model.model_id, entry.model.flow) for entry in entries if entry.model.flow]


async def note_seen(change: Change, model_ids: list[str]) -> int:
    """Lists models that the stream has seen as unregistered, unless they are listed, and says how many are new."""
    taken = [model_id for model_id in model_ids if "\0" not in model_id]
    count = await change.connection.scalar(sa.select(sa.func.count()).where(~models.c.registered))
    taken = taken[: max(0, MAX_UNREGISTERED - (count or 0))]
    return await insert_all_new(change.connection, models, [_seen_row(model_id, change.now) for model_id in taken])


def entry_of(row: sa.Row) -> Entry:
    """The entry of a row of `models`."""
    return Entry(
        # Ids in events are freer than those in the catalog.
        model=_decode(row.document) if row.registered else Model(row.model_id, name=row.name),
        registered=row.registered,
        archived=row.archived,
        status=row.status,
        created_at=row.created_at,
        updated_at=row.updated_at,
        revision=row.revision,
    )


def check(change: Change, model: Model) -> None:
    """Raises Invalid where fields contradict each other."""
    if "\0" in as_text(model) or "\\u0000" in as_text(model):
        raise Invalid(f"The model {model.model_id} has a text with a NUL character.", "Leave it out.")
    try:
        change.check_settings(settings_of(model, None))
    except RunwayError as error:
        raise Invalid(error.sentence, error.remedy) from error


def _named(model: Model) -> Model:
    return model if model.name else msgspec.structs.replace(model, name=model.model_id)


def _columns(model: Model) -> dict[str, Any]:
    return {
        "model_id": model.model_id,
        "name": model.name,
        "owner": model.owner,
        "task": model.task,
        "criticality": CRITICALITIES.index(model.criticality),
        "search_text": search_text(model),
        "document": as_text(model),
    }


def search_text(model: Model) -> str:
    """What a search for text looks through, in lower case.

    >>> search_text(Model("fraud", name="Card Fraud", owner="Risk", tags=["cards"]))
    'fraud\\ncard fraud\\nrisk\\n\\ncards'
    """
    return "\n".join((model.model_id, model.name, model.owner, model.description, *model.tags)).lower()


def _seen_row(model_id: str, now: int) -> dict[str, Any]:
    model = Model(model_id, name=model_id)
    times = {"created_at": now, "updated_at": now}
    return _columns(model) | {"registered": False, "archived": False, "status": UNKNOWN_STATUS, "revision": 0} | times


async def _set_tags(change: Change, model: Model) -> None:
    await change.execute(model_tags.delete().where(model_tags.c.model_id == model.model_id))
    if model.tags:
        rows = [{"model_id": model.model_id, "tag": tag} for tag in dict.fromkeys(model.tags)]
        await change.execute(model_tags.insert(), rows)
