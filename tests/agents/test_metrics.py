"""Emissions to a real Kafka, and what becomes of one that is under way when the partition is taken away."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agents import metrics
from agents.metrics import MetricsEmitter
from runway_streams.ground_truth.partition import PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.settings import SettingsHistory
from tables.memory_store import MemoryStore
from tests.faults.verifier import read_topic

pytestmark = pytest.mark.kafka
LIMIT_S = 15


@pytest.fixture
def partition() -> Partition:
    found = Partition(MemoryStore(), SettingsHistory(), "c", 1)
    event = b'{"prediction_id":"a","model_id":"m","timestamp":1000,"prediction":true}'
    assert found.apply(PREDICTIONS, RawBatch([event], [0], [2_000_000], 1)) == []
    found.commit()
    return found


@asynccontextmanager
async def emitting(config, monkeypatch, halt):
    """An emitter that comes to `halt` within its transaction."""
    emitter = MetricsEmitter(config, 0)
    await emitter.start()
    inside = asyncio.Event()
    send = emitter._producer.send_batch

    async def send_batch(*arguments, **named):
        sent = await send(*arguments, **named)
        inside.set()
        await halt()
        return sent

    monkeypatch.setattr(emitter._producer, "send_batch", send_batch)
    try:
        yield emitter, inside
    finally:
        await emitter.stop()


async def test_an_emission_under_way_ends_before_its_writer_does(topics, partition, monkeypatch):
    config = await topics(partitions=1)
    async with emitting(config, monkeypatch, lambda: asyncio.sleep(0.5)) as (emitter, inside):
        emission = asyncio.create_task(emitter.emit(partition, hourly=True))
        await inside.wait()
        await asyncio.wait_for(emitter.stop(), LIMIT_S)
        assert await asyncio.wait_for(emission, LIMIT_S) >= 1
    assert not partition.outbox
    assert len(await asyncio.to_thread(read_topic, config, "metrics")) >= 2


async def test_an_emission_that_does_not_end_is_given_up_and_nothing_of_it_is_read(topics, partition, monkeypatch):
    monkeypatch.setattr(metrics, "ENDS_WITHIN_S", 0.2)
    config = await topics(partitions=1)
    before = dict(partition.outbox)
    async with emitting(config, monkeypatch, asyncio.Event().wait) as (emitter, inside):
        emission = asyncio.create_task(emitter.emit(partition, hourly=True))
        await inside.wait()
        await asyncio.wait_for(emitter.stop(), LIMIT_S)
        with pytest.raises(TimeoutError, match="stopped"):
            await asyncio.wait_for(emission, LIMIT_S)
    assert partition.outbox == before, "kept for whoever emits next"
    assert await asyncio.to_thread(read_topic, config, "metrics") == []


async def test_one_that_was_stopped_before_it_has_started_does_not_fence_its_heir(topics, partition):
    config = await topics(partitions=1)
    late = MetricsEmitter(config, 0)
    await late.stop()
    with pytest.raises(TimeoutError):
        await late.start()
