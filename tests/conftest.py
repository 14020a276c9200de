"""What all tests share: a real Kafka, PostgreSQL and Neo4j for the run; topics and databases of their own for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.devstack.neo4j import EmbeddedNeo4j
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.topics import create_topics
from tests.clock import Clock
from tests.metaflow_flows import MetaflowHome, run_flows
from tests.mlflow_server import MlflowServer
from tests.postgres import PostgresServer

# How fast a machine makes examples says nothing about the code.
settings.register_profile("runway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("runway")

_numbers = count(1)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A real Kafka, started once. Tests that kill or stop a broker start one of their own."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), heap="384m") as running:
        yield running


@pytest.fixture
def config(kafka: EmbeddedKafka, tmp_path: Path) -> Config:
    """A home of its own, on the shared Kafka, under a topic prefix that no other test has."""
    return Config(home=tmp_path, bootstrap=kafka.bootstrap, topic_prefix=f"test{next(_numbers)}.")


@pytest.fixture
def topics(config: Config) -> Callable[..., Awaitable[Config]]:
    """`await topics(partitions=2)` creates this test's topics and returns its configuration."""

    async def create(partitions: int = 2) -> Config:
        await create_topics(config, partitions, replication=1)
        return config

    return create


@pytest.fixture(scope="session")
def neo4j(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNeo4j]:
    """A real Neo4j, started once. Tests that stop a server start one of their own."""
    with EmbeddedNeo4j(tmp_path_factory.mktemp("neo4j")) as running:
        yield running


@pytest.fixture(scope="session")
def flows(tmp_path_factory: pytest.TempPathFactory) -> MetaflowHome:
    """Real runs of Metaflow, made once."""
    return run_flows(tmp_path_factory.mktemp("metaflow"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real PostgreSQL, started once. Tests that stop a server start one of their own."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    return request.getfixturevalue("postgres").create(f"test{next(_numbers)}")


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """An open database of either kind, with the registry's tables."""
    opened = Database.open(database_url, tmp_path, MIGRATIONS)
    await opened.prepare()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server, started once; tests use models of their own."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def registry(database: Database, clock: Clock) -> Registry:
    """A registry in either database, by the test's clock."""
    return Registry(database, clock, lambda settings: None)
