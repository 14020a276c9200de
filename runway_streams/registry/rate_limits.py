"""Rate limits: how many requests of a principal are answered a minute, by all processes together.

A minute is a window that all processes share, by their clocks. A process takes requests from the database in portions, each
by one atomic statement, and gives them out by itself: so all together never answer more than the limit, and the database
is asked some twenty times a minute and principal, not at each request. A window is full or new; around its edge up to twice
the limit may be answered within 60 s.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import Database
from runway_streams.errors import DependencyDown
from runway_streams.registry.changes import Change
from runway_streams.registry.tables import rate_windows
from runway_streams.times import HOUR, MINUTE

PORTIONS = 20
"""A portion is the limit divided by this."""
MAX_PRINCIPALS = 10_000
"""Of which a process keeps what it has left; the one that asked longest ago gives way, and takes anew."""
ANSWER_S = 2.0
"""How long a request waits for the database."""
RETRY_AFTER = 5_000
"""For so long (ms) a database that was down is not asked again."""
KEPT = HOUR

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is answered, else after how many seconds it may come again; `degraded` where this process counts
    alone, because the database is down."""

    allowed: bool
    wait_s: int = 0
    degraded: bool = False


@dataclass(slots=True)
class Share:
    """What a process has of one principal's window: `left` to give out, `portion` to take next, 0 once there is no more."""

    window: int
    portion: int
    left: int = 0
    given: int = 0
    degraded: bool = False
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)


class RateLimiter:
    """At most `limit` requests a minute of each principal. While the database is down each process allows `limit` by itself."""

    def __init__(self, database: Database, limit: int, now: Callable[[], int]):
        self.limit = limit
        self._database, self._now = database, now
        self._shares: OrderedDict[str, Share] = OrderedDict()
        self._down_until = 0

    @property
    def degraded(self) -> bool:
        """Whether the database did not answer when it was asked last."""
        return self._now() < self._down_until

    async def take(self, principal: str) -> Verdict:
        """Takes one request."""
        now = self._now()
        share = self._share(principal, now // MINUTE)
        if not share.left and share.portion:
            async with share.taking:
                await self._refill(principal, share)
        if not share.left:
            return Verdict(False, -(-(MINUTE - now % MINUTE) // 1000), share.degraded)
        share.left -= 1
        share.given += 1
        return Verdict(True, degraded=share.degraded)

    def _share(self, principal: str, window: int) -> Share:
        share = self._shares.get(principal)
        if share is None or share.window != window:
            share = self._shares[principal] = Share(window, max(1, self.limit // PORTIONS))
            if len(self._shares) > MAX_PRINCIPALS:
                self._shares.popitem(last=False)
        self._shares.move_to_end(principal)
        return share

    async def _refill(self, principal: str, share: Share) -> None:
        # Near the limit a whole portion does not fit any more: halves of it find what is left.
        while not share.left and share.portion:
            if not await self._ask(principal, share):
                share.portion //= 2

    async def _ask(self, principal: str, share: Share) -> bool:
        if not self.degraded:
            try:
                async with asyncio.timeout(ANSWER_S), self._database.write() as connection:
                    taken = await _take(connection, principal, share.window, share.portion, self.limit)
            except (DependencyDown, TimeoutError) as error:
                self._down_until = self._now() + RETRY_AFTER
                _log.warning("Requests are limited by each process for itself: %s", error or "the database is slow.")
            else:
                share.left += share.portion if taken else 0
                return taken
        share.degraded, share.portion, share.left = True, 0, max(0, self.limit - share.given)
        return True


async def clear_windows(change: Change) -> int:
    """Deletes windows that ended an hour ago, and says how many."""
    old = rate_windows.c.window < (change.now - KEPT) // MINUTE
    return (await change.execute(rate_windows.delete().where(old))).rowcount


async def _take(connection: AsyncConnection, principal: str, window: int, count: int, limit: int) -> bool:
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    together = rate_windows.c.taken + count
    first = insert(rate_windows).values(principal=principal, window=window, taken=count)
    statement = first.on_conflict_do_update(
        index_elements=[rate_windows.c.principal, rate_windows.c.window],
        set_={"taken": together},
        where=together <= limit,
    )
    return (await connection.execute(statement.returning(sa.literal(1)))).first() is not None
