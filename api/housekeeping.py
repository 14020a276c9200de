"""Housekeeping: every hour one process deletes what the registry need not keep."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from runway_streams.duty import Duty
from runway_streams.registry.changes import Change, Registry

EVERY_S = 3600.0

Chore = Callable[[Change], Awaitable[int]]
"""Deletes something and says how much."""
_log = logging.getLogger(__name__)


class Housekeeping(Duty):
    """Does the chores, each in a transaction of its own."""

    task_name = "housekeeping"
    duty = "housekeeping"

    def __init__(self, registry: Registry, chores: Sequence[Chore], holder: str, every_s: float = EVERY_S):
        super().__init__(registry, holder)
        self._chores, self.every_s = chores, every_s

    async def step(self) -> bool:
        for chore in self._chores:
            async with self.registry.change(self.duty) as change:
                deleted = await chore(change)
            if deleted:
                _log.info("%s: %d rows deleted.", chore.__name__, deleted)
        return False
