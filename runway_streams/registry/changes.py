"""Change: one transaction that alters the registry, with who does it and when, so that all of it is audited."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import Database
from runway_streams.registry.tables import audit
from schemas.model_settings import ModelSettings

CheckSettings = Callable[[ModelSettings], object]
"""Raises RunwayError where settings contradict themselves; the workers' own reading of them."""


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction in which `actor` changes something at `now` (ms)."""

    connection: AsyncConnection
    actor: str
    now: int
    check_settings: CheckSettings

    async def execute(self, statement: sa.Executable, rows: list[dict[str, Any]] | None = None) -> sa.CursorResult:
        """Runs a statement."""
        return await self.connection.execute(statement, rows)

    async def note(
        self, action: str, target: str, *, model_id: str | None = None, before: Any = None, after: Any = None
    ) -> None:
        """Writes down what was done, in the same transaction; documents as they were before and are after."""
        values = {
            "at": self.now,
            "actor": self.actor,
            "action": action,
            "model_id": model_id,
            "target": target,
            "before": None if before is None else as_text(before),
            "after": None if after is None else as_text(after),
        }
        await self.execute(audit.insert().values(values))


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry of one process: its database, its clock, and how settings are checked."""

    database: Database
    now: Callable[[], int]
    check_settings: CheckSettings

    @asynccontextmanager
    async def change(self, actor: str) -> AsyncIterator[Change]:
        """A transaction that is committed at the end; see `Database.write`."""
        async with self.database.write() as connection:
            yield Change(connection, actor, self.now(), self.check_settings)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that reads; see `Database.read`."""
        async with self.database.read() as connection:
            yield connection


def as_text(document: Any) -> str:
    """A document as JSON with sorted keys: equal documents have equal texts.

    >>> as_text({"b": 1, "a": [True]})
    '{"a":[true],"b":1}'
    """
    return msgspec.json.encode(document, order="deterministic").decode()
