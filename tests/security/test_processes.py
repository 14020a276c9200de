"""All processes over TLS and SCRAM, each with a user of its own that has the least rights: what docs/operate.md lists."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from runway_streams.config import Config
from runway_streams.demo.events import Event
from runway_streams.demo.produce import produce
from runway_streams.devstack.children import free_port
from tests.faults.counted import assert_counted
from tests.running import caught_up, eventually, worker
from tests.security.broker import PASSWORD, PROCESSES, SecuredKafka
from tests.traffic import Traffic

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).parent.parent.parent
HOUR_MS = 3_600_000


def documented_rights(prefix: str) -> list[tuple[tuple[str, ...], str]]:
    """The rows of the table in docs/operate.md, as users and arguments of kafka-acls; `runway.` stands for the prefix."""
    section = (ROOT / "docs" / "operate.md").read_text().split("### Least rights")[1]
    rows = re.findall(r"^\| ([a-z, ]+) \| `([^`]+)` \|$", section, re.MULTILINE)
    assert len(rows) >= 5
    group = prefix.replace(".", "-")
    return [
        (tuple(who.strip() for who in users.split(",")), rights.replace("runway.", prefix).replace("runway-", group))
        for users, rights in rows
    ]


@pytest.fixture
def rights(secured: SecuredKafka, reach: Callable[..., Config]) -> None:
    """Each process has what the documentation says, and no more."""
    for users, arguments in documented_rights(reach("scram").topic_prefix):
        secured.grant(users, arguments)


def environment(config: Config, user: str) -> dict[str, str]:
    """What an operator would set for one process."""
    secret = config.home / "password"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text(PASSWORD)
    return {
        "RUNWAY_HOME": str(config.home),
        "RUNWAY_BOOTSTRAP": config.bootstrap,
        "RUNWAY_TOPIC_PREFIX": config.topic_prefix,
        "RUNWAY_SECURITY_PROTOCOL": "SASL_SSL",
        "RUNWAY_SSL_CAFILE": config.security.cafile,
        "RUNWAY_SASL_MECHANISM": "SCRAM-SHA-512",
        "RUNWAY_SASL_USERNAME": user,
        "RUNWAY_SASL_PASSWORD_FILE": str(secret),
    }


def runway(config: Config, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    environ = os.environ | environment(config, user)
    command = [sys.executable, "-m", "runway_streams.cli", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90)


@contextmanager
def api(config: Config) -> Iterator[httpx.Client]:
    """A running API, and a client of it."""
    made = runway(config, "api", "keys", "create", "test", "--role", "admin", "--json")
    assert made.returncode == 0, made.stderr
    port = free_port()
    command = [sys.executable, "-m", "runway_streams.cli", "api", "--port", str(port)]
    log = (config.home / "api.log").open("ab")
    process = subprocess.Popen(command, env=os.environ | environment(config, "api"), stdout=log, stderr=log)
    headers = {"Authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.mark.timeout(400)
async def test_every_process_does_its_work_with_the_least_rights(reach: Callable[..., Config], rights: None):
    config = reach("scram")
    assert (await asyncio.to_thread(runway, config, "runway", "topics", "create", "--partitions", "2")).returncode == 0
    doctor = await asyncio.to_thread(runway, config, "worker", "doctor")
    assert doctor.returncode == 0, doctor.stdout
    traffic = Traffic(seed=7, pairs=400)
    speed_environ, archive_environ = environment(config, "worker"), environment(config, "archive")
    with (
        worker(config, **speed_environ) as speed,
        worker(config, "archive", **archive_environ) as archive,
        api(config) as http,
    ):
        await produce(config, [Event(noun, key.encode(), value) for noun, key, value in traffic.events], lambda sent: None)
        await caught_up(config, speed)
        await assert_counted(config, traffic)
        await eventually(lambda: _answer(http, "/readyz") == 200, 60, (config.home / "api.log").read_text)
        assert http.post("/v1/models", json={"model_id": "binary_0"}).status_code == 201
        published = "/v1/models/binary_0"
        await eventually(lambda: http.get(published).json()["settings"]["published"], 60)
        await eventually(lambda: _told(http) > 0, 60, lambda: http.get("/readyz").text)
        await eventually(lambda: _lag(http) == 0, 60, archive.tail)
        final = await asyncio.to_thread(runway, config, "api", "batch", "--final", "--json")
        assert final.returncode == 0, final.stderr
        assert json.loads(final.stdout)["joined"] == traffic.expected["joined"]
        logs = speed.log.read_text() + archive.log.read_text() + (config.home / "api.log").read_text()
    assert PASSWORD not in logs


def _answer(http: httpx.Client, path: str) -> int:
    try:
        return http.get(path).status_code
    except httpx.HTTPError:
        return 0


def _told(http: httpx.Client) -> int:
    now = int(time.time()) * 1000 // HOUR_MS * HOUR_MS + HOUR_MS
    window = {"start": _time(now - 12 * HOUR_MS), "end": _time(now), "granularity": "PT12H"}
    answer = http.get("/v1/models/binary_0/performance", params=window)
    assert answer.status_code == 200, answer.text
    return answer.json()["totals"]["predictions"]


def _time(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))


def _lag(http: httpx.Client) -> int:
    lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith("runway_consumer_lag{")]
    return sum(int(float(line.split()[-1])) for line in lines) if lines else -1


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("--group", "does not let the user worker use the group"),
        ("--transactional-id", "does not let the user worker use the transactional id"),
        ("DescribeConfigs", "does not let the user worker use the topic"),
        ("Read", "does not let the user worker use the topic"),
    ],
)
async def test_a_right_that_is_missing_is_named_and_the_worker_ends(
    secured: SecuredKafka, reach: Callable[..., Config], left_out: str, told: str
):
    config = reach("scram")
    assert (await asyncio.to_thread(runway, config, "runway", "topics", "create", "--partitions", "1")).returncode == 0
    for users, arguments in documented_rights(config.topic_prefix):
        if "worker" in users and (left_out not in arguments or (left_out == "Read" and "--group" in arguments)):
            secured.grant(("worker",), arguments)
    with worker(config, **environment(config, "worker")) as process:
        await eventually(lambda: not process.alive(), 90, process.tail)
        assert process.process.returncode == 2, process.tail()
    assert told in process.tail()
    assert "Traceback" not in process.log.read_text()


def test_the_rights_are_of_processes_that_there_are():
    assert {user for users, _ in documented_rights("x.") for user in users} == set(PROCESSES)
