"""The import from a real MLflow server into a real database of either kind, across restarts."""

import asyncio
from itertools import count

import pytest

from runway_streams import http_retries
from runway_streams.errors import ConfigError, DependencyDown
from runway_streams.mlflow_settings import MlflowSettings
from runway_streams.registry import aliases, catalog, versions
from runway_streams.registry.mlflow.importer import RETRY, MlflowImport, due_in
from runway_streams.times import DAY, HOUR
from schemas.model import Model
from schemas.model_version import ModelVersion
from tests.clock import Clock
from tests.little_http import LittleServer

_numbers = count(1)
SOON = 4_000_000_000_000
"""After anything that MLflow stamps with the time of the test."""


@pytest.fixture
def clock():
    return Clock(SOON)


@pytest.fixture
def name(mlflow):
    """A model of this test's own in MLflow."""
    name = f"imported-{next(_numbers)}"
    mlflow.register(name)
    return name


def importer(registry, mlflow):
    return MlflowImport(registry, MlflowSettings(mlflow.uri, owner="ml"))


async def stages(registry, name):
    async with registry.read() as connection:
        return {entry.version.version: entry.stage for entry in await versions.page(connection, name, 100)}


async def named(registry, name):
    async with registry.read() as connection:
        return (await aliases.aliases_of(connection, [name])).get(name, {})


async def test_what_moves_there_moves_here_and_what_was_promoted_here_stays(registry, mlflow, name):
    run = mlflow.add_run({"auc": 0.9}, {"depth": "3"})
    for _ in range(4):
        mlflow.add_version(name, run)
    mlflow.alias(name, "champion", "1")
    first = await importer(registry, mlflow).sync()
    assert first.created >= 4
    assert await stages(registry, name) == {"1": "production", "2": "evaluation", "3": "evaluation", "4": "evaluation"}
    async with registry.read() as connection:
        assert (await catalog.get(connection, name)).model.owner == "ml"
        assert (await versions.get(connection, name, "4")).version.metrics == {"auc": 0.9}
    async with registry.change("anna") as change:
        await versions.move(change, name, "4", "staging", "better")

    again = await importer(registry, mlflow).sync(full=True)
    assert (again.created, again.moved, again.stayed) == (0, 0, 0)
    assert again.unchanged == first.created

    mlflow.alias(name, "champion", "2")
    mlflow.stage(name, "3", "Archived")
    mlflow.alias(name, "best", "4")
    moved = await importer(registry, mlflow).sync()
    assert (moved.created, moved.moved, moved.skipped) == (0, 4, 0)
    assert await stages(registry, name) == {"1": "deprecated", "2": "production", "3": "archived", "4": "staging"}
    assert await named(registry, name) == {"champion": "2", "best": "4"}


async def test_one_bad_version_is_skipped_and_told(registry, mlflow, name):
    mlflow.add_version(name)
    mlflow.add_version(name)
    async with registry.change("anna") as change:
        await catalog.register(change, Model(name, owner="risk"))
        await versions.create(change, name, ModelVersion("1", artifact_uri="s3://ours"))

    report = await importer(registry, mlflow).sync()

    assert [(skip.name, skip.version) for skip in report.reasons] == [(name, "1")]
    assert "another content" in report.reasons[0].reason
    assert await stages(registry, name) == {"1": "exploration", "2": "evaluation"}
    state = await importer(registry, mlflow).state()
    assert state.report == state.full_report == report


async def test_the_cursor_outlives_a_restart_and_everything_is_synced_once_a_day(registry, mlflow, name, clock, monkeypatch):
    monkeypatch.setattr("runway_streams.registry.mlflow.sync.OVERLAP", 0)
    mlflow.add_version(name)
    await asyncio.sleep(0.01)
    mlflow.add_version(name)
    await importer(registry, mlflow).sync()
    state = await importer(registry, mlflow).state()
    assert state.cursor
    assert (state.at, state.full_at, state.problem) == (SOON, SOON, "")

    clock.ms += HOUR
    report = await importer(registry, mlflow).sync()
    later = await importer(registry, mlflow).state()
    assert (later.cursor, later.at, later.full_at) == (state.cursor, SOON + HOUR, SOON)
    assert later.report == report
    assert report.unchanged == 1, "only what changed last is read again"
    assert later.full_report == state.full_report

    clock.ms = SOON + DAY
    everything = await importer(registry, mlflow).sync()
    assert everything.unchanged == state.report.created
    assert (await importer(registry, mlflow).state()).full_at == SOON + DAY


async def test_a_problem_is_kept_until_a_sync_goes_well(registry, mlflow, name, clock):
    there = importer(registry, mlflow)
    await there.sync()
    clock.ms += 1_000
    await there.note_problem("MLflow is down.\0" + "x" * 5_000)
    state = await there.state()
    assert state.problem.startswith("MLflow is down.x")
    assert (state.at, state.problem_at, len(state.problem)) == (SOON, clock.ms, 1_000)
    assert due_in(state, clock.ms, HOUR) == RETRY
    await there.sync()
    state = await there.state()
    assert (state.problem, state.problem_at, state.at) == ("", None, clock.ms)
    assert due_in(state, clock.ms, HOUR) == HOUR


async def test_a_server_that_is_down_or_refuses_leaves_the_cursor(registry, mlflow, monkeypatch):
    monkeypatch.setattr(http_retries, "ATTEMPTS", 1)
    with LittleServer(lambda asked: (401, {}, b"")) as refusing, pytest.raises(ConfigError, match="answers 401"):
        await MlflowImport(registry, MlflowSettings(refusing.url, token="t")).sync()
    gone = MlflowImport(registry, MlflowSettings(refusing.url, token="t"))
    with pytest.raises(DependencyDown):
        await gone.sync()
    assert (await gone.state()).cursor is None
