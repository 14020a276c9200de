"""Producers with partitioners of their own: a shared one joins as it is, a differing one is named, and the batch joins."""

import asyncio
import json
import time

import pytest
from confluent_kafka import Producer

from batch.nightly import run_batch
from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from tests.faults.test_refusals import reasons
from tests.running import caught_up, counters, eventually, worker

pytestmark = pytest.mark.kafka
N = 1_000


def send(config: Config, predictions: str, outcomes: str) -> None:
    now = int(time.time() * 1000)
    for noun, partitioner in (("predictions", predictions), ("outcomes", outcomes)):
        producer = Producer({"bootstrap.servers": config.bootstrap, "partitioner": partitioner})
        for i in range(N):
            event = {"prediction_id": f"p{i}", "timestamp": now - 60_000}
            event |= {"model_id": "m", "prediction": i % 2} if noun == "predictions" else {"actual_outcome": i % 2}
            producer.produce(config.topic(noun), json.dumps(event).encode(), f"p{i}")
        producer.flush(30)


async def test_one_foreign_partitioner_for_both_topics_joins_as_it_is(topics):
    config = await topics(partitions=4)
    port = str(free_port())
    with worker(config, RUNWAY_WEB_PORT=port) as process:
        await asyncio.to_thread(send, config, "fnv1a_random", "fnv1a_random")
        assert counters(await caught_up(config, process))["joined"] == N
        assert not reasons(port)


async def test_a_differing_partitioner_is_named_and_the_batch_joins_its_pairs(topics):
    config = await topics(partitions=4)
    port = str(free_port())
    with worker(config, RUNWAY_WEB_PORT=port) as process, worker(config, "archive"):
        await asyncio.to_thread(send, config, "murmur2_random", "consistent_random")
        assert counters(await caught_up(config, process))["joined"] < N
        await eventually(lambda: "CRC-32" in reasons(port), 60, process.tail)
        assert "Set partitioner=murmur2_random in both producers." in reasons(port)
        report = await asyncio.to_thread(run_batch, config, final=True)
        assert report.joined == N
