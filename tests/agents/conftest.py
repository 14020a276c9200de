"""A registry, the topics, and relays between them that can be stopped at every step."""

import msgspec
import pytest

from agents.model_settings import SettingsRelay
from agents.models_topic import open_models
from runway_streams.ground_truth.settings import Settings
from runway_streams.registry import catalog, outbox
from runway_streams.registry.changes import Registry
from runway_streams.topic_reader import open_topic
from schemas.model import Model
from schemas.model_settings import ModelSettings
from tests.clock import Clock

START = 1_800_000_000_000
LATER = 70_000
"""A minute of notice, and the time that publishing may take."""
decode = msgspec.json.Decoder(list[ModelSettings]).decode


class World:
    """A registry, topics, and relays by name."""

    def __init__(self, database, config):
        self.clock = Clock(START)
        self.config = config
        self.registry = Registry(database, self.clock, Settings.from_document)
        self.seen = set()

    def relay(self, holder):
        async def seen(model_id):
            return model_id in self.seen

        return SettingsRelay(self.registry, self.config, seen, holder)

    async def say(self, *models, owner="risk", **fields):
        """Registers models, or changes them."""
        async with self.registry.change("anna") as change:
            for name in models:
                there = await catalog.find(change.connection, name)
                model = Model(name, owner=owner, task="binary", **fields)
                await (catalog.replace(change, model, there.revision) if there else catalog.register(change, model))

    async def lead(self, relay):
        assert await relay.lease.take()

    async def run_once(self, holder):
        """A relay that does all that there is to do, and ends in good order."""
        relay = self.relay(holder)
        await self.lead(relay)
        async with open_models(self.config) as topic:
            await relay.restore(topic)
            while await relay.relay(topic):
                pass
        await relay.lease.release()
        return relay

    async def topic(self):
        """All records, oldest first."""
        async with open_topic(self.config, "models") as topic:
            return [(r.key.decode(), decode(r.value)) async for r in topic.to_end()]

    async def history(self, model_id="m"):
        """The last record of a model, as (join window, effective from)."""
        last = dict(await self.topic()).get(model_id, [])
        return [(change.join_window, change.effective_from) for change in last]

    async def waiting(self):
        async with self.registry.read() as connection:
            return (await outbox.backlog(connection))[0]

    async def kept(self, model_id="m"):
        """What the database says was published."""
        async with self.registry.read() as connection:
            changes = await outbox.published_of(connection, model_id)
        return [(change.join_window, change.effective_from) for change in changes]

    async def agrees(self, model_id="m"):
        assert await self.waiting() == 0
        history = await self.history(model_id)
        assert history == await self.kept(model_id)
        return history


@pytest.fixture
async def world(database, topics):
    return World(database, await topics())
