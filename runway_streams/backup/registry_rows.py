"""The registry's rows as JSON lines, the same from SQLite and PostgreSQL: what one has given, the other takes.

A row is an object by column; bytes are Base64. All tables are read in one transaction, and written in one.
"""

import base64
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import Database
from runway_streams.errors import Refused
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.tables import leases, metadata, rate_windows

PART_BYTES = 4 << 20
"""A file of rows is about so long: what is in memory at a time."""
READ_AT_ONCE, INSERT_AT_ONCE = 500, 500
SKIPPED = {leases.name, rate_windows.name}
"""What is true for seconds, of processes that are no more."""
TABLES = [table for table in metadata.sorted_tables if table.name not in SKIPPED]
"""In an order in which rows come after those that they refer to."""

Part = tuple[str, bytes, int]
"""(table, JSON lines, rows)"""


async def dump(database: Database, revision: list[str]) -> AsyncIterator[Part]:
    """All rows, in parts; `revision` is given the tables' migration."""
    async with database.snapshot() as connection:
        revision.append(await connection.run_sync(MIGRATIONS.revision))
        for table in TABLES:
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


async def filled_tables(database: Database) -> list[str]:
    """The tables that have rows."""
    async with database.read() as connection:
        return [
            table.name
            for table in TABLES
            if await connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)) is not None
        ]


def check_revision(revision: str) -> None:
    """Raises Refused where rows of tables of this migration do not fit into ours: what was only added may be missing."""
    ours = MIGRATIONS.newest()
    if MIGRATIONS.is_known(revision) and revision.partition(".")[0] == ours.partition(".")[0]:
        return
    raise Refused(
        f"The registry in the backup has tables of revision {revision}, this version has {ours}.",
        "Restore it by the version that made it, then upgrade.",
    )


async def load(database: Database, files: Iterable[tuple[str, Callable[[], bytes]]]) -> None:
    """Puts the rows of (table, its lines) in place of all that is there, in one transaction."""
    known = {table.name: table for table in TABLES}
    async with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            await connection.execute(sa.delete(table))
        for name, read in files:
            if name not in known:
                raise Refused(f"The backup has rows of {name}, which this version does not know.", "Upgrade it first.")
            await _load_lines(connection, known[name], read())
        if connection.dialect.name == "postgresql":
            for table in TABLES:
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
    if "seq" not in table.columns:
        return
    last = await connection.scalar(sa.select(sa.func.max(table.columns.seq)))
    sequence = sa.func.pg_get_serial_sequence(table.name, "seq")
    await connection.execute(sa.select(sa.func.setval(sequence, last or 1, last is not None)))
