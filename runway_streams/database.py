"""A service's database: SQLite by default, PostgreSQL by URL, with one way to read and one to write."""

import asyncio
import contextlib
import math
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from runway_streams.database_outages import STANDBY, START, Outage, outage_of
from runway_streams.errors import ConfigError, DependencyDown
from runway_streams.migrations import Migrations

POOL = 8
"""Connections of one process."""
WAIT_S = 10.0
"""How long a request waits for a connection, a lock or a statement."""
QUEUE_S = 3 * WAIT_S
"""How long a writer of SQLite waits for those of its own process."""
CONNECT_S = 5.0
SWITCHES, SWITCH_S = 100, 0.01
"""How often, and how far apart, a new SQLite file is asked to write ahead, while others ask the same."""
LOOK_EVERY = 100_000
"""Steps of SQLite's machine after which it looks at the clock: a few milliseconds."""
PARAMETERS = 32_000
"""Values of one statement; PostgreSQL takes 32,767 at most, and SQLite one less."""
CLOCK = "runway_clock"
QUERY = frozenset({"ssl"})
"""Parameters of a URL that are understood: how TLS is used, as libpq's sslmode."""
_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


class Database:
    """Transactions on one database.

        database = Database.open(None, home, MIGRATIONS)   # SQLite below home
        async with database.write() as connection:
            await connection.execute(...)

    The first use brings the service's tables to this version of the program, by one process at a time.

    A write of SQLite begins by taking the only write lock, so that a transaction never has to be thrown away half-way;
    writers of one process, whatever their service, wait for each other in a queue, those of several in turns of at most 10 s.
    """

    def __init__(self, engine: AsyncEngine, migrations: Migrations, queue_s: float = QUEUE_S):
        self.engine = engine
        self._queue_s = queue_s
        self._migrations = migrations
        self._is_sqlite = engine.dialect.name == "sqlite"
        sa.event.listen(engine.sync_engine, "handle_error", self._translate)
        self._preparing = asyncio.Lock()
        self._prepared: int | None = None  # the inode of SQLite's file, 0 for a server

    @classmethod
    def open(cls, url: str | None, home: Path, migrations: Migrations, statement_s: float = WAIT_S) -> "Database":
        """Makes the engine; nothing is connected yet. A statement has `statement_s` seconds, and a turn to write to SQLite is
        waited for three times as long. Raises ConfigError where the URL is none that we can use."""
        parsed = database_url(url, home, migrations.variable)
        if parsed.get_backend_name() == "sqlite":
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            engine = create_async_engine(parsed, pool_size=POOL, pool_timeout=WAIT_S, connect_args={"timeout": WAIT_S})
            sa.event.listen(engine.sync_engine, "connect", _configure_sqlite)
            sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
            sa.event.listen(engine.sync_engine.pool, "invalidate", _let_go)
            sa.event.listen(engine.sync_engine, "before_cursor_execute", partial(_start_clock, statement_s))
        else:
            times = {"timeout": CONNECT_S, "command_timeout": statement_s}
            engine = create_async_engine(parsed, pool_size=POOL, pool_timeout=WAIT_S, pool_pre_ping=True, connect_args=times)
        return cls(engine, migrations, 3 * statement_s)

    async def prepare(self) -> None:
        """Upgrades the tables, once. Raises DependencyDown, or Refused where they are newer than the program."""
        if self._is_prepared(self._place()):
            return
        async with self._preparing:
            place = self._place()  # whoever was before us may have made the file
            if self._is_prepared(place):
                return
            if self._prepared is not None and place != self._prepared:
                await self._leave(place)
            async with self._begin(writes=True) as connection, _upgrades():
                await connection.run_sync(self._migrations.upgrade)
            self._prepared = self._place()

    def _is_prepared(self, place: int | None) -> bool:
        return place is not None and place == self._prepared

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that reads. Raises DependencyDown where the database does not answer."""
        await self.prepare()
        async with self._begin(writes=False, timed=True) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that reads, in which all tables stay as they are at its first statement. Raises as `read`."""
        await self.prepare()
        async with self._begin(writes=False, isolation="REPEATABLE READ") as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end, and rolled back by an exception. Raises DependencyDown as `read`."""
        await self.prepare()
        async with self._begin(writes=True, timed=True) as connection:
            yield connection

    async def close(self) -> None:
        """Closes all connections."""
        await self.engine.dispose()

    aclose = close
    """For `contextlib.aclosing`."""

    @contextlib.asynccontextmanager
    async def _begin(self, *, writes: bool, isolation: str = "", timed: bool = False) -> AsyncIterator[AsyncConnection]:
        async with contextlib.AsyncExitStack() as stack:
            with self._errors():
                if writes and self._is_sqlite:
                    await stack.enter_async_context(self._turn())
                connection = await stack.enter_async_context(self.engine.connect())
                await connection.execution_options(runway_writes=writes, runway_is_timed=timed)
                if isolation and not self._is_sqlite:  # whose readers always see one state
                    await connection.execution_options(isolation_level=isolation)
                await stack.enter_async_context(connection.begin())
            yield connection

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        # SQLite lets whoever waits for its lock sleep, and go hungry beside one that writes on and on.
        queue = _queues.setdefault(asyncio.get_running_loop(), {}).setdefault(self.engine.url.database or "", asyncio.Lock())
        async with asyncio.timeout(self._queue_s):
            await queue.acquire()
        try:
            yield
        finally:
            queue.release()

    def _translate(self, context: ExceptionContext) -> DependencyDown | None:
        # What goes wrong with a statement or at the end of a transaction, and nothing else that its user does meanwhile.
        error = context.sqlalchemy_exception or context.original_exception
        outage = outage_of(error)
        if outage and outage.remedy == STANDBY:
            context.is_disconnect = True  # and all other connections go, which lead there too
        return self._down(error, outage) if outage else None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            outage = outage_of(error)
            if outage is None:
                raise
            raise self._down(error, outage) from error

    def _down(self, error: BaseException, outage: Outage) -> DependencyDown:
        place = self.engine.url.render_as_string(hide_password=True)
        said = getattr(error, "orig", None) or error
        why = next(iter(str(said).splitlines()), "") or type(said).__name__
        service, variable = self._migrations.service, self._migrations.variable
        sentence = f"The {service}'s database {place} does not answer: {why}."
        return outage.kind(sentence, outage.remedy.format(variable=variable))

    def _place(self) -> int | None:
        """What tells one database from another in its place: the file's inode, None where it is missing."""
        if not self._is_sqlite:
            return 0
        try:
            return os.stat(self.engine.url.database or "").st_ino
        except OSError:
            return None

    async def _leave(self, place: int | None) -> None:
        # Open connections would go on writing into a file that nobody can find any more; new ones would make an empty one.
        await self.engine.dispose()
        if place is None:
            raise self._down(FileNotFoundError("its file is gone"), Outage(DependencyDown, START))


