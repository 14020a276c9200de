"""The audit log: what was changed, by whom and when. Nothing is ever taken out of it."""

from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.registry.tables import audit


@dataclass(frozen=True, slots=True)
class Note:
    """One change; the documents as JSON, null where there was or is none."""

    seq: int
    at: int
    actor: str
    action: str
    model_id: str | None
    target: str
    before: msgspec.Raw | None
    after: msgspec.Raw | None


async def page(
    connection: AsyncConnection, limit: int, before: int | None = None, model_id: str | None = None
) -> list[Note]:
    """The newest changes, of those before a number, of one model where it is named."""
    question = sa.select(audit)
    if before is not None:
        question = question.where(audit.c.seq < before)
    if model_id is not None:
        question = question.where(audit.c.model_id == model_id)
    rows = await connection.execute(question.order_by(audit.c.seq.desc()).limit(limit))
    return [
        Note(row.seq, row.at, row.actor, row.action, row.model_id, row.target, _raw(row.before), _raw(row.after))
        for row in rows
    ]


async def after(connection: AsyncConnection, seq: int, limit: int) -> list[Note]:
    """The changes after a number, in order, without their documents."""
    columns = (audit.c.seq, audit.c.at, audit.c.actor, audit.c.action, audit.c.model_id, audit.c.target)
    rows = await connection.execute(sa.select(*columns).where(audit.c.seq > seq).order_by(audit.c.seq).limit(limit))
    return [Note(*row, before=None, after=None) for row in rows]


def _raw(document: str | None) -> msgspec.Raw | None:
    return None if document is None else msgspec.Raw(document.encode())
