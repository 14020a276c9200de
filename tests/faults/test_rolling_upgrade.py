"""Two neighbouring versions share a group while one takes the other's place, in either direction, and nothing is lost."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runway_streams import formats
from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from schemas.metrics_record import Mark
from tests.faults import next_version
from tests.faults.counted import assert_counted
from tests.faults.test_refusals import reasons
from tests.running import WorkerProcess, caught_up, counters, ends, eventually, marks
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]
THIS, NEXT = "runway_streams.cli", "tests.faults.next_version"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable]:
    """Starts a worker of this or the next version in an instance's place, which is ended before; all share a lake."""
    running: dict[str, WorkerProcess] = {}
    shared = {"RUNWAY_ARCHIVE": (tmp_path / "elsewhere").as_uri(), "RUNWAY_CHECKPOINT_INTERVAL": "1"}

    def put(config: Config, instance: str, version: str, **environ: str) -> WorkerProcess:
        if instance in running:
            running[instance].stop()
        process = running[instance] = WorkerProcess(config, instance=instance, **shared | environ)
        process.command = [sys.executable, "-m", version, "worker", "ground-truth"]
        before = process.log.stat().st_size if process.log.exists() else 0
        process.start()
        process.began = before
        return process

    yield put
    for process in running.values():
        process.stop()


async def ready(process: WorkerProcess) -> None:
    """Waits until the worker has joined and opened its partitions."""
    await eventually(lambda: "Worker ready" in process.log.read_text()[process.began :], 60, process.tail)


async def replaced_one_by_one(config: Config, run: Callable, traffic: Traffic, versions: tuple[str, str]) -> None:
    """Both workers go from one version to the other while events arrive, then one of them ends."""
    before, after = versions
    part = len(traffic.events) // 4
    for instance in ("worker-a", "worker-b"):
        await ready(run(config, instance, before))
    await asyncio.to_thread(traffic.send, config, 0, part)
    await caught_up(config)
    for stretch, instance in ((1, "worker-a"), (2, "worker-b")):
        sending = asyncio.create_task(asyncio.to_thread(traffic.send, config, stretch * part, (stretch + 1) * part))
        await ready(run(config, instance, after))
        await sending
        await caught_up(config)  # a mixed group after the first, the new version alone after the second
    survivor = run(config, "worker-b", after)
    run(config, "worker-a", before).kill()
    await asyncio.to_thread(traffic.send, config, 3 * part, None)
    await caught_up(config, survivor)


@pytest.mark.parametrize("versions", [(THIS, NEXT), (NEXT, THIS)], ids=["upgrade", "rollback"])
async def test_versions_change_under_load_and_counts_are_exact(topics, seed: int, run: Callable, versions):
    config = await topics(partitions=4)
    traffic = Traffic(seed, pairs=8_000)
    await replaced_one_by_one(config, run, traffic, versions)
    await assert_counted(config, traffic)
    found = await marks(config)
    assert counters(found)["duplicates"] == traffic.expected["duplicates"]
    assert {mark.format for mark in found.values()} == {formats.WRITTEN}


async def test_told_too_early_the_older_version_refuses_what_is_newer_alone_and_does_no_harm(
    topics, seed: int, run: Callable, monkeypatch: pytest.MonkeyPatch
):
    """RUNWAY_FORMAT was raised while a worker of this version was left: it refuses those partitions, and the next goes on."""
    config = await topics(partitions=4)
    traffic = Traffic(seed, pairs=4_000)
    half, port = len(traffic.events) // 2, str(free_port())
    told = {"RUNWAY_FORMAT": str(next_version.NEWEST)}
    older = run(config, "worker-b", THIS, RUNWAY_WEB_PORT=port)
    await ready(older)
    newer = run(config, "worker-a", NEXT, **told)
    await ready(newer)
    await asyncio.to_thread(traffic.send, config, 0, half)
    monkeypatch.setattr(formats, "NEWEST", next_version.NEWEST)  # whoever looks on was upgraded first
    found = await caught_up(config, newer)
    raised = {number for number, mark in found.items() if mark.format == next_version.NEWEST}
    assert 0 < len(raised) < 4, "both versions have partitions"

    newer.kill()
    await eventually(lambda: f"has format {next_version.NEWEST}" in reasons(port), 60, older.tail)
    assert "upgrade this process first" in reasons(port)
    assert all(f"Partition {number} is refused" in reasons(port) for number in raised)
    await asyncio.to_thread(traffic.send, config, half, None)
    await reached(config, {0, 1, 2, 3} - raised)
    assert older.alive()
    assert "Traceback" not in older.log.read_text()

    newer = run(config, "worker-a", NEXT, **told)
    await ready(newer)
    await ready(run(config, "worker-b", NEXT, **told))
    found = await reached(config, {0, 1, 2, 3}, written_in=next_version.NEWEST)
    await assert_counted(config, traffic)
    assert counters(found)["duplicates"] == traffic.expected["duplicates"]


async def reached(config: Config, numbers: set[int], written_in: int = 0) -> dict[int, Mark]:
    """Waits until these partitions have been read to their ends, and their marks have at least a format."""
    wanted = {(topic, number): end for (topic, number), end in (await ends(config)).items() if number in numbers}
    for _ in range(200):
        found = await marks(config)
        behind = any(found[number].offsets.get(topic, 0) < end for (topic, number), end in wanted.items())
        if not behind and all(found[number].format >= written_in for number in numbers):
            return found
        await asyncio.sleep(0.3)
    raise AssertionError(f"Not reached by the partitions {numbers}: {found}")
