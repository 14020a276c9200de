"""A worker that sleeps beyond its session while another takes over writes nothing once it wakes."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from runway_streams.config import Config
from runway_streams.ground_truth.records import mark_key, unpack_mark
from tests.faults.kill_points import FaultyWorker
from tests.faults.verifier import read_topic, verify
from tests.running import WorkerProcess, caught_up, eventually
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]
SHORT = {"RUNWAY_SESSION_TIMEOUT": "6"}
LIMIT_S = 60


@pytest.fixture
def started():
    """Workers that are ended with the test."""
    found: list[WorkerProcess] = []
    yield found.append
    for process in found:
        if process.alive():
            process.process.send_signal(signal.SIGCONT)
        process.stop()


def asleep(process: WorkerProcess) -> bool:
    """Whether the process is stopped."""
    with open(f"/proc/{process.process.pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("name", ["before_write", "after_write", "in_emission"])
async def test_a_zombie_writes_nothing(topics, seed: int, started: Callable, name: str):
    config = await topics(partitions=2)
    traffic = Traffic(seed, pairs=2_000)
    half = len(traffic.events) // 2
    zombie = FaultyWorker(config, name, 2, "STOP", instance="worker-a", **SHORT)
    started(zombie.start())
    sending = asyncio.ensure_future(asyncio.to_thread(traffic.send, config, 0, half, 1_500))
    await eventually(zombie.reached, LIMIT_S, zombie.tail)
    await eventually(lambda: asleep(zombie), 5)
    heir = WorkerProcess(config, instance="worker-b", **SHORT)
    started(heir.start())
    await sending
    await caught_up(config, heir)
    before = await written(config)
    zombie.process.send_signal(signal.SIGCONT)
    await eventually(lambda: not zombie.alive() or noticed(zombie), LIMIT_S, zombie.tail)
    if not zombie.alive():
        zombie = WorkerProcess(config, instance="worker-a", **SHORT)
        started(zombie.start())
    await asyncio.to_thread(traffic.send, config, half)
    await caught_up(config, heir)
    await verify(config, traffic.acknowledged)
    assert_never_steps_back(await written(config), before)


def noticed(zombie: WorkerProcess) -> bool:
    """It has joined the group once more."""
    return zombie.log.read_text().count("Successfully synced group") > 1


async def written(config: Config) -> list:
    """The committed records of runway.metrics, in their order by partition."""
    return await asyncio.to_thread(read_topic, config, "metrics")


def assert_never_steps_back(records: list, before: list) -> None:
    """Whoever wrote after the heir had begun had read at least as much: the zombie's mark would be lower."""
    assert len(records) > len(before)
    latest: dict[int, dict[str, int]] = {}
    for record in records:
        if record.key != mark_key():
            continue
        offsets = unpack_mark(record.value).offsets
        behind = {topic: at for topic, at in latest.get(record.partition, {}).items() if offsets.get(topic, 0) < at}
        assert not behind, f"partition {record.partition}: {offsets} was written after {latest[record.partition]}"
        latest[record.partition] = offsets
