"""Backed up while the system runs, restored into an empty home: workers go on from their checkpoints, answers are equal."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.nightly import run_batch
from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from runway_streams.devstack.first_key import make_first_key
from runway_streams.runtimes.ground_truth import HOURLY_SOON_S
from tests.faults.counted import assert_counted
from tests.running import WorkerProcess, caught_up, counters, eventually, worker
from tests.traffic import Traffic

pytestmark = [pytest.mark.kafka, pytest.mark.fault]
KILLED = """
import itertools, os, signal
from batch.lake import FolderLake
put, count = FolderLake.put_file, itertools.count(1)
def put_some(self, path, source):
    put(self, path, source)
    if next(count) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
FolderLake.put_file = put_some
from runway_streams.cli import main
main()
"""
"""`runway` that is killed after the third file."""


def runway(
    config: Config, *arguments: str, source: str = "from runway_streams.cli import main; main()"
) -> subprocess.CompletedProcess:
    environ = {**os.environ, "RUNWAY_HOME": str(config.home), "RUNWAY_ARCHIVE": config.archive_url,
               "RUNWAY_BOOTSTRAP": config.bootstrap, "RUNWAY_TOPIC_PREFIX": config.topic_prefix}  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", source, *arguments], env=environ, capture_output=True, text=True, timeout=120, check=False
    )


async def answers(config: Config, key: str, models: Iterable[str], hour: int, wanted: dict | None = None) -> dict:
    """What an API process of this home says of each model, once it says the same for longer than histograms take to be told,
    or says what is wanted."""
    port = str(free_port())
    environ = {**os.environ, "RUNWAY_HOME": str(config.home), "RUNWAY_ARCHIVE": config.archive_url,
               "RUNWAY_BOOTSTRAP": config.bootstrap, "RUNWAY_TOPIC_PREFIX": config.topic_prefix}  # fmt: skip
    log = open(config.home / "api.log", "wb")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", "runway_streams.cli", "api", "--port", port], env=environ, stdout=log, stderr=log
    )
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20, trust_env=False) as http:
            await eventually(lambda: _status(http) == 200, 60, lambda: (config.home / "api.log").read_text()[-2000:])
            found, since = _answers(http, models, hour), time.monotonic()
            deadline = since + 90
            while differences(found, wanted) and time.monotonic() < (deadline if wanted else since + 2 * HOURLY_SOON_S):
                await asyncio.sleep(0.3)
                again = _answers(http, models, hour)
                if differences(again, found):
                    found, since = again, time.monotonic()
                assert time.monotonic() < deadline, f"the answers never settle: {differences(found, wanted)}"
            return found
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def differences(found: dict | None, wanted: dict | None) -> dict[str, tuple]:
    """Where two answers differ. Processes that read their rows in another order differ in the last digit of a sum of floats."""
    one, other = (dict(_leaves(answer or {})) for answer in (found, wanted))
    both = {name: (one.get(name), other.get(name)) for name in one.keys() | other.keys()}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1] and not _close(*pair)}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield path, value
        return
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(inner, f"{path}/{name}")


def _close(one: Any, other: Any) -> bool:
    return isinstance(one, float) and isinstance(other, float) and isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _answers(http: httpx.Client, models: Iterable[str], hour: int) -> dict:
    found = {}
    bounds = {name: _rfc(hour + of) for name, of in (("start", -8), ("end", 3))}
    for model, view in itertools.product(models, ("merged", "batch")):
        answer = http.get(f"/v1/models/{model}/performance", params=bounds | {"granularity": "PT1H", "view": view})
        assert answer.status_code == 200, answer.text
        found[model, view] = answer.json()["totals"]
        assert found[model, view]["predictions"] > 0
    return found


def _rfc(hour: int) -> str:
    return time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(hour * 3600))


def _status(http: httpx.Client) -> int:
    try:
        return http.get("/readyz").status_code
    except httpx.HTTPError:
        return 0


@pytest.mark.timeout(600)
async def test_a_restored_system_goes_on_where_the_backed_up_one_was(topics, seed: int, start: Callable, tmp_path: Path):
    config = await topics(partitions=2)
    config = replace(config, home=tmp_path / "old", archive_url=(tmp_path / "elsewhere").as_uri())
    lake = {"RUNWAY_ARCHIVE": config.archive_url, "RUNWAY_CHECKPOINT_INTERVAL": "1"}
    key = await make_first_key(config)
    hour, traffic = int(time.time() // 3600), Traffic(seed, pairs=6_000)
    third = len(traffic.events) // 3
    running = start(config, **lake)
    with worker(config, "archive", "archive-0", **lake):
        await asyncio.to_thread(traffic.send, config, 0, third)
        await caught_up(config, running)
        await asyncio.to_thread(run_batch, config, final=True)
        # Events go on arriving while the backup is made, one of which is killed.
        sending = asyncio.create_task(asyncio.to_thread(traffic.send, config, third, 2 * third))
        await uploaded_once(config, tmp_path, running)
        killed = await asyncio.to_thread(runway, config, "backup", str(tmp_path / "backup"), source=KILLED)
        assert killed.returncode == -9, killed.stderr
        refused = await asyncio.to_thread(runway, config, "restore", str(tmp_path / "backup"))
        assert (refused.returncode, "was not finished" in refused.stderr) == (2, True), refused.stderr
        made = await asyncio.to_thread(runway, config, "backup", str(tmp_path / "backup"), "--json")
        assert made.returncode == 0, made.stderr
        await sending
        await caught_up(config, running)
        before = await answers(config, key, traffic.settings(), hour)
    running.kill()

    fresh = replace(config, home=tmp_path / "new", archive_url=(tmp_path / "restored").as_uri())
    await refuses_what_is_damaged(fresh, tmp_path)
    done = await asyncio.to_thread(runway, fresh, "restore", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    heir = WorkerProcess(fresh, RUNWAY_ARCHIVE=fresh.archive_url, RUNWAY_CHECKPOINT_INTERVAL="1").start()
    try:
        await eventually(lambda: heir.log.read_text().count("going on from the checkpoint") == 2, 60, heir.tail)
        await eventually(lambda: "Worker ready" in heir.log.read_text(), 60, heir.tail)
        after = await answers(fresh, key, traffic.settings(), hour, wanted=before)
        assert not differences(after, before), "the key is in the restored registry, and the merged view is equal"
        await asyncio.to_thread(traffic.send, fresh, 2 * third, None)
        found = await caught_up(fresh, heir)
    finally:
        heir.stop()
    await assert_counted(fresh, traffic)
    assert counters(found)["duplicates"] == traffic.expected["duplicates"]


async def uploaded_once(config: Config, tmp_path: Path, process: WorkerProcess) -> None:
    """Waits until both partitions have a checkpoint."""
    folder = tmp_path / "elsewhere" / "checkpoints"
    await eventually(lambda: len({path.parent for path in folder.glob("*/*/manifests/*.json")}) == 2, 60, process.tail)


async def refuses_what_is_damaged(config: Config, tmp_path: Path) -> None:
    damaged = max((tmp_path / "backup" / "lake" / "checkpoints").rglob("*/files/*"), key=lambda path: path.stat().st_size)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = await asyncio.to_thread(runway, config, "restore", str(tmp_path / "backup"))
    assert refused.returncode == 2
    assert f"{damaged.relative_to(tmp_path / 'backup')} is damaged" in refused.stderr
    assert not (tmp_path / "restored" / "view").exists()
    damaged.write_bytes(whole)
