"""What one API process does for lineage at a time: follow the registry, ask Metaflow, bring what waits to the graph."""

import asyncio
import logging
import random

from sqlalchemy.ext.asyncio import AsyncConnection

from api.discoverer import Discoverer
from api.lineage_parts import Lineage
from api.registry_lineage import flow_of, report_of_model, report_of_version
from runway_streams.dependency.metaflow.discovery import Discovery
from runway_streams.dependency.refusals import ReportsRefused
from runway_streams.dependency.report import Report
from runway_streams.duty import Duty
from runway_streams.registry import audit_log, catalog, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.refusals import Unknown

FOLLOW_S = 2.0
SETTLED_MS = 60_000
"""Changes younger than this are read again: one that was begun before may be committed after."""
CHANGES = 500
"""Changes that are read at a time."""
CURSOR = "registry"
_log = logging.getLogger(__name__)


class RegistryFollower(Duty):
    """Tells the graph what the registry says, change after change, and has the runs of new versions asked for."""

    task_name = "lineage of the registry"
    duty = "lineage-registry"

    def __init__(self, registry: Registry, lineage: Lineage, holder: str):
        super().__init__(registry, holder)
        self._lineage = lineage
        self._told: dict[int, int] = {}
        """Changes that were told already though the cursor is not past them, and when they were made."""

    async def _work(self) -> None:
        while True:
            while await self.follow():
                pass
            self._went_well()
            await asyncio.sleep(FOLLOW_S)

    async def follow(self) -> bool:
        """Tells of the next changes; True where there may be more."""
        begin = await self._lineage.cursors.get(CURSOR, 0)
        async with self.registry.read() as connection:
            changes = await audit_log.after(connection, begin, CHANGES + len(self._told))
            new = [change for change in changes if change.seq not in self._told]
            reports, wanted = await self._reports(connection, sorted({one.model_id for one in new if one.model_id}))
        try:
            await self._lineage.graph.tell(reports)
        except ReportsRefused as error:  # the others are told, and those that come next
            _log.error("What the registry says is not told whole: %s", error)
        await self._lineage.discoveries.ask(wanted, self.registry.now())
        self._told |= {change.seq: change.at for change in new}
        settled = [change.seq for change in changes if change.at < self.registry.now() - SETTLED_MS]
        if settled:
            await self._lineage.cursors.put(CURSOR, settled[-1])
            self._told = {seq: at for seq, at in self._told.items() if seq > settled[-1]}
        return len(new) >= CHANGES

    async def _reports(self, connection: AsyncConnection, model_ids: list[str]) -> tuple[list[Report], list[Discovery]]:
        reports, wanted = [], []
        for model_id in model_ids:
            found, runs = await reports_of(connection, model_id)
            reports += found
            wanted += runs
        return reports, wanted


async def reports_of(connection: AsyncConnection, model_id: str) -> tuple[list[Report], list[Discovery]]:
    """What the registry says of a model and all its versions, and the runs to be asked for."""
    try:
        entry = await catalog.get(connection, model_id)
    except Unknown:
        return [], []
    if not entry.registered:
        return [], []
    made = [one async for one in versions.all_of(connection, model_id)]
    wanted = [
        Discovery(pathspec=one.version.training_run, model_id=model_id, version=one.version.version)
        for one in made
        if one.version.training_run and flow_of(one.version.training_run)
    ]
    return [report_of_model(entry, made), *map(report_of_version, made)], wanted


class QueueDrain(Duty):
    """Brings reports that wait to the graph, once it answers again."""

    task_name = "lineage queue"
    duty = "lineage-queue"

    def __init__(self, registry: Registry, lineage: Lineage, holder: str):
        super().__init__(registry, holder)
        self._lineage = lineage

    async def _work(self) -> None:
        while True:
            while await self._lineage.graph.drain():
                pass
            self._went_well()
            await asyncio.sleep(FOLLOW_S)


class MetaflowFollower(Duty):
    """Asks Metaflow for the runs that are due, and for new runs of models' flows."""

    task_name = "lineage of Metaflow"
    duty = "lineage-metaflow"

    def __init__(self, registry: Registry, discoverer: Discoverer, holder: str):
        super().__init__(registry, holder)
        self._discoverer = discoverer

    async def _work(self) -> None:
        while True:
            while await self._discoverer.discover_due(random.random):
                pass
            await self._discoverer.follow_flows()
            self._went_well()
            await asyncio.sleep(FOLLOW_S)
