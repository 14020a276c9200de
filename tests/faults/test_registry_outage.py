"""PostgreSQL goes and comes back, in good order and hard, under a registry that is being changed: what was acknowledged reaches
`runway.models` once, what was not at most once, and reads go on by themselves."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import replace

import httpx
import pytest

from runway_streams.devstack.first_key import make_first_key
from tests.faults.api_process import Api, client_of, drained, published, register
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.kafka, pytest.mark.fault]
WRITERS = 3
BOUNCES = ("fast", "immediate", "immediate")
BACK_LIMIT_S = 60


async def test_a_bounced_database_costs_no_acknowledged_change(topics, tmp_path_factory, seed: int):
    config = await topics(partitions=1)
    rng = random.Random(seed)
    with PostgresServer(tmp_path_factory.mktemp("bounced")) as server:
        config = replace(config, database=server.url())
        key = await make_first_key(config)
        api = Api(config)
        api.start()
        try:
            async with client_of(api, key) as client:
                await answers(client, api)
                acknowledged, refused = await change_while(client, server, rng)
                await answers(client, api)
                assert await register(client, "at-the-end")
                acknowledged.add("at-the-end")
                found = await drained(config, acknowledged)
                there = await registered(client)
        finally:
            api.stop()
    assert refused, "the database was never missed"
    assert len(acknowledged) > 10
    assert set(found.values()) == {1}, found
    assert found == await published(config)
    assert acknowledged <= set(found) == there


async def change_while(client: httpx.AsyncClient, server: PostgresServer, rng: random.Random) -> tuple[set[str], set[str]]:
    """Registers models while the server is bounced; returns those that were acknowledged, and the others."""
    over = asyncio.Event()
    sets: dict[bool, set[str]] = {True: set(), False: set()}
    statuses: Counter[int] = Counter()

    async def write(writer: int) -> None:
        number = 0
        while not over.is_set():
            model = f"w{writer}-{number}"
            number += 1
            sets[await register(client, model)].add(model)
            statuses[(await client.get("/v1/models", params={"limit": 1})).status_code] += 1
            await asyncio.sleep(0.02)

    writers = [asyncio.create_task(write(n)) for n in range(WRITERS)]
    for how in BOUNCES:
        await asyncio.sleep(rng.uniform(0.5, 2.0))
        await asyncio.to_thread(server.stop, how)
        await asyncio.sleep(rng.uniform(0.2, 1.5))
        await asyncio.to_thread(server.start)
    await asyncio.sleep(1)
    over.set()
    await asyncio.gather(*writers)
    assert set(statuses) <= {200, 503}, statuses
    assert statuses[200] > 10
    return sets[True], sets[False]


async def answers(client: httpx.AsyncClient, api: Api) -> None:
    """Waits until the registry can be read."""
    deadline = time.monotonic() + BACK_LIMIT_S
    while time.monotonic() < deadline:
        try:
            if (await client.get("/v1/models")).status_code == 200:
                return
        except httpx.HTTPError:
            assert not api.dead(), api.tail()
        await asyncio.sleep(0.1)
    raise AssertionError(f"The registry does not answer.\n{api.tail()}")


async def registered(client: httpx.AsyncClient) -> set[str]:
    found: set[str] = set()
    cursor = None
    while True:
        page = (await client.get("/v1/models", params={"limit": 100} | ({"cursor": cursor} if cursor else {}))).json()
        found |= {item["model_id"] for item in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return found
