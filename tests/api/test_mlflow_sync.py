"""The duty that polls MLflow: one process at a time, when it is due, and after what went wrong."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from api import mlflow_sync
from api.mlflow_sync import MlflowSync
from runway_streams import http_retries
from runway_streams.mlflow_settings import MlflowSettings
from runway_streams.registry.mlflow.importer import RETRY, MlflowImport
from runway_streams.telemetry import ImportTelemetry
from runway_streams.times import HOUR, MINUTE
from tests.clock import Clock
from tests.little_http import LittleServer
from tests.running import eventually

EMPTY = (200, {}, b"{}")
NOW = 1_700_000_000_000
VERSION = {"name": "fraud", "version": "1", "last_updated_timestamp": NOW - 1, "creation_timestamp": NOW - 1}
ANSWERS = {
    "registered-models/search": {"registered_models": [{"name": "fraud"}]},
    "model-versions/search": {"model_versions": [VERSION]},
}


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(mlflow_sync, "LONGEST_SLEEP_S", 0.02)
    monkeypatch.setattr("runway_streams.duty.ASK_S", 0.02)
    # The tests' clock leaps by minutes, and nobody is to lose the duty by that.
    monkeypatch.setattr("runway_streams.duty.LEASE_MS", HOUR)
    monkeypatch.setattr(http_retries, "ATTEMPTS", 1)


def syncs(server):
    return len([asked for asked in server.asked if "registered-models/search" in asked.path])


def answering(asked):
    path = asked.path.split("?")[0].removeprefix("/api/2.0/mlflow/")
    return (200, {}, json.dumps(ANSWERS[path]).encode())


@asynccontextmanager
async def running(registry, server, holder="a"):
    """A process's sync with an MLflow server."""
    sync = MlflowSync(MlflowImport(registry, MlflowSettings(server.url)), holder)
    sync.start()
    try:
        yield sync
    finally:
        await sync.stop()


async def test_of_two_processes_one_polls_when_it_is_due_and_a_restart_waits_for_the_next(registry, clock):
    with LittleServer(answering) as server:
        async with running(registry, server, "a") as one, running(registry, server, "b") as other:
            await eventually(lambda: one.imported().created + other.imported().created == 1, 10)
            await asyncio.sleep(0.2)
            assert syncs(server) == 1
            clock.ms += 5 * MINUTE
            await eventually(lambda: syncs(server) == 2, 10)
            await eventually(lambda: one.imported().success_age_s == other.imported().success_age_s == 0, 10)
            assert [one.leads, other.leads].count(True) == 1
        async with running(registry, server, "c") as restarted:
            await eventually(lambda: restarted.leads, 10)
            await asyncio.sleep(0.2)
            assert syncs(server) == 2
            assert restarted.imported().created == 0
            clock.ms += 5 * MINUTE
            await eventually(lambda: syncs(server) == 3, 10)


async def test_a_failure_is_told_and_tried_again_a_minute_later(registry, clock):
    said = {"answer": (503, {}, b"")}
    with LittleServer(lambda asked: said["answer"]) as server:
        async with running(registry, server) as sync:
            await eventually(lambda: "answers 503" in sync.problem, 10)
            await asyncio.sleep(0.2)
            assert syncs(server) == 1
            assert "answers 503" in (await MlflowImport(registry, MlflowSettings(server.url)).state()).problem
            said["answer"] = EMPTY
            clock.ms += RETRY
            await eventually(lambda: sync.problem == "", 10)
            assert syncs(server) == 2
            assert sync.leads


async def test_telemetry_shows_what_was_imported(registry, clock):
    metrics = CollectorRegistry()
    with LittleServer(answering) as server:
        async with running(registry, server) as sync:
            ImportTelemetry(metrics, sync.imported)
            assert metrics.get_sample_value("runway_import_success_age_seconds") is None
            await eventually(lambda: sync.imported().success_age_s is not None, 10)
            clock.ms += 7_000
            assert metrics.get_sample_value("runway_import_versions_total", {"outcome": "created"}) == 1
            assert metrics.get_sample_value("runway_import_versions_total", {"outcome": "skipped"}) == 0
            assert metrics.get_sample_value("runway_import_success_age_seconds") == 7