_upgrading: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _upgrades() -> asyncio.Lock:
    # Alembic keeps what it works on in globals of its module: of two services' databases, one after the other is upgraded.
    return _upgrading.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def database_url(url: str | None, home: Path, variable: str = "RUNWAY_DATABASE") -> sa.URL:
    """The URL with the driver that we use; SQLite in `home/registry.db` without one. Raises ConfigError, naming the variable.

    >>> database_url("postgresql://runway@db/runway", Path("/h")).drivername
    'postgresql+asyncpg'
    >>> database_url(None, Path("/h")).database
    '/h/registry.db'
    """
    if not url:
        return sa.URL.create(DRIVERS["sqlite"], database=str(home / "registry.db"))
    remedy = "Give postgresql://USER:PASSWORD@HOST/NAME or sqlite:////PATH/FILE."
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise ConfigError(f"{variable} is not a URL.", remedy) from None
    driver = DRIVERS.get(parsed.get_backend_name())
    if driver is None or (driver == DRIVERS["sqlite"] and not parsed.database):
        raise ConfigError(f"{variable} names {parsed.get_backend_name()!r}, which cannot be used.", remedy)
    return _with_ssl(parsed.set(drivername=driver), variable, remedy)


def _with_ssl(url: sa.URL, variable: str, remedy: str) -> sa.URL:
    # libpq's name for it, which people know, is not the driver's.
    query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    unknown = sorted(query.keys() - QUERY)
    if unknown:
        raise ConfigError(f"{variable} has the parameter {unknown[0]!r}, which cannot be used.", remedy)
    return url.set(query=query)


async def insert_new(connection: AsyncConnection, table: sa.Table, **values: Any) -> bool:
    """Inserts a row unless one of the same primary key is there, and says whether it did."""
    return await insert_all_new(connection, table, [values]) == 1


async def insert_all_new(connection: AsyncConnection, table: sa.Table, rows: list[dict[str, Any]]) -> int:
    """Inserts the rows whose primary keys are not there yet, and says how many those were."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    added, at_once = 0, PARAMETERS // max(1, len(table.columns))
    for start in range(0, len(rows), at_once):
        insert = dialect.insert(table).values(rows[start : start + at_once]).on_conflict_do_nothing()
        added += (await connection.execute(insert)).rowcount
    return added


def _configure_sqlite(connection: Any, record: Any) -> None:
    # The driver would begin transactions by itself, too late and without the lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON", "cache_size=-32768"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    # SQLite has no time limit of its own; it asks this now and then whether to give up. What is cancelled runs on until then,
    # with its own clock, while another connection has taken its place in the pool.
    clock = record.info[CLOCK] = _Clock()
    connection.run_async(lambda driver: driver.set_progress_handler(clock.is_late, LOOK_EVERY))


class _Clock:
    until = math.inf

    def is_late(self) -> bool:
        return time.monotonic() > self.until


def _start_clock(limit_s: float, connection: sa.Connection, *_statement: Any) -> None:
    # What streams rows, or changes tables, takes the time that it takes.
    is_timed = connection.get_execution_options().get("runway_is_timed")
    connection.info[CLOCK].until = time.monotonic() + limit_s if is_timed else math.inf


def _let_go(connection: Any, _record: Any, _error: Any) -> None:
    # A connection that was cancelled is closed, but holds its locks for as long as anything still names its last statement.
    async def give_up(driver: Any) -> None:
        with contextlib.suppress(ValueError, sqlite3.Error):  # it may be closed already
            await driver.interrupt()
            await driver.rollback()

    connection.run_async(give_up)


def _write_ahead(cursor: Any) -> None:
    # A new file is switched by one connection; SQLite tells the others at once that it is locked, and waits for nobody.
    for left in reversed(range(SWITCHES)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(SWITCH_S)


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("runway_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
