"""Batches that inflate beyond the bound: refused with where they lie, in bounded memory; all others as aiokafka reads them."""

import asyncio
import random
import subprocess
import sys

import httpx
import pytest
from aiokafka import AIOKafkaProducer, codec
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.bounded_batches import DECODERS, MIB, TooLarge, bound_batches
from runway_streams.config import Config, kafka_client_options
from runway_streams.devstack.children import free_port
from runway_streams.errors import Refused
from runway_streams.topic_reader import open_topic
from tests.faults.counted import assert_counted
from tests.running import WorkerProcess, caught_up, ends, eventually, marks, worker
from tests.traffic import Traffic

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
BOMB_MIB = 512


@pytest.fixture(autouse=True)
def _bounded():
    bound_batches(2 * MIB)
    yield
    bound_batches(64 * MIB)


def batch(kind: str, *values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, CODECS[kind], 0, -1, -1, -1, 1 << 30)
    for offset, value in enumerate(values):
        assert builder.append(offset, 0, b"k", value, []) is not None
    return bytes(builder.build())


@pytest.mark.parametrize("kind", CODECS)
def test_a_batch_within_the_bound_is_read_and_one_beyond_it_is_not(kind: str):
    fine = [random.Random(1).randbytes(1000) + b"x" * 500_000, b"", b"{}"]
    assert [bytes(record.value) for record in DefaultRecordBatch(batch(kind, *fine))] == fine
    with pytest.raises(TooLarge):
        list(DefaultRecordBatch(batch(kind, bytes(2 * MIB + 1))))


@given(st.sampled_from(sorted(CODECS)), st.binary(min_size=1, max_size=2000), st.integers(1, 50))
def test_what_is_decoded_is_what_aiokafka_decodes(kind: str, piece: bytes, times: int):
    packed = getattr(codec, f"{kind}_encode")(piece * times)
    assert bytes(DECODERS[f"{kind}_decode"](packed)) == getattr(codec, f"{kind}_decode")(packed) == piece * times


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=200))
def test_bytes_of_any_kind_are_an_error_where_they_are_one_for_aiokafka(kind: str, junk: bytes):
    try:
        expected = getattr(codec, f"{kind}_decode")(junk)
    except Exception:
        with pytest.raises(Exception):  # noqa: B017 - each codec has errors of its own
            DECODERS[f"{kind}_decode"](junk)
    else:
        assert bytes(DECODERS[f"{kind}_decode"](junk)) == expected


@pytest.mark.parametrize("kind", CODECS)
def test_a_bomb_costs_no_more_memory_than_the_bound(kind: str):
    """In a process of its own, whose peak is its own: beside the bomb's few bytes it may take the bound, twice."""
    program = f"""
import cramjam, resource, sys, zlib
from runway_streams.bounded_batches import DECODERS, MIB, TooLarge, bound_batches
packed = sys.stdin.buffer.read()
bound_batches(64 * MIB)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    DECODERS["{kind}_decode"](packed)
except TooLarge:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    packed = getattr(codec, f"{kind}_encode")(bytes(BOMB_MIB * MIB))
    done = subprocess.run([sys.executable, "-c", program], input=packed, capture_output=True, timeout=60)
    assert done.stdout, done.stderr.decode()
    assert int(done.stdout) < 150


@pytest.mark.kafka
async def test_a_worker_leaves_the_partition_alone_says_why_and_reads_on_where_the_bound_is_raised(topics):
    config: Config = await topics(partitions=2)
    traffic = Traffic(seed=3, pairs=200)
    await asyncio.to_thread(traffic.send, config)
    bomb = {"compression_type": "zstd", "max_request_size": 1 << 30, "max_batch_size": 1 << 30}
    async with AIOKafkaProducer(**kafka_client_options(config) | bomb) as producer:
        sent = await producer.send_and_wait(config.topic("predictions"), bytes(100 * MIB), partition=1)
    port = free_port()
    with worker(config, RUNWAY_WEB_PORT=str(port)) as process:
        told = f"{config.topic('predictions')}-1: the batch at offset {sent.offset} inflates to more than 64 MiB"
        await eventually(lambda: told in _ready(port), 90, process.tail)
        assert "RUNWAY_MAX_BATCH_MIB" in _ready(port)
        await reached(config, sent.offset, process)
        await assert_counted(config, traffic)
        assert _live(port)
    with worker(config, RUNWAY_MAX_BATCH_MIB="150") as process:
        await caught_up(config, process)
        await assert_counted(config, traffic)


async def reached(config: Config, offset: int, process: WorkerProcess) -> None:
    """Waits until all is applied that lies before the bomb, in the other partition and in the other topic too."""
    wanted = await ends(config) | {(config.topic("predictions"), 1): offset}
    async with asyncio.timeout(90):
        while True:
            found = await marks(config)
            if all(
                number in found and found[number].offsets.get(topic, 0) >= end for (topic, number), end in wanted.items()
            ):
                return
            assert process.alive(), process.tail()
            await asyncio.sleep(0.3)


def _ready(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).text
    except httpx.HTTPError:
        return ""


def _live(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200


@pytest.mark.kafka
async def test_readers_of_a_topic_are_refused_alike(topics):
    config: Config = await topics(partitions=1)
    async with AIOKafkaProducer(**kafka_client_options(config) | {"compression_type": "gzip"}) as producer:
        await producer.send_and_wait(config.topic("models"), b"[]", key=b"a")
        await producer.send_and_wait(config.topic("models"), bytes(900_000), key=b"b")
    read = []
    with pytest.raises(Refused, match=r"models-0: the batch at offset 1 inflates to more than 0 MiB"):  # noqa: PT012
        async with open_topic(config, "models") as topic:
            bound_batches(100_000)
            async for record in topic.to_end():
                read.append(record.value)
    assert read == [b"[]"]
