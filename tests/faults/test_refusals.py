"""Where an answer would be wrong the worker refuses, the partition alone where that is enough, and says what to do."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from runway_streams.config import Config, kafka_client_options
from runway_streams.devstack.children import free_port
from tests.faults.counted import assert_counted
from tests.running import WorkerProcess, caught_up, eventually, marks, worker
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]


def reasons(port: str) -> str:
    try:
        return " ".join(httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).json()["reasons"])
    except (httpx.HTTPError, ValueError):
        return ""


async def admin(config: Config, ask) -> None:
    client = AIOKafkaAdminClient(**kafka_client_options(config))
    await client.start()
    try:
        await ask(client)
    finally:
        await client.close()


async def test_a_topic_with_the_producers_own_times_is_refused(topics):
    config = await topics(partitions=1)
    resource = ConfigResource(ConfigResourceType.TOPIC, config.topic("outcomes"), {"message.timestamp.type": "CreateTime"})
    await admin(config, lambda client: client.alter_configs([resource]))
    with worker(config) as process:
        await eventually(lambda: not process.alive(), 60, process.tail)
        assert "Set message.timestamp.type=LogAppendTime" in process.tail()
        assert process.process.returncode != 0


async def test_a_log_that_does_not_reach_back_is_refused_by_the_partition_alone(topics):
    config = await topics(partitions=2)
    traffic = Traffic(11, pairs=1_000)
    port = str(free_port())
    with worker(config, RUNWAY_WEB_PORT=port) as process:
        await asyncio.to_thread(traffic.send, config)
        await caught_up(config, process)
        process.kill()
        shutil.rmtree(config.home / "state")
        cut = {TopicPartition(config.topic("predictions"), 0): RecordsToDelete(before_offset=10)}
        await admin(config, lambda client: client.delete_records(cut))
        process.start()
        await eventually(lambda: "RUNWAY_ACCEPT_GAP" in reasons(port), 60, process.tail)
        assert reasons(port).startswith("Partition 0 is refused")
        before = (await marks(config))[1].clock
        later = Traffic(12, pairs=500)
        await asyncio.to_thread(later.send, config)
        await until_mark_passes(config, 1, before)
        process.stop()
    with worker(config, RUNWAY_ACCEPT_GAP="1") as process:
        found = await caught_up(config, process)
        assert found[0].incomplete_hours
        assert not found[1].incomplete_hours


async def until_mark_passes(config: Config, partition: int, clock: int) -> None:
    """Waits until the other partition has gone on."""
    for _ in range(200):
        if (await marks(config))[partition].clock > clock:
            return
        await asyncio.sleep(0.2)
    raise AssertionError("The other partition stands still.")


async def test_a_topic_that_was_made_anew_is_refused(topics):
    config = await topics(partitions=1)
    port = str(free_port())
    with worker(config, RUNWAY_WEB_PORT=port) as process:
        await asyncio.to_thread(Traffic(13, pairs=300).send, config)
        await caught_up(config, process)
        process.stop()
        await remake(config, "predictions")
        process.start()
        await eventually(lambda: "it was made anew" in reasons(port), 60, process.tail)


async def remake(config: Config, noun: str) -> None:
    from runway_streams.topics import create_topics

    await admin(config, lambda client: client.delete_topics([config.topic(noun)]))
    for _ in range(100):
        await asyncio.sleep(0.2)
        if config.topic(noun) in await create_topics(config, 1, replication=1):
            return
    raise AssertionError(f"{noun} could not be made anew.")


async def test_partitions_that_were_added_are_refused(topics):
    config = await topics(partitions=1)
    port = str(free_port())
    process = WorkerProcess(config, RUNWAY_WEB_PORT=port).start()
    try:
        await asyncio.to_thread(Traffic(14, pairs=300).send, config)
        await caught_up(config, process)
        process.stop()
        for noun in ("predictions", "outcomes", "metrics"):
            grown = {config.topic(noun): NewPartitions(2)}
            await admin(config, lambda client, grown=grown: client.create_partitions(grown))
        process.start()
        await eventually(lambda: "now have 2" in reasons(port), 60, process.tail)
    finally:
        process.stop()


async def test_a_state_that_another_process_holds_is_refused(topics, tmp_path: Path):
    config = await topics(partitions=1)
    traffic = Traffic(15, pairs=300)
    port = str(free_port())
    with worker(config) as first:
        await asyncio.to_thread(traffic.send, config)
        await caught_up(config, first)
        first.process.send_signal(19)  # SIGSTOP: it keeps its locks
        with worker(config, RUNWAY_WEB_PORT=port) as second:
            await eventually(lambda: "RUNWAY_INSTANCE" in reasons(port), 60, second.tail)
        first.process.send_signal(18)
        await assert_counted(config, traffic)
