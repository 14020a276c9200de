"""The parts of lineage in a process: the graph over its store, and Metaflow where it is set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.dependency.cursors import Cursors
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.metaflow.local import MetaflowFolder
from runway_streams.dependency.metaflow.objects import open_datastore
from runway_streams.dependency.metaflow.runs import MetaflowRuns
from runway_streams.dependency.metaflow.service import MetaflowAccess, MetaflowService
from runway_streams.dependency.openlineage.intake import OpenLineageIntake
from runway_streams.dependency.store import LineageStore
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.dependency.stores.sql_discoveries import SqlDiscoveries
from runway_streams.dependency.stores.sql_openlineage_runs import SqlOpenLineageRuns
from runway_streams.dependency.stores.sql_report_queue import SqlReportQueue
from runway_streams.dependency.stores.sql_store import SqlStore
from runway_streams.metaflow_settings import MetaflowSettings


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a process has for lineage; `metaflow` is None where nothing is set."""

    graph: LineageGraph
    discoveries: SqlDiscoveries
    cursors: Cursors
    database: Database
    openlineage: OpenLineageIntake
    metaflow: MetaflowRuns | None

    async def close(self) -> None:
        """Lets go of connections."""
        await self.graph.store.close()
        if self.metaflow:
            await self.metaflow.close()
        await self.database.close()

    aclose = close
    """For `contextlib.aclosing`."""


def open_lineage(config: Config, now: Callable[[], int]) -> Lineage:
    """The parts as the configuration wants them; nothing is connected yet. Raises ConfigError."""
    database = Database.open(config.lineage_database or config.database, config.home, MIGRATIONS)
    graph = LineageGraph(store_of(config, database), SqlReportQueue(database), now)
    intake = OpenLineageIntake(graph, SqlOpenLineageRuns(database), now)
    metaflow = metaflow_of(config.metaflow) if config.metaflow else None
    return Lineage(graph, SqlDiscoveries(database), Cursors(database), database, intake, metaflow)


def store_of(config: Config, database: Database) -> LineageStore:
    """Neo4j where RUNWAY_NEO4J names one, else the tables of the database."""
    if config.neo4j:
        from runway_streams.dependency.stores.neo4j_store import Neo4jStore

        return Neo4jStore.open(config.neo4j)
    return SqlStore(database)


def metaflow_of(settings: MetaflowSettings) -> MetaflowRuns:
    """Metaflow's metadata, over HTTP or from a folder. Raises ConfigError."""
    if not settings.is_service:
        return MetaflowFolder(Path(settings.place))
    datastore = open_datastore(settings.datastore_url) if settings.datastore_url else None
    return MetaflowService(MetaflowAccess(settings.place, settings.key, settings.token), datastore)
