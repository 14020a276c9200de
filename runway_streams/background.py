"""Background: something that runs beside its owner on the same event loop, from `start` to `stop`."""

import asyncio
import contextlib
import logging

_log = logging.getLogger(__name__)


class Background:
    """A subclass says in `_run` what it does, and in `task_name` what it is called. It keeps nothing running after `stop`.

    An error that leaves `_run` is a bug: it ends the process, with its traceback, rather than one part of it in silence.
    """

    task_name = ""
    _task: asyncio.Task | None = None

    def start(self) -> None:
        """Begins, on the running loop."""
        self._task = asyncio.create_task(self._run(), name=self.task_name)
        self._task.add_done_callback(_crash)

    async def stop(self) -> None:
        """Ends."""
        if self._task:
            self._task.remove_done_callback(_crash)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        raise NotImplementedError


def _crash(task: asyncio.Task) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    _log.critical("The %s has ended by an error, and this process with it.", task.get_name(), exc_info=error)
    # Of all exceptions in a callback, the loop lets this one out to whoever runs it.
    raise SystemExit(1) from error
