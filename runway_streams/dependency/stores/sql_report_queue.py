"""SqlReportQueue: reports that wait for the graph, in the service's own database."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec
import sqlalchemy as sa

from runway_streams.database import Database
from runway_streams.dependency.refusals import QueueFull
from runway_streams.dependency.report import Report
from runway_streams.dependency.report_queue import BATCH, BATCH_BYTES, MAX_ASIDE, MAX_WAITING, MAX_WAITING_BYTES, Waiting
from runway_streams.dependency.stores.tables import waiting_reports as reports

MAX_PROBLEM = 1_000
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Report).decode
_WAITS = reports.c.set_aside == sa.false()


class SqlReportQueue:
    """Implements the port ReportQueue."""

    def __init__(self, database: Database, max_waiting: int = MAX_WAITING, max_bytes: int = MAX_WAITING_BYTES):
        self._database, self._max_waiting, self._max_bytes = database, max_waiting, max_bytes

    async def add(self, reports_: Sequence[Report], now: int, problem: str = "") -> None:
        rows = [_row(_encode(report), now, problem) for report in reports_]
        if not rows:
            return
        total = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(reports.c.bytes), 0)).where(_WAITS)
        async with self._database.write() as connection:
            waiting, size = (await connection.execute(total)).one()
            size += sum(row["bytes"] for row in rows)
            if waiting + len(rows) > self._max_waiting or size > self._max_bytes:
                raise QueueFull(
                    f"The lineage graph does not answer, and {waiting} reports wait for it already.",
                    "See that it runs (`runway doctor`); then send this again.",
                )
            await connection.execute(reports.insert(), rows)

    async def oldest(self, limit: int = BATCH) -> list[Waiting]:
        first = sa.select(reports.c.number, reports.c.bytes).where(_WAITS).order_by(reports.c.number).limit(limit)
        async with self._database.read() as connection:
            found = (await connection.execute(first)).all()
            sums = accumulate(row.bytes for row in found)
            numbers = [row.number for row, total in zip(found, sums, strict=True) if total <= BATCH_BYTES]
            numbers = numbers or [row.number for row in found[:1]]
            query = sa.select(reports).where(reports.c.number.in_(numbers)).order_by(reports.c.number)
            return [Waiting(row.number, _decode(row.report), row.attempts) for row in await connection.execute(query)]

    async def done(self, numbers: Sequence[int]) -> None:
        async with self._database.write() as connection:
            await connection.execute(reports.delete().where(reports.c.number.in_(numbers)))

    async def failed(self, numbers: Sequence[int], problem: str) -> None:
        values = {"attempts": reports.c.attempts + 1, "problem": _short(problem)}
        async with self._database.write() as connection:
            await connection.execute(reports.update().where(reports.c.number.in_(numbers)).values(values))

    async def set_aside(self, problems: Mapping[int, str]) -> None:
        kept = sa.select(reports.c.number).where(~_WAITS).order_by(reports.c.number.desc()).limit(MAX_ASIDE)
        async with self._database.write() as connection:
            for number, problem in problems.items():
                values = {"set_aside": True, "problem": _short(problem)}
                await connection.execute(reports.update().where(reports.c.number == number).values(values))
            await connection.execute(reports.delete().where(~_WAITS, reports.c.number.not_in(kept)))

    async def size(self) -> int:
        return await self._count(_WAITS)

    async def aside(self) -> int:
        return await self._count(~_WAITS)

    async def _count(self, condition: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(reports).where(condition)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one()


def _row(report: bytes, now: int, problem: str) -> dict[str, Any]:
    return {
        "bytes": len(report),
        "set_aside": False,
        "report": report.decode(),
        "attempts": 0,
        "problem": _short(problem),
        "created_at": now,
    }


def _short(problem: str) -> str:
    # PostgreSQL keeps no NUL, and the words may be another server's.
    return problem.replace("\0", "")[:MAX_PROBLEM]
