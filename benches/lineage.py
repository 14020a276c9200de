"""The lineage graph at 100,000 nodes and 300,000 edges in layers, over SQLite, PostgreSQL and Neo4j: ingest, impact to depth 5.

    uv run python benches/lineage.py --json

The peer is the same walk over the same edges in memory, without any store. Impact is asked of nodes of the upper layers, whose
walk has room to go five layers down. Another store is a function that opens it, and a line in STORES.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runway_streams.dependency.edge import Claim, Direction, Edge
from runway_streams.dependency.node import Node
from runway_streams.dependency.report import Report
from runway_streams.dependency.store import PAGE, LineageStore
from runway_streams.dependency.stores.neo4j_store import Neo4jStore
from runway_streams.dependency.stores.sql_store import SqlStore
from runway_streams.dependency.walk import walk
from runway_streams.devstack.neo4j import EmbeddedNeo4j
from tests.postgres import PostgresServer

LAYERS, DEPTH = 10, 5
AT = 1_700_000_000_000
SEED = 7

Opened = Callable[[Path], AbstractAsyncContextManager[LineageStore]]


def claims_of(nodes: int, edges: int) -> list[Claim]:
    """Edges from nodes of one layer to random ones of the next."""
    rng = random.Random(SEED)
    width = nodes // LAYERS
    return [
        Claim(name_of(layer, rng.randrange(width)), name_of(layer + 1, rng.randrange(width)))
        for layer in (rng.randrange(LAYERS - 1) for _ in range(edges))
    ]


def name_of(layer: int, number: int) -> str:
    """Sources above, features between, models below."""
    if layer == LAYERS - 1:
        return f"model:model-{number:06}"
    return f"{'dataset' if layer < LAYERS // 2 else 'feature'}:layer-{layer}/table-{number:06}"


@contextlib.asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[LineageStore]:
    """A file."""
    yield SqlStore.open(None, folder)


@contextlib.asynccontextmanager
async def postgresql(folder: Path) -> AsyncIterator[LineageStore]:
    """A server of its own."""
    with PostgresServer(folder / "server") as server:
        yield SqlStore.open(server.create("bench"), folder)


@contextlib.asynccontextmanager
async def neo4j(folder: Path) -> AsyncIterator[LineageStore]:
    """A server of its own."""
    with EmbeddedNeo4j(folder / "server") as server:
        yield Neo4jStore.open(server.url)


STORES: dict[str, Opened] = {"sqlite": sqlite, "postgresql": postgresql, "neo4j": neo4j}


class Adjacent:
    """The peer: edges in memory, by the node that they lead away from."""

    def __init__(self, claims: list[Claim]):
        self._out: dict[str, list[Edge]] = defaultdict(list)
        for claim in claims:
            ends = (claim.upstream, claim.downstream)
            self._out[claim.upstream].append(Edge(*ends, claim.kind, "bench", claim.source, claim.confidence, AT, AT))

    async def nodes(self, ids: Collection[str]) -> dict[str, Node]:
        """All of them."""
        return {node: Node(node) for node in ids}

    async def edges(
        self, nodes: Collection[str], _direction: Direction, _as_of: int | None = None, limit: int = PAGE
    ) -> list[Edge]:
        """Downstream alone."""
        return [edge for node in sorted(nodes) for edge in self._out.get(node, ())][:limit]


async def measure(opened: Opened, claims: list[Claim], batch: int, walks: int) -> dict:
    """All figures of one store."""
    with tempfile.TemporaryDirectory(prefix="runway-bench-") as folder:
        async with opened(Path(folder)) as store, contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await store.prepare()
            taken = [await timed_apply(store, claims, begin, batch, AT) for begin in range(0, len(claims), batch)]
            again = [await timed_apply(store, claims, begin, batch, AT + 1) for begin in range(0, 10 * batch, batch)]
            return {
                "ingest_edges_per_s": round(len(claims) / sum(taken)),
                "seen_again_edges_per_s": round(min(len(claims), 10 * batch) / sum(again)),
                "slowest_batch_s": round(max(taken), 3),
                **await impact(store, claims, walks),
            }


async def timed_apply(store: LineageStore, claims: list[Claim], begin: int, batch: int, at: int) -> float:
    """Seconds of one report."""
    report = Report("bench", at, claims[begin : begin + batch])
    began = time.perf_counter()
    await store.apply([report])
    return time.perf_counter() - began


async def impact(store: Any, claims: list[Claim], walks: int) -> dict:
    """Milliseconds of a walk, and what it reaches."""
    rng = random.Random(SEED + 1)
    starts = sorted({claim.upstream for claim in claims if ":layer-" in claim.upstream and layer_of(claim.upstream) < DEPTH})
    taken, reached = [], []
    for number in range(walks + 10):
        start = rng.choice(starts)
        began = time.perf_counter()
        found = await walk(store, start, "downstream", DEPTH)
        if number >= 10:  # the first ones fill caches
            taken.append((time.perf_counter() - began) * 1000)
            reached.append(len(found.steps))
    p50, p99 = (round(float(np.quantile(taken, quantile)), 2) for quantile in (0.5, 0.99))
    return {"impact_ms": {"p50": p50, "p99": p99}, "reached": {"p50": int(np.median(reached)), "max": max(reached)}}


def layer_of(name: str) -> int:
    """The layer of a name that is no model's."""
    return int(name.split("layer-")[1].split("/", maxsplit=1)[0])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=300_000)
    parser.add_argument("--batch", type=int, default=1_000, help="edges of one report")
    parser.add_argument("--walks", type=int, default=500)
    parser.add_argument("--only", choices=STORES, help="one store")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    claims = claims_of(arguments.nodes, arguments.edges)
    result: dict[str, Any] = {"nodes": arguments.nodes, "edges": arguments.edges, "batch": arguments.batch}
    for name, opened in STORES.items():
        if arguments.only in (None, name):
            result[name] = asyncio.run(measure(opened, claims, arguments.batch, arguments.walks))
    result["memory_alone"] = asyncio.run(impact(Adjacent(claims), claims, arguments.walks))
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
