"""The speed view, the settings and the reconciliation's rows over a real Kafka."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer

from api.app import application
from api.lag import LagMonitor
from api.speed_view import SpeedView
from batch.lake import open_lake
from runway_streams.config import kafka_client_options
from runway_streams.devstack.first_key import make_first_key
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.model_settings_store import SettingsReader, encode_changes, wall_clock
from runway_streams.ground_truth.records import mark_key, pack_mark, pack_slim, slim_key
from runway_streams.ground_truth.speed_rows import read_speed_rows
from runway_streams.times import HOUR
from schemas.metrics_record import Mark
from schemas.model_settings import ModelSettings
from tests.api.conftest import http_client
from tests.running import eventually

pytestmark = pytest.mark.kafka


def slim_record(predictions):
    matrix = slim.empty(12)
    matrix[0, slim.INDEX["predictions"]] = predictions
    return pack_slim(matrix)


async def emit(config, *transactions):
    """Writes transactions of (partition, predictions), each with its mark; the last of them is aborted if it says so."""
    hour = wall_clock() // HOUR
    options = {"transactional_id": "test", **kafka_client_options(config)}
    async with AIOKafkaProducer(**options) as producer:
        for partition, predictions, commit in transactions:
            await producer.begin_transaction()
            topic = config.topic("metrics")
            mark = Mark({config.topic("predictions"): predictions}, wall_clock(), 0, {"predictions": predictions})
            key = slim_key("m", "1", "", "", hour, hour)
            await producer.send_and_wait(topic, slim_record(predictions), key=key, partition=partition)
            await producer.send_and_wait(topic, pack_mark(mark), key=mark_key(), partition=partition)
            await (producer.commit_transaction() if commit else producer.abort_transaction())
    return hour


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def test_the_view_has_the_last_committed_value_of_every_partition(topics):
    config = await topics(partitions=2)
    await emit(config, (0, 5, True), (0, 7, True), (1, 3, True), (1, 99, False))
    view = SpeedView(config, wall_clock, lambda: None)
    view.start()
    try:
        await until(lambda: view.ready)
        assert view.store.layer("m").rows.values[:, 0].sum() == 10
        assert view.store.marks.keys() == {0, 1}
        began = time.perf_counter()
        await emit(config, (0, 8, True))
        await until(lambda: view.store.marks[0].counters["predictions"] == 8)
        assert view.store.layer("m").rows.values[:, 0].sum() == 11
        assert time.perf_counter() - began < 10
    finally:
        await view.stop()


async def test_an_empty_topic_is_read_to_its_end(topics):
    view = SpeedView(await topics(), wall_clock, lambda: None)
    view.start()
    try:
        await until(lambda: view.ready)
    finally:
        await view.stop()


async def test_reconciliation_reads_the_merged_totals(topics):
    config = await topics(partitions=2)
    hour = await emit(config, (0, 5, True), (1, 3, True), (0, 6, True), (0, 50, False))
    rows = await asyncio.to_thread(read_speed_rows, config)
    assert list(rows) == [("m", "1", hour, hour)]
    assert rows["m", "1", hour, hour][0] == 9


async def publish(config, *changes):
    async with AIOKafkaProducer(**kafka_client_options(config)) as producer:
        await producer.send_and_wait(config.topic("models"), encode_changes(list(changes)), key=changes[0].model_id.encode())


async def test_settings_are_followed_and_kept_by_time(topics):
    config = await topics()
    first = ModelSettings("fraud", task="binary", join_window="PT2H", effective_from=0)
    await publish(config, first)
    async with SettingsReader(config) as reader:
        await asyncio.wait_for(reader.ready(), 20)
        assert reader.fresh_until() <= wall_clock()
        assert reader.history.at("fraud", 0).window == 2 * HOUR
        await publish(config, first, ModelSettings("fraud", task="binary", join_window="PT3H", effective_from=61_000))
        await until(lambda: reader.history.at("fraud", 61_000).window == 3 * HOUR)
        assert reader.history.at("fraud", 60_999).window == 2 * HOUR
        before = reader.fresh_until()
        await until(lambda: reader.fresh_until() > before)


async def test_what_is_registered_reaches_the_workers_and_applies_later_to_a_model_that_was_seen(topics):
    config = await topics(partitions=1)
    await emit(config, (0, 5, True))
    key = await make_first_key(config)
    assert await make_first_key(config) is None
    app = application(config)
    async with app.router.lifespan_context(app), http_client(app) as http, SettingsReader(config) as reader:
        http.headers["Authorization"] = f"Bearer {key}"
        began = wall_clock()
        for model in ("m", "new"):
            assert (await http.post("/v1/models", json={"model_id": model, "join_window": "PT2H"})).status_code == 201
        async with asyncio.timeout(30):
            while set(reader.history.models()) != {"m", "new"}:
                await asyncio.sleep(0.05)
        assert reader.history.at("new", 0).window == 2 * HOUR
        assert reader.history.at("m", began + 60_000).window == HOUR
        assert reader.history.at("m", wall_clock() + 71_000).window == 2 * HOUR
        async with asyncio.timeout(10):
            while not (await http.get("/v1/models/m")).json()["settings"]["published"]:
                await asyncio.sleep(0.05)
        document = (await http.get("/v1/models/m")).json()
        assert (document["registered"], document["seen"]["predictions"]) == (True, 5)


async def test_the_api_over_a_real_kafka(topics):
    config = await topics(partitions=1)
    await emit(config, (0, 5, True))
    app = application(config)
    key = await make_first_key(config)
    async with app.router.lifespan_context(app), http_client(app) as http:
        http.headers["Authorization"] = f"Bearer {key}"
        async with asyncio.timeout(20):
            while (found := await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.1)
        found = (await http.get("/v1/models/m/performance")).json()
        assert found["totals"]["predictions"] == 5
        assert (found["totals"]["source"], found["degraded"]) == ("speed", [])
        assert (await http.get("/v1/models/other/performance")).status_code == 404


async def test_the_lag_of_a_worker_that_does_not_run_is_what_lies_in_the_log(topics, tmp_path):
    config = await topics(partitions=2)
    async with AIOKafkaProducer(**kafka_client_options(config)) as producer:
        for _ in range(3):
            await producer.send_and_wait(config.topic("predictions"), b"{}", partition=1)
    monitor = LagMonitor(config, dict, lambda: open_lake(tmp_path.as_uri()))
    monitor.start()
    try:
        await eventually(lambda: monitor.lag, 30, lambda: monitor.problem)
    finally:
        await monitor.stop()
    assert {place: events for place, events in monitor.lag.items() if events} == {
        ("runway-ground-truth", config.topic("predictions"), 1): 3,
        ("runway-archive", config.topic("predictions"), 1): 3,
    }
    assert len(monitor.lag) == 8
