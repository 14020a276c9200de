"""A lost state comes back from its checkpoint, from the log or from the archive, with the same counts; else it is refused."""

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from batch.cutoff import request_flush
from batch.lake import open_lake
from batch.segments import read_progress
from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from tests.faults.counted import assert_counted
from tests.faults.test_refusals import admin, reasons
from tests.running import caught_up, counters, ends, eventually, worker
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]


@pytest.fixture
async def lake(tmp_path: Path) -> dict[str, str]:
    """The environment of a worker that uploads every second into a lake of its own."""
    return {"RUNWAY_ARCHIVE": (tmp_path / "elsewhere").as_uri(), "RUNWAY_CHECKPOINT_INTERVAL": "1"}


def manifests(tmp_path: Path) -> list[dict]:
    """What the checkpoints of partition 0 say, the furthest last."""
    found = sorted((tmp_path / "elsewhere").glob("checkpoints/*/0/manifests/*.json"))
    return [json.loads(path.read_bytes()) for path in found]


def furthest(tmp_path: Path) -> dict[str, int]:
    found = manifests(tmp_path)
    return found[-1]["offsets"] if found else {"predictions": 0, "outcomes": 0}


async def uploaded(config: Config, tmp_path: Path, process) -> None:
    """Waits until a checkpoint of partition 0 has reached the log's end."""
    wanted = await ends(config)

    def reached() -> bool:
        return all(offset >= wanted[config.topic(noun), 0] for noun, offset in furthest(tmp_path).items())

    await eventually(reached, 60, process.tail)


async def cut(config: Config, offsets: dict[str, int]) -> None:
    """Trims partition 0 of both topics, as retention does."""
    asked = {TopicPartition(config.topic(noun), 0): RecordsToDelete(before_offset=at) for noun, at in offsets.items()}
    await admin(config, lambda client: client.delete_records(asked))


async def test_a_wiped_state_goes_on_from_its_checkpoint_where_the_log_was_cut(
    topics, seed: int, start: Callable, tmp_path: Path, lake: dict
):
    config = await topics(partitions=1)
    traffic = Traffic(seed, pairs=5_000)
    half = len(traffic.events) // 2
    process = start(config, **lake)
    await asyncio.to_thread(traffic.send, config, 0, half)
    await caught_up(config, process)
    await uploaded(config, tmp_path, process)
    process.kill()
    shutil.rmtree(config.home / "state")
    await cut(config, furthest(tmp_path))
    await asyncio.to_thread(traffic.send, config, half, None)
    process.start()
    found = await caught_up(config, process)
    assert "going on from the checkpoint" in process.log.read_text()
    await assert_counted(config, traffic)
    assert found[0].counters["duplicates"] == traffic.expected["duplicates"]
    assert not found[0].incomplete_hours


async def test_sigkill_while_uploading_leaves_the_older_checkpoint(
    topics, seed: int, start: Callable, tmp_path: Path, lake: dict
):
    config = await topics(partitions=1)
    traffic = Traffic(seed, pairs=5_000)
    half = len(traffic.events) // 2
    process = start(config, **lake)
    await asyncio.to_thread(traffic.send, config, 0, half)
    await caught_up(config, process)
    await uploaded(config, tmp_path, process)
    before = len(list((tmp_path / "elsewhere").glob("checkpoints/*/0/files/*")))
    await asyncio.to_thread(traffic.send, config, half, None)

    def uploading() -> bool:
        files = len(list((tmp_path / "elsewhere").glob("checkpoints/*/0/files/*")))
        return files > before or bool(list(config.home.glob("state/*/partitions/0.copying")))

    await eventually(uploading, 60, process.tail)
    process.kill()
    offsets = furthest(tmp_path)
    shutil.rmtree(config.home / "state")
    await cut(config, offsets)
    process.start()
    await caught_up(config, process)
    await assert_counted(config, traffic)


async def test_a_stale_state_gives_way_to_what_another_worker_has_uploaded(
    topics, seed: int, start: Callable, tmp_path: Path, lake: dict
):
    """A -> B -> A, and the log was cut in between, behind what B has uploaded but ahead of what A has."""
    config = await topics(partitions=1)
    traffic = Traffic(seed, pairs=6_000)
    third = len(traffic.events) // 3
    first = start(config, "worker-a", **lake)
    await asyncio.to_thread(traffic.send, config, 0, third)
    await caught_up(config, first)
    first.kill()
    second = start(config, "worker-b", **lake)
    await asyncio.to_thread(traffic.send, config, third, 2 * third)
    await caught_up(config, second)
    await uploaded(config, tmp_path, second)
    second.kill()
    await cut(config, furthest(tmp_path))
    await asyncio.to_thread(traffic.send, config, 2 * third, None)
    first.start()
    found = await caught_up(config, first)
    assert "going on from the checkpoint" in first.log.read_text()
    await assert_counted(config, traffic)
    assert not found[0].incomplete_hours


