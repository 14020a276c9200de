"""SqlOpenLineageRuns: what runs told so far, in the service's own database."""

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import Database, insert_all_new
from runway_streams.dependency.openlineage.execution import execution_key
from runway_streams.dependency.openlineage.run import RunTold
from runway_streams.dependency.openlineage.runs import (
    EXPIRY,
    MAX_RUN_BYTES,
    MAX_RUNS,
    Group,
    decode,
    encode,
    grouped,
    merge_all,
)
from runway_streams.dependency.stores.tables import openlineage_runs as runs

CHUNK = 500
"""Runs of one statement."""
FORGET_EVERY = 1_000
"""New runs of one process after which those are forgotten that are too old or too many; so many more there may be."""
_NOTHING = b""
T = TypeVar("T")


class SqlOpenLineageRuns:
    """Implements the port OpenLineageRuns."""

    def __init__(
        self, database: Database, max_runs: int = MAX_RUNS, max_bytes: int = MAX_RUN_BYTES, every: int = FORGET_EVERY
    ):
        self._database, self._max_runs, self._max_bytes, self._every = database, max_runs, max_bytes, every
        self._new = every  # a process that has just started does not know how many there are

    async def merge(self, told: Sequence[RunTold], now: int) -> list[RunTold | None]:
        if not told:
            return []
        # In one order in every process: two that wait for each other's rows would wait for ever.
        ids = sorted({one.run for one in told})
        async with self._database.write() as connection:
            self._new += await self._claim(connection, ids, now)
            known = await self._locked(connection, ids)
            merged = merge_all(known, told, self._max_bytes)
            await self._put(connection, known, ids, now)
            if self._new >= self._every:
                await self._forget(connection, now)
                self._new = 0
        return merged

    async def found_by(self, keys: Collection[str]) -> dict[str, list[RunTold]]:
        told: dict[str, RunTold] = {}
        async with self._database.read() as connection:
            found = await self._grouped(connection, keys)
            for chunk in _chunks(sorted({run for group in found.values() for run in group.runs})):
                query = sa.select(runs.c.run, runs.c.told).where(runs.c.run.in_(chunk))
                told |= {row.run: decode(row.told) for row in await connection.execute(query)}
        return {key: [told[run] for run in group.runs if run in told] for key, group in found.items()}

    async def sizes(self, ids: Collection[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        async with self._database.read() as connection:
            for chunk in _chunks(sorted(ids)):
                query = sa.select(runs.c.run, sa.func.length(runs.c.told).label("size")).where(runs.c.run.in_(chunk))
                found |= {row.run: row.size for row in await connection.execute(query.where(runs.c.told != _NOTHING))}
        return found

    async def found_sizes(self, keys: Collection[str]) -> dict[str, int]:
        async with self._database.read() as connection:
            return {key: group.size for key, group in (await self._grouped(connection, keys)).items()}

    async def _grouped(self, connection: AsyncConnection, keys: Collection[str]) -> dict[str, Group]:
        rows: dict[str, tuple[str, str | None, int]] = {}
        for chunk in _chunks(sorted(keys)):
            query = sa.select(runs.c.run, runs.c.execution, sa.func.length(runs.c.told))
            known = sa.and_(runs.c.told != _NOTHING, sa.or_(runs.c.execution.in_(chunk), runs.c.run.in_(chunk)))
            rows |= {row.run: tuple(row) for row in await connection.execute(query.where(known).order_by(runs.c.run))}
        return grouped(keys, list(rows.values()), self._max_bytes)

    async def _claim(self, connection: AsyncConnection, ids: list[str], now: int) -> int:
        rows = [{"run": run, "told": _NOTHING, "heard_at": now} for run in ids]
        return sum([await insert_all_new(connection, runs, chunk) for chunk in _chunks(rows)])

    async def _locked(self, connection: AsyncConnection, ids: list[str]) -> dict[str, RunTold]:
        found: dict[str, RunTold] = {}
        for chunk in _chunks(ids):
            query = sa.select(runs).where(runs.c.run.in_(chunk)).order_by(runs.c.run)
            rows = await connection.execute(query.with_for_update())
            found |= {row.run: decode(row.told) for row in rows if row.told != _NOTHING}
        return found

    async def _put(self, connection: AsyncConnection, known: dict[str, RunTold], ids: list[str], now: int) -> None:
        rows = [
            {"of": run, "now": encode(known[run]), "key": execution_key(known[run]), "at": now}
            for run in ids
            if run in known
        ]
        if rows:
            update = runs.update().where(runs.c.run == sa.bindparam("of"))
            values = update.values(told=sa.bindparam("now"), execution=sa.bindparam("key"), heard_at=sa.bindparam("at"))
            await connection.execute(values, rows)

    async def _forget(self, connection: AsyncConnection, now: int) -> None:
        await connection.execute(runs.delete().where(runs.c.heard_at <= now - EXPIRY))
        # Of several that were heard at the oldest time that is kept, all are.
        oldest = sa.select(runs.c.heard_at).order_by(runs.c.heard_at.desc()).offset(self._max_runs - 1).limit(1)
        kept_from = (await connection.execute(oldest)).scalar_one_or_none()
        if kept_from is not None:
            await connection.execute(runs.delete().where(runs.c.heard_at < kept_from))


def _chunks(items: list[T]) -> Iterator[list[T]]:
    return (items[begin : begin + CHUNK] for begin in range(0, len(items), CHUNK))
