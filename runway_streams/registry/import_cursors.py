"""Import cursors: how far the import from another registry has come, and how its last syncs went; for all processes alike."""

from dataclasses import dataclass, replace

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import insert_new
from runway_streams.registry.changes import Change
from runway_streams.registry.mlflow.sync import Report
from runway_streams.registry.tables import import_cursors

LISTED = 100
"""Notes and reasons of a report that are kept; it counts all."""
MAX_PROBLEM = 1_000

_decode = msgspec.json.Decoder(Report).decode


@dataclass(frozen=True, slots=True)
class ImportState:
    """`cursor` (ms) is where the next poll goes on, None before the first. `at` is when a sync has ended well, `full_at` when
    one of everything has; their reports beside them. `problem` is that of the newest sync, "" where it went well."""

    cursor: int | None = None
    at: int | None = None
    full_at: int | None = None
    report: Report | None = None
    full_report: Report | None = None
    problem: str = ""
    problem_at: int | None = None


async def state_of(connection: AsyncConnection, uri: str) -> ImportState:
    """How the import from `uri` stands."""
    row = (await connection.execute(sa.select(import_cursors).where(import_cursors.c.uri == uri))).first()
    if row is None:
        return ImportState()
    return ImportState(
        cursor=row.cursor,
        at=row.at,
        full_at=row.last_full_at,
        report=_read(row.report),
        full_report=_read(row.full_report),
        problem=row.problem,
        problem_at=row.problem_at,
    )


async def note_success(change: Change, uri: str, report: Report, *, full: bool) -> None:
    """A sync has ended well; the next one goes on at its cursor."""
    text = msgspec.json.encode(shortened(report)).decode()
    said = {"cursor": report.cursor, "at": change.now, "report": text, "problem": "", "problem_at": None}
    await _put(change, uri, said | ({"last_full_at": change.now, "full_report": text} if full else {}))


async def note_problem(change: Change, uri: str, problem: str) -> None:
    """A sync has failed; what the ones before have done stays noted."""
    # PostgreSQL keeps no NUL, and the words may be another server's.
    text = problem.replace("\0", "")[:MAX_PROBLEM]
    await _put(change, uri, {"problem": text, "problem_at": change.now})


def shortened(report: Report) -> Report:
    """The report with its first 100 reasons and notes.

    >>> len(shortened(Report(notes=["cut"] * 200)).notes)
    100
    """
    reasons, notes = report.reasons[:LISTED], report.notes[:LISTED]
    return replace(report, reasons=reasons, notes=notes)


async def _put(change: Change, uri: str, said: dict) -> None:
    row = {"problem": "", **said}
    if not await insert_new(change.connection, import_cursors, uri=uri, **row):
        await change.execute(import_cursors.update().where(import_cursors.c.uri == uri).values(said))


def _read(text: str | None) -> Report | None:
    return None if text is None else _decode(text)
