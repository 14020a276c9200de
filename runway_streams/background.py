"""Background: something that runs beside its owner on the same event loop, from `start` to `stop`."""

import asyncio
import contextlib


class Background:
    """A subclass says in `_run` what it does, and in `task_name` what it is called. It keeps nothing running after `stop`."""

    task_name = ""
    _task: asyncio.Task | None = None

    def start(self) -> None:
        """Begins, on the running loop."""
        self._task = asyncio.create_task(self._run(), name=self.task_name)

    async def stop(self) -> None:
        """Ends."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        raise NotImplementedError
