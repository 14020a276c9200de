"""A service's rows as JSON lines, the same from SQLite and PostgreSQL: what one has given, the other takes.

A row is an object by column; bytes are Base64. All tables of a service are read in one transaction, and written in one.
"""

import base64
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.dependency.stores import migrate as lineage_migrate
from runway_streams.dependency.stores import tables as lineage_tables
from runway_streams.errors import Refused
from runway_streams.migrations import Migrations
from runway_streams.registry import migrate as registry_migrate
from runway_streams.registry import tables as registry_tables

PART_BYTES = 4 << 20
"""A file of rows is about so long: what is in memory at a time."""
READ_AT_ONCE, INSERT_AT_ONCE = 500, 500
Part = tuple[str, bytes, int]
"""(table, JSON lines, rows)"""


@dataclass(frozen=True)
class Service:
    """A service that keeps rows: `name` is its folder in a backup, `skipped` are tables of what is true for seconds, of
    processes that are no more."""

    name: str
    migrations: Migrations
    metadata: sa.MetaData
    url: Callable[[Config], str | None]
    skipped: frozenset[str] = frozenset()

    @property
    def tables(self) -> list[sa.Table]:
        """Its tables, in an order in which rows come after those that they refer to."""
        return [table for table in self.metadata.sorted_tables if table.name not in self.skipped]

    def open(self, config: Config) -> Database:
        """Its database."""
        return Database.open(self.url(config), config.home, self.migrations)


REGISTRY = Service(
    "registry",
    registry_migrate.MIGRATIONS,
    registry_tables.metadata,
    lambda config: config.database,
    frozenset({registry_tables.leases.name, registry_tables.rate_windows.name}),
)
LINEAGE = Service(
    "lineage",
    lineage_migrate.MIGRATIONS,
    lineage_tables.metadata,
    lambda config: config.lineage_database or config.database,
)
SERVICES = (REGISTRY, LINEAGE)


async def dump(service: Service, database: Database, revision: list[str]) -> AsyncIterator[Part]:
    """All rows of a service, in parts; `revision` is given the tables' migration."""
    async with database.snapshot() as connection:
        revision.append(await connection.run_sync(service.migrations.revision))
        for table in service.tables:
            async for lines, rows in _dump_table(connection, table):
                yield table.name, lines, rows


async def _dump_table(connection: AsyncConnection, table: sa.Table) -> AsyncIterator[tuple[bytes, int]]:
    lines = bytearray()
    count = 0
    query = sa.select(table).order_by(*table.primary_key.columns)
    async with connection.stream(query, execution_options={"yield_per": READ_AT_ONCE}) as rows:
        async for row in rows.mappings():
            lines += msgspec.json.encode(dict(row)) + b"\n"
            count += 1
            if len(lines) >= PART_BYTES:
                yield bytes(lines), count
                lines, count = bytearray(), 0
    if count:
        yield bytes(lines), count


async def filled_tables(service: Service, database: Database) -> list[str]:
    """The tables of a service that have rows."""
    async with database.read() as connection:
        return [
            table.name
            for table in service.tables
            if await connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)) is not None
        ]


def check_revision(service: Service, revision: str) -> None:
    """Raises Refused where rows of tables of this migration do not fit into ours: what was only added may be missing."""
    ours = service.migrations.newest()
    if service.migrations.is_known(revision) and revision.partition(".")[0] == ours.partition(".")[0]:
        return
    raise Refused(
        f"The {service.name} in the backup has tables of revision {revision}, this version has {ours}.",
        "Restore it by the version that made it, then upgrade.",
    )


async def load(service: Service, database: Database, files: Iterable[tuple[str, Callable[[], bytes]]]) -> None:
    """Puts the rows of (table, its lines) in place of all that is there, in one transaction."""
    known = {table.name: table for table in service.tables}
    async with database.write() as connection:
        for table in reversed(service.metadata.sorted_tables):
            await connection.execute(sa.delete(table))
        for name, read in files:
            if name not in known:
                raise Refused(f"The backup has rows of {name}, which this version does not know.", "Upgrade it first.")
            await _load_lines(connection, known[name], read())
        if connection.dialect.name == "postgresql":
            for table in service.tables:
                await _go_on_numbering(connection, table)


async def _load_lines(connection: AsyncConnection, table: sa.Table, lines: bytes) -> None:
    binary = {column.name for column in table.columns if isinstance(column.type, sa.LargeBinary)}
    rows = [_row(msgspec.json.decode(line), binary) for line in lines.splitlines()]
    for first in range(0, len(rows), INSERT_AT_ONCE):
        await connection.execute(table.insert(), rows[first : first + INSERT_AT_ONCE])


def _row(found: dict[str, Any], binary: set[str]) -> dict[str, Any]:
    return {
        name: base64.b64decode(value) if name in binary and value is not None else value for name, value in found.items()
    }


async def _go_on_numbering(connection: AsyncConnection, table: sa.Table) -> None:
    # PostgreSQL counts apart from the rows; it would give numbers that are taken.
    numbered = table.autoincrement_column
    if numbered is None:
        return
    last = await connection.scalar(sa.select(sa.func.max(numbered)))
    sequence = sa.func.pg_get_serial_sequence(table.name, numbered.name)
    await connection.execute(sa.select(sa.func.setval(sequence, last or 1, last is not None)))
