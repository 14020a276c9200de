"""A topic that is deleted and made anew under a running worker: it ends with what to do, and counts nothing of the new log."""

import asyncio
from collections.abc import Callable

import pytest

from batch.cutoff import request_flush
from batch.lake import open_lake
from batch.segments import read_progress
from runway_streams.devstack.children import free_port
from runway_streams.errors import Refused
from runway_streams.ground_truth.partition import PREDICTIONS
from runway_streams.ground_truth.recovery import refuse_new_log
from runway_streams.ground_truth.speed_rows import _read
from tests.faults.test_refusals import reasons, remake
from tests.running import WorkerProcess, caught_up, eventually
from tests.traffic import Traffic


def test_a_log_that_ends_before_what_was_read_is_refused():
    refuse_new_log("runway.outcomes", 0, 7, 8)
    with pytest.raises(
        Refused, match=r"runway\.outcomes-0 was read up to offset 7, but its log ends at 6: it was made anew"
    ):
        refuse_new_log("runway.outcomes", 0, 7, 6)


@pytest.mark.kafka
@pytest.mark.fault
async def test_a_topic_made_anew_under_a_running_worker_is_refused(topics, seed: int, start: Callable):
    config = await topics(partitions=1)
    port = str(free_port())
    process = start(config, RUNWAY_WEB_PORT=port)
    await asyncio.to_thread(Traffic(seed, pairs=1_000).send, config)
    await caught_up(config, process)
    before = await _read(config)
    await remake(config, "predictions")
    await asyncio.to_thread(Traffic(seed + 1, pairs=200).send, config)
    await refused_now_and_after_a_restart(process, port)
    after = await _read(config)
    assert sum(row[0] for row in after.values()) == sum(row[0] for row in before.values())


@pytest.mark.kafka
@pytest.mark.fault
async def test_a_topic_made_anew_under_a_running_archive_worker_is_refused(topics, seed: int, start: Callable):
    config = await topics(partitions=1)
    lake = open_lake(config.archive_url)
    port = str(free_port())
    process = start(config, name="archive", RUNWAY_WEB_PORT=port)
    await asyncio.to_thread(Traffic(seed, pairs=1_000).send, config)
    await asyncio.to_thread(request_flush, config, lake)
    before = read_progress(lake, PREDICTIONS, 0)
    await remake(config, "predictions")
    await asyncio.to_thread(Traffic(seed + 1, pairs=200).send, config)
    await refused_now_and_after_a_restart(process, port)
    assert read_progress(lake, PREDICTIONS, 0) == before


async def refused_now_and_after_a_restart(process: WorkerProcess, port: str) -> None:
    await eventually(lambda: "it was made anew" in reasons(port), 90, process.tail)
    process.stop()
    process.start()
    await eventually(lambda: "it was made anew" in reasons(port), 60, process.tail)
