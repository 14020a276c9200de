"""OpenLineage from a topic: written by its own Python client to a real Kafka, taken by one process, and again after it has ended."""

import asyncio
import json

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.transport.kafka import KafkaConfig, KafkaTransport

from agents.openlineage import REASON, OpenLineageTopic
from runway_streams.config import kafka_client_options
from runway_streams.database import Database
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.openlineage.intake import OpenLineageIntake
from runway_streams.dependency.stores.migrate import MIGRATIONS as LINEAGE
from runway_streams.dependency.stores.sql_openlineage_runs import SqlOpenLineageRuns
from runway_streams.dependency.stores.sql_report_queue import SqlReportQueue
from runway_streams.dependency.stores.sql_store import SqlStore
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.topic_reader import open_topic
from schemas.dead_letter import DeadLetter

pytestmark = pytest.mark.kafka

NOW = 1_772_500_000_000
RUN = "01995c1d-0001-7000-8000-0000000000c1"
TOPIC = "openlineage.events"


class World:
    """Two databases, a topic that is not ours, and duties over them."""

    def __init__(self, config):
        self.config = config
        self.topic = config.topic_prefix + TOPIC
        self.registry = Registry(Database.open(None, config.home, MIGRATIONS), lambda: NOW, lambda settings: None)
        self.lineage = Database.open(f"sqlite:///{config.home}/lineage.db", config.home, LINEAGE)
        self.store = SqlStore(self.lineage)

    def duty(self, holder):
        graph = LineageGraph(self.store, SqlReportQueue(self.lineage), lambda: NOW)
        intake = OpenLineageIntake(graph, SqlOpenLineageRuns(self.lineage), lambda: NOW)
        return OpenLineageTopic(self.registry, self.config, self.topic, intake, holder)

    async def create(self):
        admin = AIOKafkaAdminClient(**kafka_client_options(self.config))
        await admin.start()
        await admin.create_topics([NewTopic(self.topic, 2, 1)])
        await admin.close()

    def client(self):
        servers = {"bootstrap.servers": self.config.bootstrap}
        return OpenLineageClient(transport=KafkaTransport(KafkaConfig(config=servers, topic=self.topic)))

    async def upstream(self, node):
        return {edge.upstream for edge in await self.store.edges([node], "upstream")}

    async def reached(self, node, expected):
        async with asyncio.timeout(60):
            while await self.upstream(node) != expected:
                await asyncio.sleep(0.1)

    async def dead_letters(self):
        async with open_topic(self.config, "dead-letters") as topic:
            return [msgspec.json.decode(record.value, type=DeadLetter) async for record in topic.to_end()]


@pytest.fixture
async def world(topics):
    made = World(await topics())
    yield made
    await made.lineage.close()
    await made.registry.database.close()


def training(state, second, inputs=(), outputs=()):
    return RunEvent(
        eventType=state, eventTime=f"2026-03-02T06:00:{second:02}Z", run=Run(RUN), job=Job("training", "fraud"),
        inputs=[InputDataset("db", name) for name in inputs], outputs=[OutputDataset("db", name) for name in outputs],
        producer="https://example.com/train",
    )  # fmt: skip


async def test_half_a_run_before_and_half_after_another_process_has_taken_over(world):
    await world.create()
    client, first = world.client(), world.duty("a")
    await asyncio.to_thread(client.emit, training(RunState.START, 0, inputs=["payments"]))
    first.start()
    await world.reached("flow:training/fraud", {"dataset:db/payments"})
    await first.stop()
    async with AIOKafkaProducer(**kafka_client_options(world.config)) as producer:
        await producer.send_and_wait(world.topic, json.dumps({"job": {"name": "half"}}).encode(), key=b"k")
        await producer.send_and_wait(world.topic, None, key=b"k")
    await asyncio.to_thread(client.emit, training(RunState.COMPLETE, 9, outputs=["scores"]))
    second = world.duty("b")
    second.start()
    try:
        await world.reached("dataset:db/scores", {"flow:training/fraud"})
        assert await world.upstream("flow:training/fraud") == {"dataset:db/payments"}
        async with asyncio.timeout(30):
            while not (letters := await world.dead_letters()):
                await asyncio.sleep(0.2)
    finally:
        await second.stop()
    assert [(one.reason, one.topic, one.key, one.raw) for one in letters] == [
        (REASON, world.topic, b"k", b'{"job": {"name": "half"}}')
    ]
    assert "missing required field" in letters[0].detail


async def test_a_topic_that_is_missing_is_told_and_not_made(world):
    duty = world.duty("a")
    duty.start()
    try:
        async with asyncio.timeout(60):
            while "does not exist" not in duty.problem:
                await asyncio.sleep(0.1)
    finally:
        await duty.stop()
    assert "RUNWAY_OPENLINEAGE_TOPIC" in duty.problem
