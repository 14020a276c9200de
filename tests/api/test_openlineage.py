"""OpenLineage over HTTP: its own Python client with gzip and a key, over the API as it is served, into a real store."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpCompression, HttpConfig, HttpTransport
from requests import HTTPError
from starlette.applications import Starlette
from starlette.middleware import Middleware

from api import openlineage
from api.app import application
from api.auth import Authenticate
from api.credentials import Credentials
from api.middleware import Limit
from api.packed_bodies import MAX_MEMBERS
from api.problems import EXCEPTION_HANDLERS
from api.routes import resource
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.openlineage.intake import OpenLineageIntake
from runway_streams.dependency.stores import migrate
from runway_streams.dependency.stores.sql_openlineage_runs import SqlOpenLineageRuns
from runway_streams.dependency.stores.sql_store import SqlStore
from runway_streams.errors import DependencyDown
from runway_streams.registry import keys
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.rate_limits import RateLimiter
from schemas.openlineage import MAX_EVENT_BYTES
from tests.runway_streams.dependency.openlineage.test_reports import SAMPLES, event

NOW = 1_772_500_000_000
RUN = "01995c1d-0001-7000-8000-0000000000c1"


class Queue:
    """Where reports wait, or do not find room."""

    def __init__(self):
        self.reports = []

    async def add(self, reports, now, problem=""):
        self.reports += reports

    async def size(self):
        return len(self.reports)


class Store(SqlStore):
    """A store that can be taken away."""

    down = False

    async def apply(self, reports):
        if self.down:
            raise DependencyDown("The graph is away.")
        await super().apply(reports)


class Runs(SqlOpenLineageRuns):
    """Runs that can be taken away."""

    down = False

    async def merge(self, told, now):
        if self.down:
            raise DependencyDown("The database is away.")
        return await super().merge(told, now)


class Api:
    """An API of its own: two databases, a key, an application."""

    def __init__(self, home):
        self.registry = Registry(Database.open(None, home, MIGRATIONS), lambda: NOW, lambda settings: None)
        self.lineage = Database.open(f"sqlite:///{home}/lineage.db", home, migrate.MIGRATIONS)
        self.store, self.queue, self.runs = Store(self.lineage), Queue(), Runs(self.lineage)
        limiter = RateLimiter(self.registry.database, 1_000, self.registry.now)
        gate = Middleware(Authenticate, credentials=Credentials(self.registry, None), limiter=limiter, now=self.registry.now)
        routes = [
            resource(openlineage.EVENT, POST=("owner", openlineage.post_event)),
            resource(openlineage.BATCH, POST=("owner", openlineage.post_batch)),
        ]
        self.app = Starlette(routes=routes, middleware=[Middleware(Limit), gate], exception_handlers=EXCEPTION_HANDLERS)
        graph = LineageGraph(self.store, self.queue, lambda: NOW)
        self.app.state.registry = self.registry
        self.app.state.openlineage = OpenLineageIntake(graph, self.runs, lambda: NOW)

    async def key(self, role="owner"):
        async with self.registry.change("cli:test") as change:
            return (await keys.create(change, "airflow", role, ["data"] if role == "owner" else [], None))[1]

    async def edges(self, node):
        return {edge.upstream for edge in await self.store.edges([node], "upstream")}


@pytest.fixture
async def api(tmp_path):
    made = Api(tmp_path)
    yield made
    await made.lineage.close()
    await made.registry.database.close()


@pytest.fixture
async def http(api):
    transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {await api.key()}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        yield client


@asynccontextmanager
async def served(app):
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


def foreign(url, key, compression=HttpCompression.GZIP):
    auth = ApiKeyTokenProvider({"apiKey": key})
    return OpenLineageClient(transport=HttpTransport(HttpConfig(url=url, auth=auth, compression=compression)))


def training(state, second, inputs=(), outputs=()):
    return RunEvent(
        eventType=state, eventTime=f"2026-03-02T06:00:{second:02}Z", run=Run(RUN), job=Job("training", "fraud"),
        inputs=[InputDataset("db", name) for name in inputs], outputs=[OutputDataset("db", name) for name in outputs],
        producer="https://example.com/train",
    )  # fmt: skip


@pytest.mark.parametrize("compression", [HttpCompression.GZIP, None])
async def test_a_foreign_client(api, compression):
    async with served(api.app) as url:
        client = foreign(url, await api.key(), compression)
        # The end first, twice; then the beginning.
        for one in (training(RunState.COMPLETE, 9, outputs=["scores"]),) * 2 + (
            training(RunState.START, 0, inputs=["payments"]),
        ):
            await asyncio.to_thread(client.emit, one)
        assert await api.edges("dataset:db/scores") == {"flow:training/fraud"}
        assert await api.edges("flow:training/fraud") == {"dataset:db/payments"}
        for key in ("rk_wrong", await api.key("reader")):
            with pytest.raises(HTTPError) as refused:
                await asyncio.to_thread(foreign(url, key).emit, training(RunState.RUNNING, 1))
            assert refused.value.response.status_code in (401, 403)


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
async def test_samples_as_a_packed_batch_and_one_by_one(http, name):
    body = (SAMPLES / f"{name}.json").read_bytes()
    found = await http.post(openlineage.BATCH, content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    count = len(json.loads(body))
    assert (found.status_code, found.json()) == (200, {
        "status": "success", "summary": {"received": count, "successful": count, "failed": 0}, "failed_events": [], "notes": [],
    })  # fmt: skip
    for one in json.loads(body):
        assert (await http.post(openlineage.EVENT, json=one)).status_code == 201


async def test_half_an_event_is_a_400_that_says_where(http):
    half = event()
    del half["job"]["name"]
    found = await http.post(openlineage.EVENT, json=half)
    assert (found.status_code, found.json()["type"]) == (400, "urn:runway:problem:invalid-event")
    assert "missing required field `name` - at `$.job`" in found.json()["detail"]
    part = await http.post(openlineage.BATCH, json=[event(inputs=["a"]), half])
    assert (part.status_code, part.json()["status"], part.json()["failed_events"][0]["index"]) == (207, "partial_success", 1)
    none = await http.post(openlineage.BATCH, json=[half])
    assert (none.status_code, none.json()["summary"]) == (400, {"received": 1, "successful": 0, "failed": 1})
    assert (await http.post(openlineage.BATCH, json=[])).status_code == 200
    assert (await http.post(openlineage.BATCH, json={})).json()["type"] == "urn:runway:problem:invalid-batch"


async def test_what_is_left_out_of_an_event_is_answered(api, http):
    wrong = event(inputs=["a"]) | {"outputs": [{"namespace": "db", "name": "b", "facets": {"version": 7}}]}
    found = await http.post(openlineage.EVENT, json=wrong)
    (note,) = found.json()["notes"]
    assert (found.status_code, note.partition(" is left out")[0]) == (201, "outputs[0].facets.version")
    assert await api.edges("dataset:db/b") == {"flow:etl/daily"}
    found = await http.post(openlineage.BATCH, json=[event(inputs=["c"]), wrong])
    assert (found.status_code, found.json()["notes"]) == (200, [{"index": 1, "note": note}])


@pytest.mark.parametrize(("body", "encoding", "status", "slug"), [
    (b"no gzip", "gzip", 400, "bad-gzip"),
    (b"", "gzip", 400, "bad-gzip"),
    (gzip.compress(json.dumps(event()).encode())[:-9], "gzip", 400, "bad-gzip"),
    (gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip", 400, "bad-gzip"),
    (gzip.compress(b" " * (MAX_EVENT_BYTES + 1)), "gzip", 413, "large-body"),
    (gzip.compress(b"\0" * 100_000_000), "gzip", 413, "large-body"),
    (b" " * (MAX_EVENT_BYTES + 1), "identity", 413, "large-body"),
    (b"{}", "br", 415, "unknown-encoding"),
    (b"{}", "gzip, gzip", 415, "unknown-encoding"),
])  # fmt: skip
async def test_packed_badly(http, body, encoding, status, slug):
    found = await http.post(openlineage.EVENT, content=body, headers={"Content-Encoding": encoding})
    assert (found.status_code, found.json()["type"]) == (status, f"urn:runway:problem:{slug}")


async def test_two_members_and_no_json(http):
    raw = json.dumps(event()).encode()
    packed = gzip.compress(raw[:20]) + gzip.compress(raw[20:])
    assert (await http.post(openlineage.EVENT, content=packed, headers={"Content-Encoding": "GZIP"})).status_code == 201
    assert (await http.post(openlineage.EVENT, content=raw, headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await http.get(openlineage.EVENT)).status_code == 405


async def test_while_the_graph_is_away_events_wait(api, http):
    api.store.down = True
    assert (await http.post(openlineage.EVENT, json=event(inputs=["a"]))).status_code == 202
    assert len(api.queue.reports) == 1


async def test_without_its_database_the_client_is_told_to_come_again(api, http):
    api.runs.down = True
    found = await http.post(openlineage.EVENT, json=event(inputs=["a"]))
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")


async def test_a_whole_process_takes_events_without_kafka_and_gives_them_on(tmp_path):
    app = application(Config(home=tmp_path, bootstrap="127.0.0.1:1"))
    async with app.router.lifespan_context(app):
        async with app.state.registry.change("cli:test") as change:
            _, key = await keys.create(change, "airflow", "admin", [], None)
        async with served(app) as url:
            await asyncio.to_thread(foreign(url, key).emit, training(RunState.COMPLETE, 9, ["payments"], ["scores"]))
            async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
                asked = {"node": "dataset:db/scores"}
                given = (await http.get("/v1/lineage/export", params={**asked, "format": "openlineage"})).json()
                assert [one["job"]["name"] for one in given] == ["fraud"]
                reached = (await http.get("/v1/impact", params={"node": "dataset:db/payments"})).json()
    assert [one["id"] for one in reached["items"]] == ["flow:training/fraud", "dataset:db/scores"]
