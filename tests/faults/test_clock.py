"""Clocks of brokers that are wrong: log times that step back, and some in 2100, expire nothing, stop nothing, count once."""

import asyncio
import shutil
import time
from collections.abc import Callable

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer

from batch.cutoff import request_flush
from batch.lake import open_lake
from batch.segments import segments_after
from runway_streams.config import Config
from runway_streams.ground_truth.speed_rows import _read
from runway_streams.times import HOUR
from tests.faults.counted import assert_counted
from tests.faults.test_refusals import admin
from tests.running import caught_up, counters, worker
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]
IN_2100 = 4_102_444_800_000
WORDS = {"CreateTime": ("CreateTime", str((1 << 63) - 1)), "LogAppendTime": ("LogAppendTime", "3600000")}


async def stamp_by(config: Config, whose: str) -> None:
    """Lets the producer say what log time records have, as a broker with a wrong clock would, or the broker again."""
    kind, after = WORDS[whose]
    settings = {"message.timestamp.type": kind, "message.timestamp.after.max.ms": after}
    for noun in ("predictions", "outcomes"):
        resource = ConfigResource(ConfigResourceType.TOPIC, config.topic(noun), settings)
        await admin(config, lambda client, resource=resource: client.alter_configs([resource]))


def send_stamped(config: Config, traffic: Traffic, start: int, end: int, stamp: int) -> None:
    producer = Producer({"bootstrap.servers": config.bootstrap, "partitioner": "murmur2_random"})
    failed: list = []
    for noun, key, value in traffic.events[start:end]:
        producer.produce(config.topic(noun), value, key, timestamp=stamp, on_delivery=lambda e, _: e and failed.append(e))
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed, failed[:3]


@pytest.mark.parametrize("stamp", [IN_2100, -3 * HOUR], ids=["in_2100", "three_hours_back"])
async def test_a_wrong_clock_of_a_broker_costs_nothing(topics, seed: int, start: Callable, stamp: int):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=6_000)
    third = len(traffic.events) // 3
    stamp = stamp if stamp > 0 else time.time_ns() // 1_000_000 + stamp
    process = start(config, "worker-0", RUNWAY_ARCHIVE=(config.home / "elsewhere").as_uri())
    with worker(config, "archive", "archive-0", RUNWAY_ARCHIVE=(config.home / "elsewhere").as_uri()):
        await asyncio.to_thread(traffic.send, config, 0, third)
        await caught_up(config, process)
        await stamp_by(config, "CreateTime")
        await asyncio.to_thread(send_stamped, config, traffic, third, 2 * third, stamp)
        await stamp_by(config, "LogAppendTime")
        await caught_up(config, process)
        await asyncio.to_thread(traffic.send, config, 2 * third, None)
        found = await caught_up(config, process)
        lake = open_lake((config.home / "elsewhere").as_uri())
        await asyncio.to_thread(request_flush, config, lake)
    await assert_counted(config, traffic)
    assert all(mark.clock < time.time_ns() // 1_000_000 + HOUR for mark in found.values())
    told = counters(found)
    assert told["duplicates"] == traffic.expected["duplicates"]
    assert told.get("expired", 0) == 0
    assert told.get("unbelieved", 0) == (third if stamp == IN_2100 else 0)
    assert sum(n for name, n in told.items() if name.startswith("dead_letters")) == traffic.expected["bad"]
    archived = sum(segment.rows for segment in segments_after(lake, {}, config.home / "scratch"))
    assert archived == len(traffic.events) - traffic.expected["bad"]
    # What is read again says the same, record by record.
    before = await _read(config)
    process.kill()
    shutil.rmtree(config.home / "state" / "worker-0")
    process.start()
    await caught_up(config, process)
    after = await _read(config)
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
