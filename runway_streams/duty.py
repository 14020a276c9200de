"""Duty: what one process of all that run does at a time, by a lease in the registry."""

import asyncio
import logging
import time

from runway_streams.background import Background
from runway_streams.errors import RunwayError
from runway_streams.registry.changes import Registry
from runway_streams.registry.leases import Lease, LostLease

LEASE_MS = 10_000
"""After this long without a renewal another process takes over."""
ASK_S = 3.0
"""How often the others ask whether the duty is free."""
FIRST_WAIT_S = 0.5
RETRY_LIMIT_S = 10.0
_log = logging.getLogger(__name__)


class Duty(Background):
    """A subclass does a piece of its work in `step`, again every `every_s`. One that works in another way does so in `_work`,
    without an end, and calls `_went_well` after each piece.

    A RunwayError ends the work and lets go of the lease; it begins again after 0.5 s, twice as long each time, 10 s at most,
    here or in another process. Everything else is a bug and ends the process. `problem` says what is wrong, "" for nothing;
    while all else goes well it is `left_out`.
    """

    duty = ""
    """The name of the lease, and who changes the registry."""
    problem = ""
    left_out = ""
    """What alone could not be done, and why."""
    every_s = 2.0
    leads = False
    """Whether this process does it now."""

    def __init__(self, registry: Registry, holder: str):
        self.registry = registry
        self.lease = Lease(registry, self.duty, holder, LEASE_MS)
        self._wait = FIRST_WAIT_S

    async def step(self) -> bool:
        """Does a piece of the work; True where there is more to do at once."""
        raise NotImplementedError

    async def _work(self) -> None:
        """Works until it is cancelled."""
        while True:
            began = time.monotonic()
            busy = await self.step()
            self._went_well()
            await asyncio.sleep(0.0 if busy else max(0.0, self.every_s - (time.monotonic() - began)))

    async def _beside(self) -> None:
        """What every process does each time that it asks for the duty."""

    async def _run(self) -> None:
        while True:
            try:
                await self._beside()
                if await self.lease.take():
                    await self._lead()
                self._went_well()
                wait = ASK_S
            except LostLease as error:
                _log.info("%s", error)
                wait = ASK_S
            except RunwayError as error:
                wait, self._wait = self._wait, min(2 * self._wait, RETRY_LIMIT_S)
                if str(error) != self.problem:
                    _log.warning("%s: %s Trying again in %.1f s.", self.duty, error, wait)
                self.problem = str(error)
            await asyncio.sleep(wait)

    async def _lead(self) -> None:
        self.leads = True
        try:
            await self.lease.while_held(self._work())
        finally:
            self.leads, self.left_out = False, ""
            await self._let_go()

    async def _let_go(self) -> None:
        try:
            await self.lease.release()
        except RunwayError as error:
            _log.info("%s: the lease runs out by itself: %s", self.duty, error)

    def _went_well(self) -> None:
        self.problem, self._wait = self.left_out, FIRST_WAIT_S
