"""The API and its OpenAPI document say the same: a fuzzer that reads the document asks the running server, over both databases."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from api.app import access_of, check_settings, make_app
from api.lineage_parts import open_lineage
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.report import Report
from runway_streams.devstack.children import free_port
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.registry import catalog, keys, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from schemas.model import Model
from schemas.model_version import ModelVersion
from tests.api.conftest import NOON, Event, FakeBatchView, merged_view

CONFIG = Path(__file__).parent / "schemathesis.toml"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
SEED = os.environ.get("FUZZ_SEED", "20131")
"""The same each time, so that a change is what breaks it; others are for whoever looks for more."""
LIMIT_S = 240


@pytest.fixture
def server(database_url, tmp_path):
    """The API with its real authentication over a real socket; yields its URL and an admin's key."""
    config = Config(home=tmp_path, database=database_url, rate_limit=1_000_000)
    database = Database.open(database_url, tmp_path, MIGRATIONS)
    registry = Registry(database, wall_clock, check_settings)
    key = asyncio.run(fill(registry))
    view = merged_view([Event(NOON * 12)], FakeBatchView([Event(NOON * 12)], NOON + 1))
    lineage = open_lineage(config, wall_clock)
    asyncio.run(fill_graph(lineage))
    app = make_app(view, registry, access_of(config, registry), lineage=lineage)
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}", key
    running.should_exit = True
    thread.join(20)


async def fill(registry):
    """The model that the document's examples speak of, and a key."""
    async with registry.change("test") as change:
        await catalog.register(change, Model("fraud", task="binary", owner="risk"))
        await versions.create(change, "fraud", ModelVersion("1", metrics={"accuracy": 0.9}), "evaluation")
        _, key = await keys.create(change, "fuzzer", "admin")
    await registry.database.close()
    return key


async def fill_graph(lineage):
    """What the model is made from."""
    claims = [Claim("dataset:lake/raw", "model:fraud@1"), Claim("model:fraud@1", "model:fraud", "version_of")]
    await lineage.graph.tell([Report("test", wall_clock() - 1_000, claims)])
    await lineage.close()


def test_a_fuzzer_finds_no_difference(server, tmp_path):
    url, key = server
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    options = ["--max-examples", str(EXAMPLES), "--seed", SEED, "-H", f"Authorization: Bearer {key}", "--no-color"]
    found = subprocess.run([*command, *options], capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=tmp_path)
    told = found.stdout.replace(key, "KEY")
    print(told[-1500:])  # its seed among others
    assert found.returncode == 0, told[-12_000:] + found.stderr[-2_000:]
    assert " passed" in told or "No issues" in told
