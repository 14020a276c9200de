"""The graph is lost, or another is set: the one in its place is told what the other was told, as far as that can be told again."""

from contextlib import aclosing
from dataclasses import replace

import pytest
from neo4j import GraphDatabase

from api.discoverer import Discoverer
from api.lineage_duties import SETTLED_MS, RegistryFollower
from api.lineage_parts import open_lineage
from runway_streams.config import Config
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.metaflow.local import MetaflowFolder
from runway_streams.dependency.metaflow.poll import look
from runway_streams.dependency.stores.neo4j_store import Neo4jStore
from runway_streams.devstack.children import free_port
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.neo4j_address import Neo4jAddress
from schemas.model import Model
from schemas.model_version import ModelVersion
from tests.api.lineage_world import edges, registered

pytestmark = pytest.mark.neo4j

FLOW = ("flow:metaflow/TrainM", "produces", "model:m")
MADE = ("model:m@1", "version_of", "model:m")


@pytest.fixture(autouse=True)
def _today(api):
    """The flows ran today."""
    api.clock = wall_clock()


@pytest.fixture
def empty(neo4j):
    """Takes all out of the Neo4j of the tests; its URL."""

    def emptied() -> str:
        address = Neo4jAddress.parse(neo4j.url)
        with GraphDatabase.driver(address.uri, auth=address.auth) as driver:
            driver.execute_query("MATCH (n) DETACH DELETE n", database_=address.database)
        return neo4j.url

    return emptied


@pytest.fixture
async def move(api, database_url, tmp_path):
    """Starts lineage anew over another graph, on the same database."""
    first, opened = api.lineage, []

    def to(neo4j: str | None) -> RegistryFollower:
        lineage = open_lineage(Config(home=tmp_path, database=database_url, neo4j=neo4j), lambda: api.clock)
        opened.append(lineage)
        api.lineage = replace(lineage, metaflow=first.metaflow)
        return RegistryFollower(api.registry, api.lineage, "test")

    yield to
    api.lineage = first
    for one in opened:
        await one.close()


async def settled(api, follower):
    """All is told, and so long ago that the cursor is past it."""
    await follower.step()
    api.clock += SETTLED_MS + 1
    await follower.step()
    assert await api.lineage.cursors.get(follower._cursor, 0) > 0


async def scanned(api):
    return [edge async for page in api.lineage.graph.store.scan() for edge in page]


async def test_another_graph_is_told_all_that_the_registry_says_and_the_first_again_if_it_is_set_again(api, move, empty):
    await registered(api, Model("m", flow="TrainM"), ("m", ModelVersion("1")))
    await settled(api, move(None))
    await settled(api, move(empty()))
    assert await edges(api, "model:m") == {FLOW, MADE}
    await registered(api, ("m", ModelVersion("2")))
    await settled(api, move(None))
    assert await edges(api, "model:m") == {FLOW, MADE, ("model:m@2", "version_of", "model:m")}


async def test_a_graph_that_was_lost_under_a_running_follower_is_told_all_again_and_once(api, move, empty):
    await registered(api, Model("m", flow="TrainM"), ("m", ModelVersion("1")))
    follower = move(empty())
    await settled(api, follower)
    empty()
    await follower.step()
    assert await edges(api, "model:m") == {FLOW, MADE}
    told = told_to(api.lineage.graph)
    await follower.step()
    assert told == []


async def test_runs_of_metaflow_are_asked_for_again(api, flows, move, empty):
    await registered(api, Model("device-risk", flow="DeviceRiskFlow"), Model("other", flow="FraudFlow"))
    found = []
    for neo4j in (None, empty()):
        follower = move(neo4j)
        api.lineage = follower._lineage = replace(api.lineage, metaflow=MetaflowFolder(flows.root))
        discoverer = Discoverer(api.registry, api.lineage, api.lineage.metaflow)
        await follower.step()
        assert (await api.lineage.discoveries.counts()).keys() == ({"pending"} if neo4j else set())
        await discoverer.follow_flows()
        await follower.step()
        while await discoverer.discover_due(lambda: 1.0):
            pass
        assert (await api.lineage.discoveries.counts()).keys() == {"done"}
        found.append({edge.key for edge in await scanned(api)})
    assert found[0] == found[1]
    assert {"metaflow:FeatureFlow", "metaflow:DeviceRiskFlow", "metaflow:FraudFlow"} <= {edge.reporter for edge in found[0]}


async def test_runs_that_made_no_version_are_told_again(api, flows, move, empty):
    # Not the flow of fraud, which the run says that it has made.
    await registered(api, Model("fraud"), Model("other", flow="FraudFlow"))
    found = []
    for neo4j in (None, empty()):
        follower = move(neo4j)
        await follower.step()
        await Discoverer(api.registry, api.lineage, MetaflowFolder(flows.root)).follow_flows()
        found.append({edge.key for edge in await scanned(api)})
    assert found[0] == found[1]
    assert {edge.reporter for edge in found[0]} == {"metaflow:FraudFlow", "registry"}


async def test_a_poll_that_another_graph_comes_amidst_says_nothing_of_what_that_one_was_told(
    api, flows, move, empty, monkeypatch
):
    await registered(api, Model("fraud"), Model("other", flow="FraudFlow"))
    late = Discoverer(api.registry, api.lineage, MetaflowFolder(flows.root))
    follower = move(empty())
    asked: list[str] = []

    async def amidst(runs, flow, cursor, now):
        found = await look(runs, flow, cursor, now)
        asked.append(flow)
        await follower.step()
        return found

    monkeypatch.setattr("api.discoverer.look", amidst)
    await late.follow_flows()
    await Discoverer(api.registry, api.lineage, MetaflowFolder(flows.root)).follow_flows()
    assert asked == ["FraudFlow"] * 2
    assert {edge.reporter for edge in await scanned(api)} == {"metaflow:FraudFlow", "registry"}


async def test_while_the_graph_is_down_nothing_is_told_twice_and_what_is_new_waits(api, move, empty):
    await registered(api, Model("m", flow="TrainM"))
    url = empty()
    await settled(api, move(url))
    follower = move(f"bolt://localhost:{free_port()}/neo4j")
    told = told_to(api.lineage.graph)
    await follower.step()
    assert (told, api.lineage.graph.problem != "") == ([], True)
    await registered(api, ("m", ModelVersion("1")))
    await follower.step()
    await follower.step()
    assert (told, await api.lineage.graph.queue.size()) == (["model:m@1"], 1)
    async with aclosing(Neo4jStore.open(url)) as back:
        graph = LineageGraph(back, api.lineage.graph.queue, lambda: api.clock)
        api.lineage = follower._lineage = replace(api.lineage, graph=graph)
        assert await graph.drain() == 1
        told = told_to(graph)
        await follower.step()
        assert told == [], "it is the same graph"
        assert await edges(api, "model:m") == {FLOW, MADE}


def told_to(graph: LineageGraph) -> list[str]:
    """What a graph is told from now on."""
    told: list[str] = []
    tell = graph.tell

    async def noted(reports):
        told.extend(report.nodes[0].id for report in reports)
        return await tell(reports)

    graph.tell = noted
    return told
