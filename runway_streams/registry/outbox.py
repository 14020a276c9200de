"""The outbox: changes of models' settings, written in the transaction of the change itself and published afterwards.

A row is one change. It has an `effective_from` once somebody has decided when it applies, which is done just before it is
published: it must lie a minute after that, however long Kafka was away. All changes of a model that wait together apply from
the same moment, so that the newest of them alone counts. Bound: 32 published changes a model; older ones are deleted.
"""

from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.registry.changes import Change
from runway_streams.registry.settings import settings_of
from runway_streams.registry.tables import aliases, profiles, settings_changes, versions
from schemas.model import Model
from schemas.model_settings import ModelSettings, ReferenceProfile

KEPT = 32
"""Changes of a model that are published, newest last; see `runway.models`."""
LOOKED_AT = 10_000
"""Waiting changes that are looked at in one go."""
CHAMPION = "champion"

_decode = msgspec.json.Decoder(ModelSettings).decode
_decode_profile = msgspec.json.Decoder(ReferenceProfile).decode


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that is not known to be published; `effective_from` is None as long as nobody has decided it."""

    model_id: str
    seq: int
    effective_from: int | None


async def note_settings(change: Change, model: Model) -> None:
    """Puts the model's settings into the outbox if they differ from the last ones."""
    settings = settings_of(model, await profile_in_force(change.connection, model.model_id))
    change.check_settings(settings)
    document = msgspec.json.encode(settings, order="deterministic")
    mine = settings_changes.c.model_id == model.model_id
    # Of those that nobody has begun to publish the newest alone counts: Kafka may be away for long.
    undecided = sa.and_(settings_changes.c.effective_from.is_(None), settings_changes.c.published_at.is_(None))
    await change.execute(settings_changes.delete().where(mine, undecided))
    last = sa.select(settings_changes.c.document).where(mine).order_by(settings_changes.c.seq.desc()).limit(1)
    if await change.connection.scalar(last) != document:
        row = {"model_id": model.model_id, "document": document, "created_at": change.now}
        await change.execute(settings_changes.insert().values(row))


async def profile_in_force(connection: AsyncConnection, model_id: str) -> ReferenceProfile | None:
    """What drift of the model is measured against: the profile of its champion, else of the version that went into
    production last, else of the newest one that has a profile."""
    champion = sa.exists().where(
        aliases.c.model_id == versions.c.model_id, aliases.c.version == versions.c.version, aliases.c.alias == CHAMPION
    )
    rank = sa.case((champion, 0), (versions.c.stage == "production", 1), else_=2)
    since = sa.case((versions.c.stage == "production", versions.c.stage_since), else_=versions.c.created_at)
    question = (
        sa.select(profiles.c.document)
        .join(versions, versions.c.profile_digest == profiles.c.digest)
        .where(versions.c.model_id == model_id, versions.c.stage != "archived")
        .order_by(rank, since.desc(), versions.c.version.desc())
        .limit(1)
    )
    document = await connection.scalar(question)
    return None if document is None else _decode_profile(document)


async def waiting(connection: AsyncConnection, limit: int = 100) -> list[str]:
    """The models with changes that are not published, the longest waiting first."""
    first = sa.func.min(settings_changes.c.seq)
    question = sa.select(settings_changes.c.model_id).where(settings_changes.c.published_at.is_(None))
    rows = await connection.execute(question.group_by(settings_changes.c.model_id).order_by(first).limit(limit))
    return list(rows.scalars())


async def last_of(connection: AsyncConnection, model_id: str) -> tuple[int | None, int | None] | None:
    """From which log time (ms) on the model's newest change applies, and when it was published; None without any."""
    mine = settings_changes.c.model_id == model_id
    question = sa.select(settings_changes.c.effective_from, settings_changes.c.published_at).where(mine)
    row = (await connection.execute(question.order_by(settings_changes.c.seq.desc()).limit(1))).first()
    return None if row is None else (row.effective_from, row.published_at)


async def backlog(connection: AsyncConnection) -> tuple[int, int | None]:
    """How many changes wait, and since when (ms) the oldest does."""
    question = sa.select(sa.func.count(), sa.func.min(settings_changes.c.created_at))
    count, oldest = (await connection.execute(question.where(settings_changes.c.published_at.is_(None)))).one()
    return count, oldest


async def waiting_of(connection: AsyncConnection, model_ids: list[str]) -> list[Waiting]:
    """The waiting changes of these models, oldest first, at most 10,000."""
    mine = sa.and_(settings_changes.c.published_at.is_(None), settings_changes.c.model_id.in_(model_ids))
    columns = (settings_changes.c.model_id, settings_changes.c.seq, settings_changes.c.effective_from)
    rows = await connection.execute(sa.select(*columns).where(mine).order_by(settings_changes.c.seq).limit(LOOKED_AT))
    return [Waiting(*row) for row in rows]


async def settings_at(connection: AsyncConnection, seqs: list[int]) -> dict[int, ModelSettings]:
    """The settings of these changes."""
    question = sa.select(settings_changes.c.seq, settings_changes.c.document).where(settings_changes.c.seq.in_(seqs))
    return {row.seq: _decode(row.document) for row in (await connection.execute(question)).all()}


async def decide(change: Change, model_id: str, seq: int, moment: int) -> bool:
    """Notes that the model's waiting changes up to `seq` apply from a log time (ms) on; they are about to be published.
    False where a newer one has taken their place."""
    noted = settings_changes.update().where(*_waiting_to(model_id, seq)).values(effective_from=moment)
    return (await change.execute(noted)).rowcount > 0


async def mark_published(change: Change, model_id: str, seq: int) -> int:
    """Notes that Kafka has the model's changes up to `seq`, and says how many waited. Forgets all but the last 32."""
    marked = settings_changes.update().where(*_waiting_to(model_id, seq)).values(published_at=change.now)
    count = (await change.execute(marked)).rowcount
    published = sa.and_(settings_changes.c.model_id == model_id, settings_changes.c.published_at.is_not(None))
    last = sa.select(settings_changes.c.seq).where(published).order_by(settings_changes.c.seq.desc()).offset(KEPT).limit(1)
    old = settings_changes.c.seq <= last.scalar_subquery()
    await change.execute(settings_changes.delete().where(published, old))
    return count


async def published_models(connection: AsyncConnection) -> list[str]:
    """The models with changes that Kafka was given."""
    question = sa.select(settings_changes.c.model_id).where(settings_changes.c.published_at.is_not(None)).distinct()
    return list((await connection.execute(question)).scalars())


async def published_of(connection: AsyncConnection, model_id: str) -> list[ModelSettings]:
    """The model's last 32 published changes, oldest first; of several for one moment the last."""
    mine = sa.and_(settings_changes.c.model_id == model_id, settings_changes.c.published_at.is_not(None))
    question = sa.select(settings_changes).where(mine).order_by(settings_changes.c.seq.desc()).limit(KEPT)
    rows = (await connection.execute(question)).all()
    last = {row.effective_from: _decode(row.document) for row in reversed(rows)}
    return [msgspec.structs.replace(settings, effective_from=moment) for moment, settings in last.items()]


def _waiting_to(model_id: str, seq: int) -> tuple[sa.ColumnElement[bool], ...]:
    mine = settings_changes.c.model_id == model_id
    return (mine, settings_changes.c.published_at.is_(None), settings_changes.c.seq <= seq)
