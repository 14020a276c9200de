"""What one API process does for lineage at a time: follow the registry, ask Metaflow, bring what waits to the graph."""

import logging
import random
from collections.abc import Iterator, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from api.discoverer import Discoverer
from api.lineage_parts import Lineage
from api.registry_lineage import flow_of, report_of
from runway_streams.dependency.cursors import cursor_name
from runway_streams.dependency.metaflow.discovery import Discovery
from runway_streams.dependency.refusals import ReportsRefused
from runway_streams.dependency.report import Report
from runway_streams.duty import Duty
from runway_streams.registry import audit_log, catalog, versions
from runway_streams.registry.audit_log import Note
from runway_streams.registry.catalog import Entry
from runway_streams.registry.changes import Registry
from runway_streams.registry.versions import VersionEntry

SETTLED_MS = 60_000
"""Changes younger than this are read again: one that was begun before may be committed after."""
CHANGES = 500
"""Changes that are read at a time."""
EDGES = 5_000
"""Edges that are told at a time: less than a second's work of each store."""
FOLLOWER = "registry"
OF_VERSION = ("version.create", "version.move")
_log = logging.getLogger(__name__)


class RegistryFollower(Duty):
    """Tells the graph what the registry says, change after change, and has the runs of new versions asked for, where Metaflow is
    set. What the graph refuses is left out, alone. Where nothing more can be kept, the changes stay untold until it can. A graph
    that is another than before, for it was lost, or another is set, is told all from the beginning."""

    task_name = "lineage of the registry"
    duty = "lineage-registry"

    def __init__(self, registry: Registry, lineage: Lineage, holder: str):
        super().__init__(registry, holder)
        self._lineage = lineage
        self._told: dict[int, int] = {}
        """Changes that were told already though the cursor is not past them, and when they were made."""
        self._cursor = ""
        """The cursor of these."""

    async def step(self) -> bool:
        cursor = cursor_name(FOLLOWER, await self._graph())
        if cursor != self._cursor:
            self._cursor, self._told = cursor, {}
        begin = await self._lineage.cursors.get(cursor, 0)
        async with self.registry.read() as connection:
            changes = await audit_log.after(connection, begin, CHANGES + len(self._told))
            new = [change for change in changes if change.seq not in self._told]
            entries = await changed(connection, new)
        if entries:
            await self._tell(entries)
        self._told |= {change.seq: change.at for change in new}
        settled = [change.seq for change in changes if change.at < self.registry.now() - SETTLED_MS]
        if settled:
            await self._lineage.cursors.put(cursor, settled[-1])
            self._told = {seq: at for seq, at in self._told.items() if seq > settled[-1]}
        return len(new) >= CHANGES

    async def _graph(self) -> str:
        """The graph that is told; while it does not answer the one known last, for which what is told waits."""
        known = await self._lineage.cursors.graph()
        found = await self._lineage.graph.identity()
        if found is None or found == known:
            return known
        _log.warning("The lineage graph is new here: it is told all that the registry says, and runs are asked for again.")
        await self._lineage.discoveries.ask_again(self.registry.now())
        await self._lineage.cursors.begin_anew(found)  # last: until then all of this is done again
        return found

    async def _tell(self, entries: Sequence[Entry | VersionEntry]) -> None:
        # The runs first: once noted, they are not noted again where the reports find no room.
        if self._lineage.metaflow:
            await self._lineage.discoveries.ask(runs_of(entries), self.registry.now())
        self.left_out = ""
        for portion in portions([report_of(entry) for entry in entries], EDGES):
            try:
                await self._lineage.graph.tell(portion)
            except ReportsRefused as error:  # the others are told, and those that come next
                self.left_out = f"The lineage graph has not all that the registry says: {error}"
                _log.error("%s", self.left_out)


async def changed(connection: AsyncConnection, changes: Sequence[Note]) -> list[Entry | VersionEntry]:
    """The registered models and the versions that changes were made to, as they are now."""
    model_ids = {one.target for one in changes if one.action.startswith("model.")}
    places = {
        (one.model_id, one.target.removeprefix(f"{one.model_id}@"))
        for one in changes
        if one.model_id and one.action in OF_VERSION
    }
    models = [entry for entry in await catalog.among(connection, model_ids) if entry.registered]
    return [*models, *await versions.among(connection, places)]


def runs_of(entries: Sequence[Entry | VersionEntry]) -> list[Discovery]:
    """The runs of Metaflow that made the versions among these."""
    made = [one for one in entries if isinstance(one, VersionEntry) and flow_of(one.version.training_run)]
    return [
        Discovery(pathspec=one.version.training_run or "", model_id=one.model_id, version=one.version.version)
        for one in made
    ]


def portions(reports: Sequence[Report], edges: int) -> Iterator[list[Report]]:
    """The reports in their order, in portions of so many edges at most, or of one report.

    >>> [len(few) for few in portions([Report("registry", 1, [])] * 3, edges=2)]
    [2, 1]
    """
    portion: list[Report] = []
    room = edges
    for report in reports:
        size = max(1, len(report.claims))
        if portion and size > room:
            yield portion
            portion, room = [], edges
        portion.append(report)
        room -= size
    if portion:
        yield portion


class QueueDrain(Duty):
    """Brings reports that wait to the graph, once it answers again."""

    task_name = "lineage queue"
    duty = "lineage-queue"

    def __init__(self, registry: Registry, lineage: Lineage, holder: str):
        super().__init__(registry, holder)
        self._lineage = lineage

    async def step(self) -> bool:
        return await self._lineage.graph.drain() > 0


class MetaflowFollower(Duty):
    """Asks Metaflow for the runs that are due, and for new runs of models' flows."""

    task_name = "lineage of Metaflow"
    duty = "lineage-metaflow"

    def __init__(self, registry: Registry, discoverer: Discoverer, holder: str):
        super().__init__(registry, holder)
        self._discoverer = discoverer

    async def step(self) -> bool:
        if await self._discoverer.discover_due(random.random):
            return True
        await self._discoverer.follow_flows()
        return False
