"""MetaflowPoll: which runs of a flow have ended since the last look; a cursor remembers how far that was.

A run may be started first and end last, so the cursor has the start of the oldest run that is still open, and the runs after
it that were given already. Each run that ends well is given once, as long as the cursor is kept; after that again, which
changes nothing, as reports and versions are the same.
"""

from msgspec import Struct

from runway_streams.dependency.metaflow.run import MetaflowRun, gather_run
from runway_streams.dependency.metaflow.runs import MetaflowRuns, RunRecord
from runway_streams.times import DAY

GIVE_UP = 14 * DAY
"""A run that has not ended this long after its start has failed; no end is told of failed runs."""
MAX_AT_ONCE = 100
"""Runs of one look; the next goes on behind them, and begins anew at the end, so that runs that stay open hide no others."""
MAX_GIVEN = 10_000
"""Runs that a cursor remembers, the newest."""


class Cursor(Struct, frozen=True):
    """`since` is the start (epoch ms) of the oldest run that may still end; `given` are the ids of those since that are done;
    `ahead` is where the next look goes on, by start and id."""

    since: int = 0
    given: tuple[str, ...] = ()
    ahead: tuple[int, str] = (0, "")


class Look(Struct):
    """Runs that have ended well, in the order of their ends, as the graph takes them best; the next cursor; and whether to
    look again at once."""

    ended: list[MetaflowRun]
    cursor: Cursor
    more: bool = False


async def look(runs: MetaflowRuns, flow: str, cursor: Cursor, now: int) -> Look:
    """Looks once, at `now` (epoch ms). Raises DependencyDown, and then the cursor stays as it is."""
    listed = await runs.runs(flow, cursor.since)
    given, ended = set(cursor.given), []
    ahead = [record for record in listed if record.id not in given and _place(record) >= cursor.ahead]
    for record in ahead[:MAX_AT_ONCE]:
        run = await gather_run(runs, record)
        if run.finished_at is not None:
            ended.append(run)
        if run.finished_at is not None or record.ts_epoch + GIVE_UP <= now:
            given.add(record.id)
    ended.sort(key=lambda run: (run.finished_at or 0, run.id))
    rest = ahead[MAX_AT_ONCE:]
    since = min((one.ts_epoch for one in listed if one.id not in given), default=_newest(listed, cursor.since))
    kept = [record.id for record in listed if record.id in given and record.ts_epoch >= since]
    return Look(ended, Cursor(since, tuple(kept[-MAX_GIVEN:]), _place(rest[0]) if rest else (0, "")), bool(rest))


def _place(record: RunRecord) -> tuple[int, str]:
    return record.ts_epoch, record.id


def _newest(listed: list[RunRecord], since: int) -> int:
    return max((record.ts_epoch for record in listed), default=since)
