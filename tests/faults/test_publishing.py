"""Whoever publishes is killed in the middle: the API's relay, and the batch. Nothing is lost, nothing is there twice or half."""

import asyncio
import itertools
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batch.lake import FolderLake
from batch.manifest import TABLES, read_current
from runway_streams.devstack.first_key import make_first_key
from runway_streams.times import MINUTE
from tests.batch.log import archive
from tests.batch.test_nightly import H0, log
from tests.faults.api_process import Api, client_of, drained, published, register

DIES = """
import itertools, os, signal, sys
from agents.model_settings import SettingsRelay
from agents.models_topic import ModelsTopic
from runway_streams.cli import main

def dies_before(owner, name, nth):
    whole, count = getattr(owner, name), itertools.count(1)
    async def one(self, what, *rest):
        if what and next(count) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return await whole(self, what, *rest)
    setattr(owner, name, one)

def dies_within(owner, name, nth):
    whole, count = getattr(owner, name), itertools.count(1)
    async def one(self, *rest):
        found = await whole(self, *rest)
        if next(count) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(owner, name, one)

"""
POINTS = {
    "before_it_decides": "dies_before(SettingsRelay, 'look', {nth})",
    "decided_not_written": "dies_before(ModelsTopic, 'write', {nth})",
    "written_not_marked": "dies_within(ModelsTopic, 'write', {nth})",
    "marked": "dies_within(SettingsRelay, 'mark', {nth})",
}


@pytest.mark.kafka
@pytest.mark.fault
async def test_an_api_killed_while_it_publishes_loses_nothing_and_publishes_once(topics, seed: int):
    config = await topics(partitions=1)
    rng = random.Random(seed)
    key = await make_first_key(config)
    api = Api(config)
    acknowledged: set[str] = set()
    number = 0
    try:
        async with client_of(api, key) as client:
            for point in sorted(POINTS):
                api.start(DIES + POINTS[point].format(nth=rng.randrange(1, 4)))
                deadline = time.monotonic() + 60
                while not api.dead():
                    assert time.monotonic() < deadline, f"{point} was never reached\n{api.tail()}"
                    if await register(client, f"m{number}"):
                        acknowledged.add(f"m{number}")
                    number += 1
                    await asyncio.sleep(rng.uniform(0, 0.2))
                assert api.process.returncode == -signal.SIGKILL, api.tail()
            api.start()
            found = await drained(config, acknowledged)
    finally:
        api.stop()
    assert acknowledged
    assert set(found.values()) == {1}, found
    assert (await published(config)) == found


BATCH = """
import itertools, os, signal, sys, time
from pathlib import Path
import batch.lake as lake
from batch.nightly import run_batch
from runway_streams.config import Config

def dies(owner, name, nth, after):
    whole, count = getattr(owner, name), itertools.count(1)
    def one(*rest, **named):
        this = next(count)
        if this == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = whole(*rest, **named)
        if this == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(owner, name, one)

home, cutoff, point, nth, later = sys.argv[1:]
if point == "file":
    dies(lake.FolderLake, "put_file", int(nth), after=False)
elif point == "half_manifest":
    def swap(self, path, expected, data, whole=lake.FolderLake.swap):
        if path.endswith("current.json"):
            dies(lake, "_sync", 1, after=False)
        return whole(self, path, expected, data)
    lake.FolderLake.swap = swap
elif point == "manifest":
    def swap(self, path, expected, data, whole=lake.FolderLake.swap):
        found = whole(self, path, expected, data)
        if path.endswith("current.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    lake.FolderLake.swap = swap
# The lock of whoever was killed ends after five minutes.
run_batch(Config(home=Path(home)), cutoff=int(cutoff), now=lambda: time.time_ns() // 1_000_000 + int(later))
"""


def test_a_batch_killed_while_it_publishes_leaves_the_old_manifest_or_the_new_one(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    events = log(2)
    lakes = {name: FolderLake(tmp_path / name / "lake") for name in ("killed", "whole")}
    for lake in lakes.values():
        archive(lake, *events, until=H0 + 54)
    nights = [H0 + 30, H0 + 54]
    old, runs = None, itertools.count(1)
    for night in nights:
        kills = (
            [("half_manifest", 1)] if old is None else [("file", rng.randrange(1, 6)), ("half_manifest", 1), ("manifest", 1)]
        )
        for point, nth in kills:
            child = run_child(tmp_path / "killed", night, point, nth, next(runs))
            assert child.returncode == -signal.SIGKILL, child.stderr
            found = read_current(lakes["killed"])
            assert (found.cutoff if found else None) == (night if point == "manifest" else old), point
            assert_whole(lakes["killed"])
        for name in lakes:
            assert run_child(tmp_path / name, night, "", 0, next(runs)).returncode == 0
        old = night
    killed, whole = (read_current(lake) for lake in lakes.values())
    assert (killed.covered, killed.counts) == (whole.covered, whole.counts)
    assert [(f.table, f.rows, f.times) for f in killed.files] == [(f.table, f.rows, f.times) for f in whole.files]


def run_child(home: Path, night: int, point: str, nth: int, run: int) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BATCH, str(home), str(night), point, str(nth), str(run * 10 * MINUTE)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_whole(lake: FolderLake) -> None:
    """All files that the current manifest names are there, with the rows that it says."""
    import pyarrow.parquet as pq

    found = read_current(lake)
    for file in found.files if found else ():
        assert file.table in TABLES
        assert pq.read_metadata(lake.root / file.path).num_rows == file.rows
