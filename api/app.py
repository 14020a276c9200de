"""The API as data: its routes, its middleware, and what lives as long as it does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.health import get_livez, get_metrics, get_readyz, outside
from api.lag import LagMonitor
from api.merged_view import BatchSnapshot, MergedView
from api.middleware import Harden, Limit, Measure
from api.models import get_models
from api.openapi import get_openapi
from api.performance import get_performance
from api.problems import EXCEPTION_HANDLERS
from api.settled import SettledDays
from api.speed_view import SpeedView
from batch.lake import open_lake
from runway_streams.config import Config
from runway_streams.ground_truth.model_settings_store import SettingsReader, wall_clock
from runway_streams.telemetry import ApiTelemetry, ViewTelemetry

Clock = Callable[[], int]
Endpoint = Callable[[Request], Awaitable[Response]]


def route(path: str, endpoint: Endpoint) -> Route:
    """A GET route that tells the middleware its path."""

    async def answer(request: Request) -> Response:
        request.scope["route_path"] = path
        return await endpoint(request)

    return Route(path, answer, methods=["GET"])


# A model's id may hold slashes: it comes from events.
ROUTES = [
    route("/livez", get_livez),
    route("/readyz", get_readyz),
    route("/metrics", get_metrics),
    route("/openapi.json", get_openapi),
    route("/v1/models", get_models),
    route("/v1/models/{model_id:path}/performance", get_performance),
]


def make_app(view: MergedView, now: Clock, *, settings=None, lag=None, lifespan=None) -> Starlette:
    """The application over a view; `settings` and `lag` are what follows Kafka beside it, if anything does."""
    telemetry = ApiTelemetry(CollectorRegistry())
    middleware = [Middleware(Measure, telemetry=telemetry), Middleware(Harden), Middleware(Limit)]
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan)
    app.state.view, app.state.now, app.state.telemetry = view, now, telemetry
    app.state.settled = SettledDays()
    app.state.settings, app.state.lag = settings, lag
    ViewTelemetry(telemetry.registry, lambda: outside(app.state))
    return app


def application(config: Config, now: Clock = wall_clock) -> Starlette:
    """The application of a process: it starts without Kafka and without a batch, and says what is missing."""

    def lake():
        return open_lake(config.archive_url)

    batch = BatchSnapshot(lake, config.home / "cache" / "view")
    speed = SpeedView(config, now, batch.owned_before)
    settings = SettingsReader(config, now)
    lag = LagMonitor(config, lambda: speed.store.marks, lake)
    view = MergedView(speed, batch, settings.history, config.topic)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await batch.refresh()  # first, for the speed view begins where the batch ends
        parts = (batch, settings, speed, lag)
        for part in parts:
            part.start()
        try:
            yield
        finally:
            for part in reversed(parts):
                await part.stop()

    return make_app(view, now, settings=settings, lag=lag, lifespan=lifespan)
