"""The export: what was told as OpenLineage comes out as OpenLineage, and as DOT; whole or not at all."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from api import lineage_export
from api.lineage_export import get_export
from api.problems import EXCEPTION_HANDLERS
from runway_streams.database import Database
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.openlineage.event import read_event, split_batch
from runway_streams.dependency.openlineage.facets import LeftOut
from runway_streams.dependency.openlineage.reports import static_report
from runway_streams.dependency.report import Report
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.dependency.stores.sql_store import SqlStore
from runway_streams.dependency.walk import MAX_NODES
from runway_streams.errors import DependencyDown

NOW = 1_772_500_000_000
# Two ways lead to the model, of which a walk keeps one; the last edge leads away from it.
CLAIMS = [
    Claim("dataset:db/raw", "flow:etl/one"), Claim("flow:etl/one", "dataset:db/a%20b", "produces"),
    Claim("dataset:db/a%20b", "flow:etl/train"), Claim("dataset:db/raw", "flow:etl/train"),
    Claim("flow:etl/train", "model:fraud@1", "produces"), Claim("model:fraud@1", "model:fraud", "version_of"),
    Claim("model:fraud", "consumer:bi/board"),
]  # fmt: skip


class Store(SqlStore):
    """A store that can be taken away."""

    down = False
    waits = 0.0

    async def edges(self, *question):
        await asyncio.sleep(self.waits)
        if self.down:
            raise DependencyDown("The graph is away.")
        return await super().edges(*question)


@pytest.fixture
async def store(tmp_path):
    opened = Store(Database.open(f"sqlite:///{tmp_path}/lineage.db", tmp_path, MIGRATIONS))
    await opened.apply([Report("test", NOW, CLAIMS)])
    yield opened
    await opened.close()


@pytest.fixture
async def http(store):
    app = Starlette(routes=[Route("/v1/lineage/export", get_export)], exception_handlers=EXCEPTION_HANDLERS)
    app.state.lineage, app.state.now = LineageGraph(store, None, lambda: NOW), lambda: NOW
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


async def export(http, **question):
    return await http.get("/v1/lineage/export", params={"node": "model:fraud", **question})


async def test_openlineage_can_be_read_back(http):
    found = await export(http, format="openlineage")
    assert found.status_code == 200
    reports = [static_report(read_event(raw), LeftOut()) for raw in split_batch(found.content)]
    told = {(one.upstream, one.downstream, one.kind) for report in reports for one in report.claims}
    assert told == {(one.upstream, one.downstream, one.kind) for one in CLAIMS[:-1]}


async def test_dot_has_every_edge_not_only_those_of_the_walk(http):
    found = await export(http)
    assert found.headers["content-type"].startswith("text/vnd.graphviz")
    assert found.text.count(" -> ") == 6
    assert '"dataset:db/raw" -> "flow:etl/train"' in found.text
    assert (await export(http, depth=2)).text.count(" -> ") == 2
    downstream = await export(http, direction="downstream")
    assert downstream.text.count(" -> ") == 1
    assert (await export(http, as_of="2020-01-01T00:00:00Z")).text.count(" -> ") == 0


@pytest.mark.parametrize(("question", "status", "slug"), [
    ({"format": "svg"}, 400, "bad-format"),
    ({"type": "model"}, 400, "unknown-parameter"),
    ({"depth": "1000000000"}, 400, "bad-depth"),
    ({"direction": "up"}, 400, "bad-direction"),
    ({"node": "table:a"}, 400, "bad-node"),
    ({"node": "model:nobody"}, 404, "unknown-node"),
    ({"depth": ["1", "2"]}, 400, "repeated-parameter"),
])  # fmt: skip
async def test_wrong_questions(http, question, status, slug):
    found = await export(http, **question)
    assert (found.status_code, found.json()["type"]) == (status, f"urn:runway:problem:{slug}")


async def test_half_a_graph_is_not_exported(store, http):
    claims = [Claim(f"dataset:db/{number}", "model:wide") for number in range(MAX_NODES + 1)]
    await store.apply([Report(f"test{part}", NOW, claims[part::2]) for part in range(2)])
    found = await export(http, node="model:wide")
    assert (found.status_code, found.json()["type"]) == (422, "urn:runway:problem:large-export")
    store.down = True
    assert (await export(http)).status_code == 503


async def test_an_export_has_one_limit_of_time(store, http, monkeypatch):
    """Each of its questions to a slow store may take its own time."""
    monkeypatch.setattr(lineage_export, "EXPORT_S", 0.3)
    store.waits = 0.1
    found = await export(http)
    assert (found.status_code, found.json()["type"]) == (422, "urn:runway:problem:large-export")
    store.waits = 0.0
    assert (await export(http)).status_code == 200
