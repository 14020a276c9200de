"""Outage: an error of a driver that is about the database and not about what was asked of it, and what to do about it."""

import sqlite3
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from runway_streams.errors import DependencyDown, TooSlow

START = "Start it, or check {variable}."
LATER = "It comes by itself; if it does not, see what else uses it."
LOG = "See the server's log, and its disk."
DISK = "See that its disk works and has room."
RIGHTS = "Check {variable}, and the rights on the file and its folder."
DAMAGED = "It is damaged, or not SQLite's: put a backup in its place (`runway restore`), or check {variable}."
STANDBY = "It takes no changes, as after a failover: check that {variable} names the server that does."

SQLSTATES = {"08": START, "25006": STANDBY, "40": LATER, "53": LOG, "55P03": LATER, "57": START, "58": LOG, "XX": LOG}
"""How the code of PostgreSQL's error begins: connections, transactions that it gave up for others, what it is short of, its own
start and end, its machine."""
SQLITE = {
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT), LATER),
    **dict.fromkeys((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH), RIGHTS),
    **dict.fromkeys((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB), DAMAGED),
    **dict.fromkeys((sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM), DISK),
}
"""Primary codes of SQLite's errors; any other is about the statement."""


class Outage(NamedTuple):
    """`kind` is what is raised; `remedy` may name the `{variable}` that has the database's URL."""

    kind: type[DependencyDown]
    remedy: str


def outage_of(error: BaseException) -> Outage | None:
    """The outage that an error of a connection tells of; None where it is about the statement, or a bug.

    >>> outage_of(ConnectionResetError()).remedy
    'Start it, or check {variable}.'
    >>> outage_of(sa.exc.ProgrammingError("SELECT", {}, sqlite3.OperationalError("no such table: t")))
    """
    if isinstance(error, IntegrityError):
        return None  # what the rows say
    if isinstance(error, DBAPIError):
        return _told(error)
    if isinstance(error, TimeoutError | sa.exc.TimeoutError):
        return Outage(TooSlow, START)
    # The driver's own errors while it connects are not wrapped.
    driver = type(error).__module__.startswith("asyncpg") and not isinstance(error, SQLAlchemyError)
    return Outage(DependencyDown, START) if driver or isinstance(error, OSError) else None


def _told(error: DBAPIError) -> Outage | None:
    code, state = getattr(error.orig, "sqlite_errorcode", None), getattr(error.orig, "sqlstate", None)
    if code is not None:
        primary = code & 0xFF
        kind = TooSlow if primary == sqlite3.SQLITE_INTERRUPT else DependencyDown  # so ends what takes too long
        return Outage(kind, SQLITE[primary]) if primary in SQLITE else None
    if state is not None:
        remedy = next((remedy for begin, remedy in SQLSTATES.items() if state.startswith(begin)), None)
        return None if remedy is None else Outage(DependencyDown, remedy)
    # Without a code it comes from the driver, most often of a connection that has ended.
    ended = error.connection_invalidated or isinstance(error, sa.exc.InterfaceError | sa.exc.InternalError)
    ended = ended or isinstance(error.orig, OSError) or any(word in str(error.orig) for word in ("timeout", "connection"))
    return Outage(DependencyDown, START) if ended else None
