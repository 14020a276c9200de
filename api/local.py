"""The API within the process of a command: for whoever may open the database, with no one's key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import make_app, open_registry, parts_of
from api.discoverer import Discoverer
from api.lineage_parts import open_lineage
from api.principals import Principal
from runway_streams.config import Config
from runway_streams.ground_truth.model_settings_store import wall_clock


class Trust:
    """Lets every request be made by one principal."""

    def __init__(self, app: ASGIApp, principal: Principal):
        self.app, self._principal = app, principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["principal"] = self._principal
        await self.app(scope, receive, send)


@asynccontextmanager
async def local_application(config: Config, name: str) -> AsyncIterator[Starlette]:
    """The API of a command that `name` runs; nothing of Kafka or of the lake is read."""
    registry, lineage = open_registry(config, wall_clock), open_lineage(config, wall_clock)
    discoverer = Discoverer(registry, lineage, lineage.metaflow) if lineage.metaflow else None
    trusted = Middleware(Trust, principal=Principal(name, "admin", (), "key"))
    try:
        yield make_app(parts_of(config, wall_clock).view, registry, trusted, lineage=lineage, discoverer=discoverer)
    finally:
        await lineage.close()
        await registry.database.close()
