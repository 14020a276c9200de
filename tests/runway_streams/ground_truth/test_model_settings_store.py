"""What a record of `runway.models` says, were some of it unreadable."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from runway_streams.config import kafka_client_options
from runway_streams.ground_truth.model_settings_store import SettingsReader, read_changes
from runway_streams.times import HOUR

CHANGES = (
    b'[{"model_id":"m","join_window":"PT2H","effective_from":0},'
    b'{"model_id":"m","join_window":7,"effective_from":1000},'
    b'{"model_id":"m","join_window":"PT4H","effective_from":2000}]'
)


@pytest.mark.parametrize("value", [b"", b"{", b"7", b"\xff", b"[" * 100_000, b'[{"model_id":"m"}'])
def test_a_record_that_is_none_says_nothing_and_is_told(value: bytes):
    changes, problems = read_changes(value)
    assert changes == []
    assert len(problems) == 1


@pytest.mark.kafka
async def test_a_change_that_cannot_be_read_hides_no_other(topics):
    config = await topics(partitions=1)
    assert [change.join_window for change in read_changes(CHANGES)[0]] == ["PT2H", "PT4H"]
    async with AIOKafkaProducer(**kafka_client_options(config)) as producer:
        await producer.send_and_wait(config.topic("models"), CHANGES, key=b"m")
    async with SettingsReader(config) as reader:
        await asyncio.wait_for(reader.ready(), 20)
        assert [reader.history.at("m", time).window // HOUR for time in (0, 1000, 2000)] == [2, 2, 4]
        assert reader.unreadable == 1
