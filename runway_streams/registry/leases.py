"""Leases: duties that one process of many does at a time, until it ends or does not renew."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from runway_streams.database import insert_new
from runway_streams.errors import RunwayError
from runway_streams.registry.changes import Change, Registry
from runway_streams.registry.tables import leases
from runway_streams.times import HOUR

RENEWALS = 3
"""How often a lease is renewed within its time."""


class LostLease(RunwayError):
    """Another process has taken the duty over."""


async def take(change: Change, duty: str, holder: str, for_ms: int) -> bool:
    """Takes a duty for `for_ms` from now, or renews it; False where another holds it and its time has not run out."""
    free = (leases.c.holder == holder) | (leases.c.until <= change.now)
    row = {"holder": holder, "until": change.now + for_ms}
    taken = await change.execute(leases.update().where(leases.c.duty == duty, free).values(row))
    return taken.rowcount == 1 or await insert_new(change.connection, leases, duty=duty, **row)


async def renew(change: Change, duty: str, holder: str, for_ms: int) -> None:
    """Renews what is held; raises LostLease where it is not. What else the transaction writes is written by the holder: whoever
    takes the duty over does so after it."""
    mine = (leases.c.duty == duty) & (leases.c.holder == holder)
    if (await change.execute(leases.update().where(mine).values(until=change.now + for_ms))).rowcount != 1:
        raise LostLease(f"Another process does {duty} now.", "Nothing needs to be done.")


async def release(change: Change, duty: str, holder: str) -> None:
    """Lets go of a duty, if it is held."""
    await change.execute(leases.delete().where(leases.c.duty == duty, leases.c.holder == holder))


class Lease:
    """One duty of one holder, a name that no other process has.

    lease = Lease(registry, "settings-relay", holder, 10_000)
    if await lease.take():
        await lease.while_held(work())
    """

    def __init__(self, registry: Registry, duty: str, holder: str, for_ms: int):
        self.duty, self.holder, self.for_ms = duty, holder, for_ms
        self._registry = registry

    async def take(self) -> bool:
        """See `take`."""
        async with self._registry.change(self.duty) as change:
            return await take(change, self.duty, self.holder, self.for_ms)

    async def renew(self, change: Change) -> None:
        """See `renew`."""
        await renew(change, self.duty, self.holder, self.for_ms)

    async def release(self) -> None:
        """See `release`."""
        async with self._registry.change(self.duty) as change:
            await release(change, self.duty, self.holder)

    async def while_held(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs the work and renews the lease beside it. Raises what the work raises; LostLease, or DependencyDown where the
        lease cannot be renewed, after it has cancelled the work."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._keep())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.for_ms / 1000 / RENEWALS)
            async with self._registry.change(self.duty) as change:
                await self.renew(change)


async def clear_leases(change: Change) -> int:
    """Deletes leases that ran out an hour ago, and says how many."""
    return (await change.execute(leases.delete().where(leases.c.until < change.now - HOUR))).rowcount
