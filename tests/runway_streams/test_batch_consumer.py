"""One contract test for each private method of Faust that `batch_consumer` overrides, on a real Kafka."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from runway_streams.batch_consumer import FETCH_WAIT_MS, KEYS, BatchApp, BatchConsumer, PassThrough, TopicBatch
from runway_streams.config import Config, kafka_client_options
from tests.running import eventually

pytestmark = pytest.mark.kafka
LIMIT_S = 45


class Collector(BatchApp):
    """Collects batches; goes on from given offsets."""

    given: dict
    got: list[TopicBatch]
    opened: list[set[TP]]
    opening_s = 0.0

    async def positions(self, tps):
        if tps not in self.opened:
            await asyncio.sleep(self.opening_s)
            self.opened.append(tps)
        return {tp: self.given.get(tp, 0) for tp in tps}

    def of(self, topic: str) -> list[bytes]:
        return [value for batch in self.got if batch.topic == topic for value in batch.raw.values]


@asynccontextmanager
async def collector(config: Config, given: dict | None = None, max_poll: int = 100, **settings):
    app = Collector(
        f"{config.topic_prefix}collector", broker=f"kafka://{config.bootstrap}", web_enabled=False, store="memory://",
        consumer_auto_offset_reset="earliest", broker_max_poll_records=max_poll, topic_disable_leader=True,
        topic_allow_declare=False, table_standby_replicas=1, broker_commit_interval=0.2, stream_buffer_maxsize=4,
        autodiscover=False, datadir=str(config.home / "faust"), **settings,
    )  # fmt: skip
    app.given, app.got, app.opened = given or {}, [], []
    topic = app.topic(config.topic("predictions"), config.topic("outcomes"), schema=PassThrough())

    async def collect(stream):
        async for batch in stream:
            app.got.append(batch)

    app.agent(topic, name="collect")(collect)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def send(config: Config, noun: str, values: list[bytes], transactional: str | None = None) -> None:
    options = kafka_client_options(config) | ({"transactional_id": transactional} if transactional else {})
    async with AIOKafkaProducer(acks="all", linger_ms=5, **options) as producer:
        if not transactional:
            await asyncio.gather(*[await producer.send(config.topic(noun), value, partition=0) for value in values])
            return
        for value in values:
            async with producer.transaction():
                await producer.send(config.topic(noun), value, partition=0)


async def test_getmany_yields_whole_polls_with_their_positions(topics):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    await send(config, "predictions", [b"%d" % i for i in range(250)])
    async with collector(config) as app:
        await eventually(lambda: len(app.of(name)) >= 250, LIMIT_S)
        assert app.of(name) == [b"%d" % i for i in range(250)]
        batches = [batch for batch in app.got if batch.topic == name]
        assert len(batches) <= 4, "three polls of at most 100 records, not 250 messages"
        assert batches[0].start == 0
        for before, after in pairwise(batches):
            assert after.start == before.raw.next_offset == before.raw.offsets[-1] + 1
        assert all(len(batch.raw.timestamps) == len(batch.raw.values) for batch in batches)
        assert all(len(batch.keys) <= KEYS for batch in batches)


async def test_perform_seek_goes_on_from_the_offsets_in_the_state(topics):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    await send(config, "predictions", [b"%d" % i for i in range(20)])
    async with collector(config, {TP(name, 0): 15}) as app:
        await eventually(lambda: len(app.of(name)) >= 5, LIMIT_S)
        assert app.of(name) == [b"15", b"16", b"17", b"18", b"19"]
        assert app.opened == [{TP(config.topic(topic), 0) for topic in ("predictions", "outcomes")}]


async def test_an_opening_may_take_longer_than_a_request(topics, monkeypatch):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    await send(config, "predictions", [b"%d" % i for i in range(20)])
    monkeypatch.setattr(Collector, "opening_s", 8.0)
    short = {"broker_session_timeout": 5.0, "broker_request_timeout": 6.0, "broker_heartbeat_interval": 1.0}
    async with collector(config, {TP(name, 0): 15}, **short) as app:
        await eventually(lambda: len(app.of(name)) >= 5, LIMIT_S)
        assert app.of(name) == [b"15", b"16", b"17", b"18", b"19"]


async def test_wait_empty_waits_for_batches_but_not_in_an_app_that_has_crashed(topics, monkeypatch):
    """Whoever would have taken them is gone, and the commit that Faust makes at last may wait for five minutes."""
    config = await topics(partitions=1)
    async with collector(config) as app:
        await eventually(lambda: app.opened, LIMIT_S)
        done = asyncio.Event()
        with monkeypatch.context() as patch:
            patch.setattr(Consumer, "wait_empty", lambda self: done.wait())
            waiting = asyncio.create_task(app.consumer.wait_empty())
            await asyncio.sleep(0.3)
            assert not waiting.done()
            done.set()
            await asyncio.wait_for(waiting, 3)
            done.clear()
            waiting = asyncio.create_task(app.consumer.wait_empty())
            await asyncio.sleep(0)
            await app.crash(RuntimeError("a bug"))
            await asyncio.wait_for(waiting, 3)


async def test_new_offset_commits_the_end_of_the_last_batch(topics):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    await send(config, "predictions", [b"%d" % i for i in range(30)])
    async with collector(config) as app:
        await eventually(lambda: len(app.of(name)) >= 30, LIMIT_S)
        consumer = app.consumer._thread._consumer
        committed = None
        for _ in range(100):
            committed = await app.consumer._thread.call_thread(consumer.committed, TopicPartition(name, 0))
            if committed == 30:
                break
            await asyncio.sleep(0.1)
        assert committed == 30


async def test_read_again_delivers_a_dropped_batch_once_more(topics):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    await send(config, "predictions", [b"%d" % i for i in range(10)])
    async with collector(config) as app:
        await eventually(lambda: len(app.of(name)) >= 10, LIMIT_S)
        await app.consumer.read_again(TP(name, 0), 7)
        await eventually(lambda: len(app.of(name)) >= 13, LIMIT_S)
        assert app.of(name)[10:] == [b"7", b"8", b"9"]
        assert app.got[-1].start == 7


async def test_positions_step_over_the_markers_of_transactions(topics):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    await send(config, "predictions", [b"a", b"b", b"c"], transactional=f"{config.topic_prefix}t")
    async with collector(config) as app:
        await eventually(lambda: len(app.of(name)) >= 3, LIMIT_S)
        batches = [batch for batch in app.got if batch.topic == name]
        assert [offset for batch in batches for offset in batch.raw.offsets] == [0, 2, 4]
        assert batches[-1].raw.next_offset == 6, "the last marker is part of the batch"


async def test_aborted_events_are_never_seen(topics):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    async with AIOKafkaProducer(transactional_id=f"{config.topic_prefix}x", **kafka_client_options(config)) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(name, b"aborted", partition=0)
        await producer.abort_transaction()
    await send(config, "predictions", [b"kept"])
    async with collector(config) as app:
        await eventually(lambda: len(app.of(name)) >= 1, LIMIT_S)
        assert app.of(name) == [b"kept"]


async def test_the_end_of_the_log_is_known(topics):
    config = await topics(partitions=1)
    name = config.topic("predictions")
    await send(config, "predictions", [b"1"])
    async with collector(config) as app:
        thread = app.consumer._thread
        await eventually(lambda: thread.read_to_end_at(TP(name, 0)) is not None, LIMIT_S)
        position, told = thread.read_to_end_at(TP(name, 0))
        assert position == 1
        assert told > 1_600_000_000_000, "wall time in ms"
        await eventually(lambda: thread.read_to_end_at(TP(config.topic("outcomes"), 0)) is not None, LIMIT_S)


async def test_the_consumer_reads_committed_and_does_not_wait_long(topics):
    config = await topics(partitions=1)
    async with collector(config) as app:
        await eventually(lambda: app.consumer._thread._consumer is not None, LIMIT_S)
        assert isinstance(app.consumer, BatchConsumer)
        consumer = app.consumer._thread._consumer
        assert consumer._isolation_level == "read_committed"
        assert consumer._fetch_max_wait_ms == FETCH_WAIT_MS


async def test_gaps_between_last_offsets_mean_nothing(topics):
    config = await topics(partitions=1)
    async with collector(config) as app:
        await app.consumer._add_gap(TP("x", 0), 1, 1_000_000)
        assert not app.consumer._gap[TP("x", 0)]
