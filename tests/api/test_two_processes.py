"""Two API processes behind a round robin act as one: cursors, idempotency, revisions, keys and rate limits."""

import asyncio
from itertools import cycle

import httpx
import pytest

from api.app import access_of, check_settings, make_app
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.registry import keys
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from tests.api.conftest import NOW, merged_view

LIMIT = 400


class RoundRobin(httpx.AsyncBaseTransport):
    """Gives each request to the next application, as a load balancer does."""

    def __init__(self, apps):
        self._next = cycle([httpx.ASGITransport(app) for app in apps])

    async def handle_async_request(self, request):
        return await next(self._next).handle_async_request(request)


@pytest.fixture
async def http(database_url, tmp_path):
    """A client of two applications that share nothing but the database; their clock stands still."""
    config = Config(home=tmp_path, database=database_url, rate_limit=LIMIT)
    registries = [Registry(Database.open(database_url, tmp_path, MIGRATIONS), lambda: NOW, check_settings) for _ in range(2)]
    apps = [make_app(merged_view(), registry, access_of(config, registry)) for registry in registries]
    async with registries[0].change("test") as change:
        _, key = await keys.create(change, "two", "admin")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=RoundRobin(apps), base_url="http://api", headers=headers) as client:
        yield client
    for registry in registries:
        await registry.database.close()


async def test_a_list_goes_on_at_the_other_one(http):
    for number in range(7):
        assert (await http.post("/v1/models", json={"model_id": f"m{number}"})).status_code == 201
    found, cursor = [], None
    while True:
        page = (await http.get("/v1/models", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        found += [item["model_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [f"m{number}" for number in range(7)]


async def test_a_post_sent_to_both_is_done_once(http):
    headers = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(*(http.post("/v1/models", json={"model_id": "m"}, headers=headers) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_of_changes_at_both_one_wins(http):
    await http.post("/v1/models", json={"model_id": "m"})
    tag = (await http.get("/v1/models/m")).headers["etag"]
    answers = await asyncio.gather(
        *(http.patch("/v1/models/m", json={"owner": str(n)}, headers={"If-Match": tag}) for n in range(20))
    )
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(412)) == (1, 19)
    for _ in range(2):
        assert (await http.get("/v1/models/m")).json()["owner"] == str(statuses.index(200))


async def test_both_together_answer_no_more_than_the_limit(http):
    answers = await asyncio.gather(*(http.get("/v1/models") for _ in range(2 * LIMIT + 50)))
    statuses = [answer.status_code for answer in answers]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == LIMIT
    assert int(refused.headers["retry-after"]) <= 60
