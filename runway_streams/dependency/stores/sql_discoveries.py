"""SqlDiscoveries: the runs whose lineage is still to be asked for, in the service's own database."""

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from runway_streams.database import Database, insert_all_new
from runway_streams.dependency.metaflow.discovery import GIVE_UP_MS, MAX_CHAIN, MAX_PENDING, Discovery, wait_ms
from runway_streams.dependency.refusals import QueueFull
from runway_streams.dependency.stores.tables import discoveries

BATCH = 50
AGAIN = 5_000
"""Runs of one statement that are asked for again."""
MAX_PROBLEM = 1_000
_KEY = tuple(discoveries.primary_key)


class SqlDiscoveries:
    """Asks for runs, each once, and tells how that has gone. Every method raises DependencyDown."""

    def __init__(self, database: Database):
        self._database = database

    async def ask(self, wanted: Iterable[Discovery], now: int) -> int:
        """Notes runs that are not known yet, and tells how many those were. Raises QueueFull beyond MAX_PENDING."""
        rows = [
            msgspec.structs.asdict(one) | {"created_at": now, "updated_at": now, "next_at": now}
            for one in wanted
            if one.depth <= MAX_CHAIN
        ]
        if not rows:
            return 0
        async with self._database.write() as connection:
            new = await insert_all_new(connection, discoveries, rows)
            pending = sa.select(sa.func.count()).select_from(discoveries).where(discoveries.c.state == "pending")
            if new and (await connection.execute(pending)).scalar_one() > MAX_PENDING:  # and none of them is noted
                raise QueueFull(f"{MAX_PENDING} runs wait for Metaflow already.", "See that it answers (`runway doctor`).")
            return new

    async def due(self, now: int, limit: int = BATCH) -> list[Discovery]:
        """Those to be asked for now, the longest due first."""
        question = sa.select(discoveries).where(discoveries.c.state == "pending", discoveries.c.next_at <= now)
        async with self._database.read() as connection:
            rows = await connection.execute(question.order_by(discoveries.c.next_at, *_KEY).limit(limit))
            return [_read(row) for row in rows]

    async def of_version(self, model_id: str, version: str) -> Discovery | None:
        """How it has gone with the run of a version."""
        question = sa.select(discoveries).where(discoveries.c.model_id == model_id, discoveries.c.version == version)
        async with self._database.read() as connection:
            row = (await connection.execute(question.order_by(discoveries.c.created_at.desc()).limit(1))).first()
            return None if row is None else _read(row)

    async def done(self, one: Discovery, now: int, problem: str = "") -> None:
        """Its lineage is in the graph, or waits for it."""
        await self._set(one, state="done", problem=problem, updated_at=now)

    async def failed(self, one: Discovery, problem: str, now: int, share: float, *, is_unknown: bool = False) -> None:
        """It is asked for again later, by `wait_ms`; unless it is not known, and has not been for GIVE_UP_MS."""
        attempts = one.attempts + 1
        state = "unknown" if is_unknown and now - one.created_at > GIVE_UP_MS else "pending"
        text = problem.replace("\0", "")[:MAX_PROBLEM]
        await self._set(
            one,
            state=state,
            attempts=attempts,
            problem=text,
            updated_at=now,
            next_at=now + wait_ms(attempts, share),
        )

    async def ask_again(self, now: int) -> None:
        """Has all runs asked for again that were done, as what they told is lost. They are noted already, so that MAX_PENDING
        does not refuse them."""
        done = sa.select(*_KEY).where(discoveries.c.state == "done").limit(AGAIN)
        again = discoveries.update().where(sa.tuple_(*_KEY).in_(done))
        again = again.values(state="pending", attempts=0, problem="", updated_at=now, next_at=now)
        count = AGAIN
        while count == AGAIN:
            async with self._database.write() as connection:
                count = (await connection.execute(again)).rowcount

    async def counts(self) -> dict[str, int]:
        """How many there are, by state."""
        question = sa.select(discoveries.c.state, sa.func.count().label("runs")).group_by(discoveries.c.state)
        async with self._database.read() as connection:
            return {row.state: row.runs for row in await connection.execute(question)}

    async def _set(self, one: Discovery, **values: object) -> None:
        same = [column == getattr(one, column.name) for column in _KEY]
        async with self._database.write() as connection:
            await connection.execute(discoveries.update().where(*same).values(**values))


def _read(row: sa.Row) -> Discovery:
    return Discovery(**row._mapping)
