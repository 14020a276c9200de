"""MetaflowPoll: which runs of a flow have ended since the last look; a cursor remembers how far that was.

A run may be started first and end last, so the cursor has the start of the oldest run that is still open, and the runs after
it that were given already. Each run that ends well is given once, as long as the cursor is kept; after that again, which
changes nothing, as reports and versions are the same.

Nothing tells of a run that it has failed: it stays open. An open run is asked for again after a share of its age, so that a look
costs little however many have failed.
"""

from msgspec import Struct

from runway_streams.dependency.metaflow.run import MetaflowRun, gather_run, has_ended
from runway_streams.dependency.metaflow.runs import MetaflowRuns, RunRecord
from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from runway_streams.times import DAY

GIVE_UP = 14 * DAY
"""A run that has not ended this long after its start has failed; no end is told of failed runs."""
MAX_AT_ONCE = 100
"""Runs of one look: those that nobody has looked at yet, the oldest first, then those that are due again the longest."""
AGE_SHARE = 32
"""An open run is looked at again when it has become older by 1/32: one of 16 minutes after 30 s, one of a day after 45 minutes."""
MAX_GIVEN = 10_000
"""Runs that a cursor remembers, the newest."""


class Cursor(Struct, frozen=True):
    """`since` is the start (epoch ms) of the oldest run that may still end; `given` are the ids of those since that are done,
    and `later` has when the open ones are to be looked at again."""

    since: int = 0
    given: tuple[str, ...] = ()
    later: dict[str, int] = {}


class Look(Struct):
    """Runs that have ended well, in the order of their ends, as the graph takes them best; the next cursor; notes on runs that
    cannot be read; and whether there are more that nobody has looked at."""

    ended: list[MetaflowRun]
    cursor: Cursor
    notes: list[str] = []
    more: bool = False


async def look(runs: MetaflowRuns, flow: str, cursor: Cursor, now: int) -> Look:
    """Looks once, at `now` (epoch ms). Raises DependencyDown or ConfigError, and then the cursor stays as it is."""
    listed = await runs.runs(flow, cursor.since)
    given, later = set(cursor.given), dict(cursor.later)
    ended: list[MetaflowRun] = []
    notes: list[str] = []
    due = [record for record in listed if record.id not in given and later.get(record.id, 0) <= now]
    due.sort(key=lambda record: (later.get(record.id, 0), record.ts_epoch, record.id))
    for record in due[:MAX_AT_ONCE]:
        run = await _ended(runs, record, notes)
        if run is not None:
            ended.append(run)
        if run is not None or record.ts_epoch + GIVE_UP <= now:
            given.add(record.id)
        else:
            later[record.id] = now + max(0, now - record.ts_epoch) // AGE_SHARE
    ended.sort(key=lambda run: (run.finished_at or 0, run.id))
    open_ = [record for record in listed if record.id not in given]
    since = min((record.ts_epoch for record in open_), default=_newest(listed, cursor.since))
    kept = tuple(record.id for record in listed if record.id in given and record.ts_epoch >= since)[-MAX_GIVEN:]
    waiting = {record.id: later[record.id] for record in open_ if record.id in later}
    return Look(ended, Cursor(since, kept, waiting), notes, any(record.id not in later for record in due[MAX_AT_ONCE:]))


async def _ended(runs: MetaflowRuns, record: RunRecord, notes: list[str]) -> MetaflowRun | None:
    try:
        run = await gather_run(runs, record) if await has_ended(runs, record) else None
    except (DependencyDown, ConfigError):
        raise
    except RunwayError as error:  # this run alone; the others go on
        notes.append(f"The run {record.flow_id}/{record.id} cannot be read. {error}")
        return None
    return run if run and run.finished_at is not None else None


def _newest(listed: list[RunRecord], since: int) -> int:
    return max((record.ts_epoch for record in listed), default=since)
