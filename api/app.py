"""The API as data: its middleware, its parts, and what lives as long as it does; `routes.py` has its routes."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import Lifespan

from api.auth import OPEN_PATHS, Authenticate
from api.credentials import Credentials
from api.discoverer import Discoverer
from api.duties import Duties, duties_of
from api.health import outside
from api.imports import WEBHOOK, Imports
from api.lag import LagMonitor
from api.lineage_parts import Lineage, open_lineage
from api.merged_view import BatchSnapshot, MergedView
from api.middleware import Harden, Limit, Measure
from api.oidc import Tokens
from api.problems import EXCEPTION_HANDLERS
from api.routes import ROUTES
from api.rule_scans import RuleScans
from api.seen_models import SeenModels
from api.settled import SettledDays
from api.speed_view import SpeedView
from batch.lake import open_lake
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.errors import RunwayError
from runway_streams.ground_truth.model_settings_store import SettingsReader, encode_changes, wall_clock
from runway_streams.ground_truth.settings import Settings
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.mlflow.importer import MlflowImport
from runway_streams.registry.rate_limits import RateLimiter
from runway_streams.telemetry import ApiTelemetry, ImportTelemetry, RegistryTelemetry, ViewTelemetry
from schemas.model_settings import ModelSettings

Clock = Callable[[], int]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What follows Kafka and the lake, in the order in which it starts: the speed view begins where the batch ends."""

    batch: BatchSnapshot
    settings: SettingsReader
    speed: SpeedView
    lag: LagMonitor
    view: MergedView


def parts_of(config: Config, now: Clock) -> Parts:
    """The parts of a process; nothing of them has started yet."""

    def lake():
        return open_lake(config.archive_url)

    batch = BatchSnapshot(lake, config.home / "cache" / "view")
    speed = SpeedView(config, now, batch.owned_before)
    settings = SettingsReader(config, now)
    lag = LagMonitor(config, lambda: speed.store.marks, lake)
    return Parts(batch, settings, speed, lag, MergedView(speed, batch, settings.history, config.topic))


def open_registry(config: Config, now: Clock) -> Registry:
    """The registry of a process; its database is opened when it is first used."""
    return Registry(Database.open(config.database, config.home, MIGRATIONS), now, check_settings)


def check_settings(settings: ModelSettings) -> None:
    """Raises RunwayError for settings that contradict themselves, or that no record of `runway.models` can hold."""
    Settings.from_document(settings)
    encode_changes([settings])


def make_app(
    view: MergedView,
    registry: Registry,
    access: Middleware,
    parts: Parts | None = None,
    duties: Duties | None = None,
    lifespan: Lifespan[Starlette] | None = None,
    lineage: Lineage | None = None,
    discoverer: Discoverer | None = None,
) -> Starlette:
    """The application over a view and a registry; `parts` is what follows Kafka beside it, `duties` what else it does, and
    `discoverer` asks Metaflow, where it is set, when a version is registered."""
    telemetry = ApiTelemetry(CollectorRegistry())
    middleware = [Middleware(Measure, telemetry=telemetry), Middleware(Harden), Middleware(Limit), access]
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan)
    state = app.state
    state.view, state.registry, state.now, state.telemetry = view, registry, registry.now, telemetry
    state.seen, state.settled = SeenModels(view), SettledDays()
    state.settings, state.lag = (parts.settings, parts.lag) if parts else (None, None)
    state.duties = duties
    state.lineage = lineage.graph if lineage else None
    state.discoveries = lineage.discoveries if lineage else None
    state.openlineage = lineage.openlineage if lineage else None
    state.discoverer = discoverer
    state.scans = duties.scans if duties else RuleScans(registry, view, holder="")
    ViewTelemetry(telemetry.registry, lambda: outside(state))
    if duties:
        RegistryTelemetry(telemetry.registry, duties.relay.relayed, duties.scans.scanned)
    if duties and duties.imports:
        ImportTelemetry(telemetry.registry, duties.imports.imported)
    return app


def application(config: Config, now: Clock = wall_clock) -> Starlette:
    """The application of a process: it starts without Kafka, database or batch, and says what is missing."""
    parts, registry = parts_of(config, now), open_registry(config, now)
    mlflow = MlflowImport.of(registry, config.mlflow)
    lineage = open_lineage(config, now)
    discoverer = Discoverer(registry, lineage, lineage.metaflow) if lineage.metaflow else None
    duties = duties_of(config, registry, parts.view, mlflow, lineage, discoverer)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await prepare(registry)
        await parts.batch.refresh()
        running = (parts.batch, parts.settings, parts.speed, parts.lag, *duties)
        for part in running:
            part.start()
        try:
            yield
        finally:
            for part in reversed(running):
                await part.stop()
            await lineage.close()
            await registry.database.close()

    app = make_app(parts.view, registry, access_of(config, registry), parts, duties, lifespan, lineage, discoverer)
    app.state.imports = Imports(mlflow) if mlflow else None
    return app


def access_of(config: Config, registry: Registry) -> Middleware:
    """Who may do what, by API keys and, where an issuer is set, by its tokens."""
    tokens = Tokens.of(config, registry.now)
    limiter = RateLimiter(registry.database, config.rate_limit, registry.now)
    credentials = Credentials(registry, tokens)
    open_paths = OPEN_PATHS | {WEBHOOK}
    return Middleware(Authenticate, credentials=credentials, limiter=limiter, now=registry.now, open_paths=open_paths)


async def prepare(registry: Registry) -> None:
    """Upgrades the tables; a database that does not answer yet is asked again by the first request."""
    try:
        await registry.database.prepare()
    except RunwayError as error:
        _log.warning("Registry: %s", error)
