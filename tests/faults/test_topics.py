"""A topic that is deleted and made anew under a running worker: it ends with what to do, and counts nothing of the new log."""

import asyncio
from collections.abc import Callable

import pytest

from runway_streams.errors import Refused
from runway_streams.ground_truth.recovery import refuse_new_log
from runway_streams.ground_truth.speed_rows import _read
from tests.faults.test_refusals import free_port, reasons, remake
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
    traffic = Traffic(seed, pairs=1_000)
    port = free_port()
    process = start(config, "worker-0", RUNWAY_WEB_PORT=port)
    await asyncio.to_thread(traffic.send, config)
    await caught_up(config, process)
    before = await _read(config)
    await remake(config, "predictions")
    later = Traffic(seed + 1, pairs=200)
    await asyncio.to_thread(later.send, config)
    await eventually(lambda: refuses(process, port), 90, process.tail)
    process.stop()
    process.start()
    await eventually(lambda: "it was made anew" in reasons(port), 60, process.tail)
    after = await _read(config)
    assert sum(row[0] for row in after.values()) == sum(row[0] for row in before.values())


def refuses(worker: WorkerProcess, port: str) -> bool:
    """Whether it has ended with what to do, or says it on /readyz."""
    if worker.alive():
        return "it was made anew" in reasons(port)
    assert worker.process.returncode == 2, worker.tail()
    last = worker.tail().splitlines()[-1]
    return "it was made anew" in last or "neither may be deleted" in last
