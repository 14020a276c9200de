"""Neo4j is killed half-way while lineage is told and asked for: nothing that was taken is lost, and old answers say so."""

import asyncio
import random
from contextlib import aclosing

import pytest

from runway_streams.database import Database
from runway_streams.dependency.edge import Claim, Edge
from runway_streams.dependency.graph import REST_S, LineageGraph
from runway_streams.dependency.report import Report
from runway_streams.dependency.store import LineageStore
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.dependency.stores.neo4j_store import Neo4jStore
from runway_streams.dependency.stores.sql_report_queue import SqlReportQueue
from runway_streams.devstack.neo4j import EmbeddedNeo4j
from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.model_settings_store import wall_clock
from tests.runway_streams.dependency.memory_store import MemoryStore

REPORTS = 300
START = 1_700_000_000_000


def random_report(rng: random.Random, number: int) -> Report:
    """Some inputs of one of a few models; sometimes all that it has, which ends the others."""
    model = f"model:m{rng.randrange(5)}"
    inputs = {f"dataset:lake/{rng.randrange(30)}" for _ in range(rng.randrange(1, 6))}
    whole = [model] if rng.random() < 0.3 else []
    return Report(f"reporter-{rng.randrange(3)}", START + number, [Claim(one, model) for one in sorted(inputs)], [], whole)


async def all_edges(store: LineageStore, as_of: int | None = None) -> list[Edge]:
    return [edge async for page in store.scan(as_of) for edge in page]


@pytest.mark.neo4j
@pytest.mark.fault
async def test_what_is_told_while_neo4j_is_killed_and_started_again_is_all_there(tmp_path, seed: int):
    rng, expected = random.Random(seed), MemoryStore()
    killed, back = sorted(rng.sample(range(20, REPORTS - 20), 2))
    queue = SqlReportQueue(Database.open(None, tmp_path, MIGRATIONS))
    with EmbeddedNeo4j(tmp_path / "neo4j", heap="384m", page_cache="32m") as server:
        store = Neo4jStore.open(server.url)
        async with aclosing(store):
            graph = LineageGraph(store, queue, wall_clock)
            waited = 0
            for number in range(REPORTS):
                if number == killed:
                    known = await graph.walk("model:m0", "upstream", 3)
                    server.kill()
                if number == back:
                    old = await graph.walk("model:m0", "upstream", 3)
                    assert (old.found, old.at, old.degraded) == (known.found, known.at, True)
                    await asyncio.to_thread(server.start)
                report = random_report(rng, number)
                waited += not await graph.tell([report])
                await expected.apply([report])
            assert waited >= back - killed
            await drained(graph)
            assert await all_edges(store) == await all_edges(expected)
            for at in (killed - 1, killed, back, REPORTS // 2):
                assert await all_edges(store, START + at) == await all_edges(expected, START + at)
            assert not (await graph.walk("model:m0", "upstream", 3)).degraded


async def drained(graph: LineageGraph, limit_s: float = 90.0) -> None:
    """Brings what waits, as the API's duty does: as soon as the graph answers again."""
    async with asyncio.timeout(limit_s):
        while await graph.queue.size():
            try:
                await graph.drain()
            except DependencyDown:
                await asyncio.sleep(REST_S / 5)
