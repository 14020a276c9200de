"""Statuses: how a version is doing, why, and since when; a model is as its worst version in production."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.registry.changes import Change
from runway_streams.registry.refusals import Unknown, stale
from runway_streams.registry.tables import models, versions
from schemas.model import Status

MAX_JUDGED = 50_000
"""Versions whose statuses are told at a time; those at risk come first."""
WORST_FIRST: tuple[Status, ...] = ("AT_RISK", "RETRAINING", "UNKNOWN", "HEALTHY")


async def set_status(
    change: Change, model_id: str, version: str, status: Status, reason: str, *, revision: int | None = None
) -> bool:
    """Notes a version's status and says whether it is another than before; the same one again changes only the reason.

    Raises Unknown, and Stale where the version's `revision` is given and another.
    """
    # The model first, as everywhere: nobody waits for the other, and its status is made of what all versions have then.
    await change.execute(sa.select(models.c.model_id).where(models.c.model_id == model_id).with_for_update())
    same = sa.and_(versions.c.model_id == model_id, versions.c.version == version)
    columns = (versions.c.status, versions.c.status_reason, versions.c.revision)
    question = sa.select(*columns).where(same).with_for_update()
    before = (await change.execute(question)).first()
    if before is None:
        raise Unknown(f"{model_id} has no version {version!r}.", f"GET /v1/models/{model_id}/versions lists them.")
    if revision is not None and revision != before.revision:
        raise stale(f"The version {version} of {model_id}")
    if (before.status, before.status_reason) == (status, reason):
        return False
    since = {} if before.status == status else {"status_since": change.now}
    row = {"status": status, "status_reason": reason, "revision": before.revision + 1, **since}
    await change.execute(versions.update().where(same).values(row))
    if before.status == status:
        return False
    await refresh_model_status(change, model_id)
    told = {"status": before.status, "reason": before.status_reason}
    after = {"status": status, "reason": reason}
    await change.note("version.status", f"{model_id}@{version}", model_id=model_id, before=told, after=after)
    return True


@dataclass(frozen=True, slots=True)
class Judged:
    """How a version is doing, since when (ms)."""

    model_id: str
    version: str
    status: Status
    since: int


async def judged(connection: AsyncConnection, limit: int = MAX_JUDGED) -> list[Judged]:
    """The versions about which something is known, at most `limit`, those at risk first."""
    columns = (versions.c.model_id, versions.c.version, versions.c.status, versions.c.status_since)
    question = sa.select(*columns).where(versions.c.status != "UNKNOWN")
    order = (sa.case((versions.c.status == "AT_RISK", 0), else_=1), versions.c.model_id, versions.c.version)
    rows = await connection.execute(question.order_by(*order).limit(limit))
    return [Judged(*row) for row in rows]


async def refresh_model_status(change: Change, model_id: str) -> None:
    """Makes the model's status that of its versions in production."""
    in_production = sa.and_(versions.c.model_id == model_id, versions.c.stage == "production")
    found = (await change.execute(sa.select(versions.c.status).where(in_production))).scalars().all()
    worst = worst_of(list(found))
    row = sa.and_(models.c.model_id == model_id, models.c.status != worst)
    await change.execute(models.update().where(row).values(status=worst))


def worst_of(statuses: list[Status]) -> Status:
    """The status of a model whose versions in production have these.

    >>> worst_of(["HEALTHY", "AT_RISK"]), worst_of(["HEALTHY"]), worst_of([])
    ('AT_RISK', 'HEALTHY', 'UNKNOWN')
    """
    return next((status for status in WORST_FIRST if status in statuses), "UNKNOWN")
