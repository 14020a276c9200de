"""Both bulk agents: what lies between the next offset and a batch that begins too far on is passed over only once it was sought."""

import json
from types import SimpleNamespace

import pytest

from agents.archive import SegmentWriters, archive
from agents.ground_truth import ground_truth
from runway_streams.batch_consumer import TopicBatch
from runway_streams.config import Config
from runway_streams.ground_truth.partition import Partition, RawBatch
from runway_streams.ground_truth.settings import SettingsHistory
from runway_streams.partitioner_check import PartitionerCheck
from tables.memory_store import MemoryStore
from tables.open_partitions import OpenPartition

T0 = 1_800_000_000_000
NEXT, AHEAD = 20, 50


class Flow:
    """A consumer that notes where it was sent back to, and does not go there amid a rebalance."""

    def __init__(self):
        self.rebalancing, self.sought = False, []

    async def may_process(self, log_time):
        return True

    async def read_again(self, topic, partition, offset):
        if self.rebalancing:
            return 0
        self.sought.append(offset)
        return len(self.sought)

    async def refuse_new_log(self, topic, partition, reached):
        pass

    async def log_begin(self, topic, partition):
        return 0


class GroundTruth:
    def __init__(self, _tmp_path, flow):
        partition = Partition(MemoryStore(), SettingsHistory())
        partition.state.offsets["outcomes"] = NEXT
        self._opened, self._flow = OpenPartition(0, partition, None, {}), flow

    async def read(self, batch):
        opened = {0: self._opened}
        await ground_truth(some(batch), opened, SimpleNamespace(send=None), self._flow, str, PartitionerCheck(1))
        return self._opened.partition.next_offset("outcomes")


class Archive:
    def __init__(self, tmp_path, flow):
        config = Config(home=tmp_path, archive_url=(tmp_path / "lake").as_uri())
        self._writers, self._flow = SegmentWriters(config, lambda: T0), flow

    async def read(self, batch):
        if not self._writers.is_open("outcomes", 0):
            await self._writers.open("outcomes", 0)
            await archive(some(batch_of(0, NEXT)), self._writers, SettingsHistory(), self._flow, str)
        await archive(some(batch), self._writers, SettingsHistory(), self._flow, str)
        return self._writers.next_offset("outcomes", 0)


async def some(batch):
    yield batch


def batch_of(start, end, seeks=0):
    raw = [
        json.dumps({"prediction_id": f"p{i}", "actual_outcome": "1", "timestamp": T0}).encode() for i in range(start, end)
    ]
    return TopicBatch("outcomes", 0, start, RawBatch(raw, range(start, end), [T0] * len(raw), end), [], [], seeks)


@pytest.fixture(params=[GroundTruth, Archive])
def agent(request, tmp_path):
    flow = Flow()
    return request.param(tmp_path, flow), flow


async def test_what_comes_too_far_on_amid_a_rebalance_is_never_a_gap(agent):
    """Until the state's offsets are sought, positions are those that Kafka holds, which another worker may have moved on."""
    one, flow = agent
    flow.rebalancing = True
    for _ in range(3):
        assert await one.read(batch_of(AHEAD, AHEAD + 5)) == NEXT
    flow.rebalancing = False
    assert await one.read(batch_of(AHEAD, AHEAD + 5)) == NEXT
    assert flow.sought == [NEXT]
    assert await one.read(batch_of(NEXT, AHEAD + 5)) == AHEAD + 5


async def test_what_was_sought_and_did_not_come_is_missing_in_the_log(agent):
    one, flow = agent
    assert await one.read(batch_of(AHEAD, AHEAD + 5)) == NEXT
    assert await one.read(batch_of(AHEAD, AHEAD + 5, seeks=1)) == AHEAD + 5
    assert flow.sought == [NEXT]


async def test_what_was_fetched_before_the_seek_says_nothing(agent):
    """Between two seeks of a rebalance two fetches may begin at the same place, and both wait behind it."""
    one, flow = agent
    for _ in range(3):
        assert await one.read(batch_of(AHEAD, AHEAD + 5)) == NEXT
    assert flow.sought == [NEXT] * 3
    assert await one.read(batch_of(NEXT, AHEAD + 5, seeks=1)) == AHEAD + 5


async def test_each_gap_is_sought_anew(agent):
    """A gap's end says nothing of another one that ends there."""
    one, flow = agent
    assert await one.read(batch_of(AHEAD, AHEAD + 5)) == NEXT
    assert await one.read(batch_of(NEXT, NEXT + 5, seeks=1)) == NEXT + 5
    assert await one.read(batch_of(AHEAD, AHEAD + 5, seeks=1)) == NEXT + 5
    assert flow.sought == [NEXT, NEXT + 5]
