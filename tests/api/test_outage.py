"""The registry's database is taken away and given back: what goes on without it, and that all is as before."""

import asyncio

import pytest

from api.app import access_of, check_settings, make_app
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.registry import keys
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from tests.api.conftest import NOON, NOW, Event, http_client, merged_view
from tests.postgres import PostgresServer


@pytest.fixture
def server(tmp_path_factory):
    with PostgresServer(tmp_path_factory.mktemp("taken-away")) as running:
        yield running


async def test_a_database_is_taken_away_and_given_back(server, tmp_path):
    config = Config(home=tmp_path, database=server.url())
    clock = [NOW]
    registry = Registry(Database.open(config.database, tmp_path, MIGRATIONS), lambda: clock[0], check_settings)
    async with registry.change("test") as change:
        _, key = await keys.create(change, "ops", "admin")
        _, other = await keys.create(change, "unused", "reader")
    async with http_client(make_app(merged_view([Event(NOON * 12)]), registry, access_of(config, registry))) as http:
        http.headers["Authorization"] = f"Bearer {key}"
        assert (await http.post("/v1/models", json={"model_id": "before"})).status_code == 201

        await asyncio.to_thread(server.stop, "immediate")
        for path in ("/v1/models", "/v1/models/before", "/v1/audit"):
            answer = await http.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert int(answer.headers["retry-after"]) > 0
        assert (await http.post("/v1/models", json={"model_id": "during"})).status_code == 503
        clock[0] += 60_000  # the key is not fresh any more, and believed all the same
        assert (await http.get("/v1/models/m/performance")).status_code == 200
        unknown = await http.get("/v1/models/m/performance", headers={"Authorization": f"Bearer {other}"})
        assert (unknown.status_code, "127.0.0.1" in unknown.text) == (503, False)
        clock[0] += 11 * 60_000  # nobody is believed for ever
        assert (await http.get("/v1/models/m/performance")).status_code == 503

        await asyncio.to_thread(server.start)
        clock[0] += 10_000
        assert [item["model_id"] for item in (await http.get("/v1/models")).json()["items"]] == ["before", "m"]
        assert (await http.post("/v1/models", json={"model_id": "after"})).status_code == 201
    await registry.database.close()
