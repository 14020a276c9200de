"""SqlReportQueue: reports that wait for the graph, in the service's own database."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from runway_streams.database import Database
from runway_streams.dependency.refusals import QueueFull
from runway_streams.dependency.report import Report
from runway_streams.dependency.report_queue import BATCH, MAX_WAITING, Waiting
from runway_streams.dependency.stores.tables import waiting_reports as reports

MAX_PROBLEM = 1_000
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Report).decode


class SqlReportQueue:
    """Implements the port ReportQueue."""

    def __init__(self, database: Database, max_waiting: int = MAX_WAITING):
        self._database, self._max_waiting = database, max_waiting

    async def add(self, reports_: Sequence[Report], now: int, problem: str = "") -> None:
        rows = [
            {"report": _encode(report).decode(), "attempts": 0, "problem": _short(problem), "created_at": now}
            for report in reports_
        ]
        if not rows:
            return
        async with self._database.write() as connection:
            waiting = (await connection.execute(sa.select(sa.func.count()).select_from(reports))).scalar_one()
            if waiting + len(rows) > self._max_waiting:
                raise QueueFull(
                    f"The lineage graph does not answer, and {waiting} reports wait for it already.",
                    "See that it runs (`runway doctor`); then send this again.",
                )
            await connection.execute(reports.insert(), rows)

    async def oldest(self, limit: int = BATCH) -> list[Waiting]:
        async with self._database.read() as connection:
            rows = await connection.execute(sa.select(reports).order_by(reports.c.number).limit(limit))
            return [Waiting(row.number, _decode(row.report), row.attempts) for row in rows]

    async def done(self, numbers: Sequence[int]) -> None:
        async with self._database.write() as connection:
            await connection.execute(reports.delete().where(reports.c.number.in_(numbers)))

    async def failed(self, numbers: Sequence[int], problem: str) -> None:
        values = {"attempts": reports.c.attempts + 1, "problem": _short(problem)}
        async with self._database.write() as connection:
            await connection.execute(reports.update().where(reports.c.number.in_(numbers)).values(values))

    async def size(self) -> int:
        async with self._database.read() as connection:
            return (await connection.execute(sa.select(sa.func.count()).select_from(reports))).scalar_one()


def _short(problem: str) -> str:
    # PostgreSQL keeps no NUL, and the words may be another server's.
    return problem.replace("\0", "")[:MAX_PROBLEM]
