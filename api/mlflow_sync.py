"""MlflowSync: polls MLflow, in one API process at a time."""

import asyncio
import logging

from runway_streams.duty import Duty
from runway_streams.errors import RunwayError
from runway_streams.registry.import_cursors import ImportState
from runway_streams.registry.mlflow.importer import MlflowImport, due_in
from runway_streams.registry.mlflow.sync import Report
from runway_streams.telemetry import Imported

LONGEST_SLEEP_S = 30.0
"""So often it looks whether a sync is due: a command may have done one meanwhile."""
_log = logging.getLogger(__name__)


class MlflowSync(Duty):
    """Runs the import whenever it is due by what the database says, so a new leader goes on where the one before stopped.

    A sync that fails is tried again a minute later; `problem` and the database say why.
    """

    task_name = "MLflow sync"
    duty = "mlflow-sync"

    def __init__(self, importer: MlflowImport, holder: str):
        super().__init__(importer.registry, holder)
        self._importer = importer
        self._state = ImportState()
        self._done = Report()

    def imported(self) -> Imported:
        """What telemetry shows."""
        at, done = self._state.at, self._done
        age = None if at is None else max(0.0, (self.registry.now() - at) / 1000)
        return Imported(age, created=done.created, moved=done.moved, skipped=done.skipped)

    async def _beside(self) -> None:
        self._state = await self._importer.state()

    async def _work(self) -> None:
        while True:
            await self._beside()
            wait = due_in(self._state, self.registry.now(), self._importer.settings.poll_ms)
            if wait == 0:
                await self._sync()
            else:
                await asyncio.sleep(min(wait / 1000, LONGEST_SLEEP_S))

    async def _sync(self) -> None:
        try:
            report = await self._importer.sync()
        except RunwayError as error:
            # If this is the database's own failure, it is raised again here, and the duty is let go.
            await self._importer.note_problem(str(error))
            if str(error) != self.problem:
                _log.warning("%s: %s", self.duty, error)
            self.problem = str(error)
            return
        self._went_well()
        for name in ("created", "moved", "skipped"):
            setattr(self._done, name, getattr(self._done, name) + getattr(report, name))
        if report.created or report.moved or report.skipped:
            _log.info(
                "%s: %d versions created, %d moved, %d skipped.", self.duty, report.created, report.moved, report.skipped
            )
