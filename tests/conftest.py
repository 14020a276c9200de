"""What all tests share: one real Kafka for the run, and topics of their own for each test."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from runway_streams.config import Config
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.topics import create_topics

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