async def test_the_archive_comes_before_a_log_that_was_cut(topics, seed: int, start: Callable, tmp_path: Path, lake: dict):
    """No state, no checkpoint, and a log that begins in the middle: the archive has what is missing, copies included."""
    config = await topics(partitions=2)
    lake["RUNWAY_CHECKPOINT_INTERVAL"] = "0"
    traffic = Traffic(seed, pairs=5_000)
    half = len(traffic.events) // 2
    process = start(config, **lake)
    with worker(config, "archive", "archive-0", **lake) as archiving:
        await asyncio.to_thread(traffic.send, config, 0, half)
        await caught_up(config, process)
        kept = open_lake(lake["RUNWAY_ARCHIVE"])
        await asyncio.to_thread(request_flush, config, kept)
        archived = {noun: read_progress(kept, noun, 0).open_since for noun in ("predictions", "outcomes")}
        process.kill()
        shutil.rmtree(config.home / "state" / "worker-0")
        await cut(config, archived)
        await asyncio.to_thread(traffic.send, config, half, None)
        process.start()
        found = await caught_up(config, process)
        assert "replaying the archive" in process.log.read_text()
        assert archiving.alive()
    await assert_counted(config, traffic)
    assert counters(found)["duplicates"] == traffic.expected["duplicates"]
    assert counters(found)["conflicts"] == traffic.expected["conflicts"]
    assert not found[0].incomplete_hours


async def test_an_archive_that_began_after_the_log_was_cut_is_not_taken_for_whole(
    topics, seed: int, start: Callable, tmp_path: Path, lake: dict
):
    config = await topics(partitions=1)
    lake["RUNWAY_CHECKPOINT_INTERVAL"] = "0"
    port = str(free_port())
    process = start(config, **lake | {"RUNWAY_WEB_PORT": port})
    await asyncio.to_thread(Traffic(seed, pairs=1_000).send, config)
    await caught_up(config, process)
    await cut(config, {"predictions": 300, "outcomes": 300})
    with worker(config, "archive", "archive-0", **lake):
        kept = open_lake(lake["RUNWAY_ARCHIVE"])
        await asyncio.to_thread(request_flush, config, kept)
    told = {noun: read_progress(kept, noun, 0) for noun in ("predictions", "outcomes")}
    assert {noun: progress.whole_since for noun, progress in told.items()} == {"predictions": 300, "outcomes": 300}
    process.kill()
    shutil.rmtree(config.home / "state" / "worker-0")
    await cut(config, {noun: progress.open_since for noun, progress in told.items()})
    process.start()
    await eventually(lambda: "no archive without a hole" in reasons(port), 60, process.tail)


async def test_sigkill_while_replaying_the_archive_begins_it_anew(
    topics, seed: int, start: Callable, tmp_path: Path, lake: dict
):
    config = await topics(partitions=1)
    lake["RUNWAY_CHECKPOINT_INTERVAL"] = "0"
    traffic = Traffic(seed, pairs=20_000)
    process = start(config, **lake)
    with worker(config, "archive", "archive-0", **lake):
        await asyncio.to_thread(traffic.send, config)
        await caught_up(config, process)
        kept = open_lake(lake["RUNWAY_ARCHIVE"])
        await asyncio.to_thread(request_flush, config, kept)
    process.kill()
    shutil.rmtree(config.home / "state" / "worker-0")
    await cut(config, {noun: read_progress(kept, noun, 0).open_since for noun in ("predictions", "outcomes")})
    for _ in range(2):
        told = process.log.read_text().count("replaying the archive")
        process.start()
        await eventually(lambda told=told: process.log.read_text().count("replaying the archive") > told, 60, process.tail)
        await asyncio.sleep(random.Random(seed).uniform(0, 0.5))  # anywhere in the replay
        process.kill()
    process.start()
    await caught_up(config, process)
    await assert_counted(config, traffic)


async def test_without_checkpoint_and_log_the_partition_is_refused(topics, seed: int, start: Callable, lake: dict):
    config = await topics(partitions=1)
    traffic = Traffic(seed, pairs=500)
    port = str(free_port())
    process = start(config, **lake | {"RUNWAY_CHECKPOINT_INTERVAL": "0", "RUNWAY_WEB_PORT": port})
    await asyncio.to_thread(traffic.send, config)
    await caught_up(config, process)
    process.kill()
    shutil.rmtree(config.home / "state")
    await cut(config, {"predictions": 10, "outcomes": 10})  # and nobody has archived
    process.start()
    await eventually(lambda: "RUNWAY_ACCEPT_GAP" in reasons(port), 60, process.tail)
