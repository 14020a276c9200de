"""The first key of an embedded stack: made where nobody has one yet, and told once."""

from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.registry import keys
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS

NAME = "embedded stack"


async def make_first_key(config: Config) -> str | None:
    """An admin's key, or None where there is a key that lives."""
    registry = Registry(Database.open(config.database, config.home, MIGRATIONS), wall_clock, lambda _settings: None)
    try:
        async with registry.change("runway up") as change:
            if await keys.any_alive(change.connection, change.now):
                return None
            _, key = await keys.create(change, NAME, "admin")
            return key
    finally:
        await registry.database.close()
