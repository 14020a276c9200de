"""The registry at 10,000 models with 10 versions each, over SQLite and over PostgreSQL: lists, reads, search, races.

    uv run python benches/registry.py --json

The peer is the database's own answer to the same page, without the API around it. Requests go through the whole application
with its authentication, in one process, as over HTTP but without a socket.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
import sqlalchemy as sa
from starlette.applications import Starlette

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api.app import access_of, check_settings, make_app, parts_of
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.registry import catalog, keys, tables, versions
from runway_streams.registry.changes import Change, Registry, as_text
from runway_streams.registry.migrate import MIGRATIONS
from schemas.model import Model
from schemas.model_version import ModelVersion
from tests.postgres import PostgresServer

TEAMS, TAGS = 200, 50
STAGES = ("production", "staging", "deprecated", "evaluation")
WORDS = ("fraud", "churn", "price", "spam", "risk", "ads", "delay", "demand", "click", "credit")
RACERS = 1_000


async def fill(registry: Registry, count: int, per_model: int) -> None:
    """Registers everything through the catalog, 100 models a transaction."""
    rng = random.Random(7)
    for start in range(0, count, 100):
        async with registry.change("bench") as change:
            for number in range(start, min(start + 100, count)):
                await fill_one(change, number, per_model, rng)


async def fill_one(change: Change, number: int, per_model: int, rng: random.Random) -> None:
    """One model, described at some length, and its versions."""
    words = " ".join(rng.choice(WORDS) for _ in range(40))
    model = Model(
        f"{rng.choice(WORDS)}-{number:05}",
        owner=f"team-{number % TEAMS}",
        description=words,
        tags=[f"tag-{rng.randrange(TAGS)}"],
        task="binary",
        criticality=rng.choice(("low", "medium", "high")),
    )
    await catalog.register(change, model)
    await versions.create(change, model.model_id, ModelVersion("v0", metrics={"accuracy": 0.9}), STAGES[0])
    made = sa.select(tables.versions).where(tables.versions.c.model_id == model.model_id)
    row = dict((await change.execute(made)).one()._mapping)
    copies = [
        row | {"version": f"v{n}", "stage": STAGES[min(n, 3)], "document": document_of(n)} for n in range(1, per_model)
    ]
    if copies:
        await change.execute(tables.versions.insert(), copies)


def document_of(number: int) -> str:
    """What the registry keeps of a version."""
    return as_text(ModelVersion(f"v{number}", metrics={"accuracy": 0.9}))


async def measure(url: str | None, count: int, per_model: int, requests: int) -> dict:
    """All figures over one database."""
    with tempfile.TemporaryDirectory(prefix="runway-bench-") as folder:
        config = Config(home=Path(folder), database=url, rate_limit=10_000_000)
        registry = Registry(Database.open(url, Path(folder), MIGRATIONS), wall_clock, check_settings)
        began = time.perf_counter()
        await fill(registry, count, per_model)
        filled = time.perf_counter() - began
        async with registry.change("bench") as change:
            await change.execute(sa.text("ANALYZE"))  # as PostgreSQL does by itself within a minute
            _, key = await keys.create(change, "bench", "admin")
        gc.freeze()  # as `runway api` does
        app = make_app(parts_of(config, wall_clock).view, registry, access_of(config, registry))
        async with client(app, key) as http:
            figures = await ask_all(http, registry, requests)
            figures |= {"race": await race(http, registry), "fill_seconds": round(filled, 1)}
        await registry.database.close()
        return figures


def client(app: Starlette, key: str) -> httpx.AsyncClient:
    """A client in this process."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench", headers=headers, timeout=60)


async def ask_all(http: httpx.AsyncClient, registry: Registry, requests: int) -> dict:
    """Milliseconds of each kind of question."""
    names = [item["model_id"] for item in (await http.get("/v1/models?limit=200")).json()["items"]]
    rng = random.Random(11)
    questions: dict[str, Callable[[], str]] = {
        "list_page_ms": lambda: f"/v1/models?limit=50&sort={rng.choice(('model_id', 'name', '-updated_at'))}",
        "list_page_of_200_ms": lambda: "/v1/models?limit=200",
        "list_team_in_production_ms": lambda: f"/v1/models?owner=team-{rng.randrange(TEAMS)}&stage=production",
        "get_ms": lambda: f"/v1/models/{rng.choice(names)}",
        "get_versions_ms": lambda: f"/v1/models/{rng.choice(names)}/versions",
        "get_policy_ms": lambda: f"/v1/models/{rng.choice(names)}/policy",
        "search_ms": lambda: f"/v1/models?q={rng.choice(WORDS)}%20{rng.randrange(10)}{rng.randrange(10)}",
        "search_of_nothing_ms": lambda: f"/v1/models?q=nothing{rng.randrange(1_000)}",
    }
    found = {}
    for name, question in questions.items():

        async def ask(question: Callable[[], str] = question) -> None:
            answer = await http.get(question())
            assert answer.status_code == 200, answer.text

        found[name] = await timed(ask, requests)

    async def page_alone() -> None:
        async with registry.read() as connection:
            (await connection.execute(sa.select(tables.models).order_by(tables.models.c.model_id).limit(51))).all()

    return found | {"database_page_alone_ms": await timed(page_alone, requests)}


async def timed(work: Callable[[], Awaitable[None]], times: int) -> dict[str, float]:
    """The median and the 99 % quantile, in ms."""
    for _ in range(10):
        await work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - began) * 1000)
    return {"p50": round(float(np.median(taken)), 2), "p99": round(float(np.quantile(taken, 0.99)), 2)}


async def race(http: httpx.AsyncClient, registry: Registry, rounds: int = 5) -> dict:
    """1,000 conditional updates of one policy at once, some rounds; each has exactly one winner."""
    names = [item["model_id"] for item in (await http.get("/v1/models?limit=1")).json()["items"]]
    path = f"/v1/models/{names[0]}/policy"
    winners, seconds = [], []
    for round_ in range(rounds):
        tag = (await http.get(path)).headers["etag"]

        async def put(number: int, tag: str = tag, round_: int = round_) -> int:
            policy = {
                "staleness": {"age": {"weight": 1, "ok": "PT1H", "critical": f"PT{2 + number + RACERS * round_}H"}},
                "retrain": {},
            }
            return (await http.put(path, json=policy, headers={"If-Match": tag})).status_code

        began = time.perf_counter()
        statuses = await asyncio.gather(*map(put, range(RACERS)))
        seconds.append(time.perf_counter() - began)
        assert set(statuses) == {200, 412}, set(statuses)
        winners.append(statuses.count(200))
    kept = len((await http.get(f"{path}/revisions")).json()["items"])
    return {"at_once": RACERS, "winners": winners, "revisions": kept, "seconds_a_round": round(max(seconds), 2)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    asked = (arguments.models, arguments.versions, arguments.requests)
    result = {"models": arguments.models, "versions": arguments.versions}
    result["sqlite"] = asyncio.run(measure(None, *asked))
    with tempfile.TemporaryDirectory(prefix="runway-postgres-") as folder, PostgresServer(Path(folder)) as server:
        result["postgresql"] = asyncio.run(measure(server.create("bench"), *asked))
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
