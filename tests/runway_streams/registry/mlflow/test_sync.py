"""A sync against a real MLflow server, into a registry in memory."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.registry.mlflow import client as mlflow_client
from runway_streams.registry.mlflow.client import MlflowAccess, MlflowClient
from runway_streams.registry.mlflow.mapping import Mark, model_id
from runway_streams.registry.mlflow.sync import OVERLAP, Key, Outcome, Report, sync, sync_model
from runway_streams.registry.mlflow.webhook import RecentDeliveries, WebhookRefused, touched, verify
from schemas.model import Model
from schemas.model_version import ModelVersion, Origin, Stage
from tests.little_http import LittleServer
from tests.mlflow_server import MlflowServer

END = 1_700_000_100_000


@dataclass
class MemoryRegistry:
    """The port, as our catalog will answer it."""

    models: dict[str, Model] = field(default_factory=dict)
    versions: dict[Key, ModelVersion] = field(default_factory=dict)
    stages: dict[Key, Stage] = field(default_factory=dict)
    aliases: dict[Key, list[str]] = field(default_factory=dict)
    seen: dict[Key, Mark] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()
    down: bool = False
    takes: int = 0

    async def marks(self, uri: str, keys: list[Key]) -> dict[Key, Mark]:
        return {key: self.seen[key] for key in keys if key in self.seen}

    async def aliased(self, uri: str) -> dict[Key, Mark]:
        return {key: mark for key, mark in self.seen.items() if mark.aliases}

    async def take(
        self, model: Model, version: ModelVersion, stage: Stage | None, aliases: list[str], mark: Mark
    ) -> Outcome:
        assert version.origin
        self.takes += 1
        if self.down:
            raise DependencyDown("The database is down.")
        if version.origin.name in self.refuses:
            raise RunwayError("There is another version of that name.")
        key = (version.origin.name, version.origin.version)
        outcome: Outcome = "moved" if key in self.versions else "created"
        self.models.setdefault(model.model_id, model)
        self.versions.setdefault(key, version)
        if stage and self.stages.get(key) == "archived":
            outcome = "stayed"
        elif stage:
            self.stages[key] = stage
        self.aliases[key], self.seen[key] = aliases, mark
        return outcome


def client(mlflow: MlflowServer) -> MlflowClient:
    return MlflowClient(MlflowAccess(mlflow.uri))


async def synced(mlflow: MlflowServer, sink: MemoryRegistry, since: int | None = None) -> Report:
    async with client(mlflow) as reader:
        return await sync(reader, sink, int(time.time() * 1000), since)


async def test_a_model_comes_with_its_versions_run_stage_and_aliases(mlflow: MlflowServer) -> None:
    run = mlflow.add_run(
        {"auc": 0.91, "loss": "NaN", "ratio": "Infinity"}, {"lr": "0.1"}, {"mlflow.source.git.commit": "abc123"}, end=END
    )
    mlflow.register("fraud", description="Finds fraud.", tags=[{"key": "team", "value": "risk"}])
    mlflow.add_version("fraud", run, source="s3://models/fraud/1")
    mlflow.add_version("fraud", run)
    mlflow.add_version("fraud")
    mlflow.alias("fraud", "champion", "1")
    mlflow.alias("fraud", "Best", "1")
    mlflow.stage("fraud", "2", "Staging")
    sink = MemoryRegistry()

    report = await synced(mlflow, sink)

    model = sink.models["fraud"]
    assert (model.name, model.description, model.tags) == ("fraud", "Finds fraud.", ["team:risk"])
    first = sink.versions["fraud", "1"]
    assert first.origin == Origin(mlflow.uri, "fraud", "1")
    assert (first.artifact_uri, first.training_run, first.code_ref) == ("s3://models/fraud/1", f"mlflow:{run}", "abc123")
    assert (first.hyperparameters, first.metrics) == ({"lr": "0.1"}, {"auc": 0.91})
    assert first.trained_at is not None
    assert first.trained_at.timestamp() * 1000 == END
    assert [sink.stages["fraud", version] for version in "123"] == ["production", "staging", "evaluation"]
    assert sink.aliases["fraud", "1"] == ["champion"]
    assert any("'Best' is left out" in note for note in report.notes)
    assert any("2 metrics that are not finite" in note for note in report.notes)
    assert (report.created, report.skipped) == (len(sink.versions), 0)


async def test_a_second_sync_takes_nothing(mlflow: MlflowServer) -> None:
    mlflow.register("again")
    mlflow.add_version("again")
    sink = MemoryRegistry()
    first = await synced(mlflow, sink)
    before, takes = (dict(sink.versions), dict(sink.stages)), sink.takes

    second = await synced(mlflow, sink)
    third = await synced(mlflow, sink, first.cursor)

    assert (sink.versions, sink.stages) == before
    assert sink.takes == takes
    assert second.unchanged == first.created
    assert (third.created, third.moved, third.skipped) == (0, 0, 0)
    assert third.cursor == first.cursor


async def test_a_poll_sees_new_versions_stages_and_aliases_and_a_local_promotion_survives(
    mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runway_streams.registry.mlflow.sync.OVERLAP", 0)
    mlflow.register("poll")
    for _ in range(4):
        mlflow.add_version("poll")
    mlflow.alias("poll", "champion", "1")
    sink = MemoryRegistry()
    cursor = (await synced(mlflow, sink)).cursor
    sink.stages["poll", "4"] = "staging"  # somebody promoted it here
    mlflow.alias("poll", "champion", "2")
    mlflow.alias("poll", "best", "4")
    mlflow.stage("poll", "3", "Archived")
    mlflow.add_version("poll")

    report = await synced(mlflow, sink, cursor)

    assert [sink.stages["poll", version] for version in "12345"] == [
        "deprecated",
        "production",
        "archived",
        "staging",
        "evaluation",
    ]
    assert [sink.aliases["poll", version] for version in "124"] == [[], ["champion"], ["best"]]
    assert (report.created, report.moved, report.skipped) == (1, 4, 0)
    mlflow.delete("registered-models/alias", name="poll", alias="champion")
    mlflow.stage("poll", "3", "Production")
    report = await synced(mlflow, sink, report.cursor)
    assert sink.stages["poll", "2"] == "deprecated"
    assert (report.moved, report.stayed) == (1, 1)
    assert (await synced(mlflow, sink, report.cursor)).stayed == 0


async def test_a_poll_costs_what_has_changed(mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runway_streams.registry.mlflow.sync.OVERLAP", 0)
    mlflow.register("cost")
    for _ in range(3):
        mlflow.add_version("cost", mlflow.add_run({"auc": 0.9}, {}))
    sink = MemoryRegistry()
    cursor = (await synced(mlflow, sink)).cursor
    await asyncio.sleep(0.002)
    mlflow.add_version("cost", mlflow.add_run({"auc": 0.9}, {}))
    mlflow.alias("cost", "champion", "1")
    asked = mlflow.asked()

    await synced(mlflow, sink, cursor)

    paths = ["registered-models/search", "model-versions/search", "runs/get", "model-versions/get"]
    assert mlflow.asked()[len(asked) :] == [f"GET /api/2.0/mlflow/{path}" for path in paths]


async def test_what_is_deleted_in_mlflow_stays(mlflow: MlflowServer) -> None:
    mlflow.register("gone")
    mlflow.add_version("gone")
    mlflow.add_version("gone")
    mlflow.alias("gone", "champion", "1")
    sink = MemoryRegistry()
    await synced(mlflow, sink)
    mlflow.delete("model-versions/delete", name="gone", version="1")

    report = await synced(mlflow, sink)

    assert sink.stages["gone", "1"] == "production"
    assert (report.skipped, report.moved) == (0, 0)
    mlflow.delete("registered-models/delete", name="gone")
    assert (await synced(mlflow, sink)).skipped == 0
    assert ("gone", "2") in sink.versions


async def test_one_bad_version_does_not_stop_the_rest(mlflow: MlflowServer) -> None:
    for name in ("refused", "taken"):
        mlflow.register(name)
        mlflow.add_version(name)
    sink = MemoryRegistry(refuses=frozenset({"refused"}))

    report = await synced(mlflow, sink)

    assert ("taken", "1") in sink.versions
    assert [(skip.name, skip.version, skip.reason) for skip in report.reasons] == [
        ("refused", "1", "There is another version of that name.")
    ]
    assert report.skipped == 1


async def test_a_database_that_is_down_ends_the_sync(mlflow: MlflowServer) -> None:
    mlflow.register("down")
    mlflow.add_version("down")
    with pytest.raises(DependencyDown):
        await synced(mlflow, MemoryRegistry(down=True))


async def test_a_run_that_is_gone_leaves_the_version_without_its_numbers(mlflow: MlflowServer) -> None:
    mlflow.register("norun")
    mlflow.add_version("norun", "0123456789abcdef0123456789abcdef")
    sink = MemoryRegistry()

    report = await synced(mlflow, sink)

    version = sink.versions["norun", "1"]
    assert (version.metrics, version.training_run) == ({}, "mlflow:0123456789abcdef0123456789abcdef")
    assert version.trained_at is not None  # when it was registered
    assert any("is gone" in note for note in report.notes)


async def test_prompts_are_not_taken_and_any_name_is(mlflow: MlflowServer) -> None:
    mlflow.register("a-prompt", tags=[{"key": "mlflow.prompt.is_prompt", "value": "true"}])
    names = ["Crédit risk", "bob's", 'a "b"', "9\\d", 'it\'s "both"']
    for name in names:
        mlflow.register(name)
        mlflow.add_version(name)
    sink = MemoryRegistry()

    await synced(mlflow, sink)

    assert "a-prompt" not in sink.models
    assert [sink.models[model_id(name)].name for name in names] == names
    async with client(mlflow) as reader:
        for name in names[:-1]:
            assert (await sync_model(reader, MemoryRegistry(), name)).created == 1
        with pytest.raises(RunwayError, match="A poll takes it"):
            await sync_model(reader, MemoryRegistry(), names[-1])


async def test_pages_follow_each_other(mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("page-1", "page-2", "page-3"):
        mlflow.register(name)
        mlflow.add_version(name)
    whole, paged = MemoryRegistry(), MemoryRegistry()
    await synced(mlflow, whole)
    monkeypatch.setattr(mlflow_client, "MODELS_A_PAGE", 2)
    monkeypatch.setattr(mlflow_client, "VERSIONS_A_PAGE", 1)

    report = await synced(mlflow, paged)

    assert (paged.versions, paged.stages) == (whole.versions, whole.stages)
    assert report.created == len(whole.versions)
    monkeypatch.setattr(mlflow_client, "MAX_PAGES", 1)
    with pytest.raises(RunwayError, match="more than 1 pages"):
        await synced(mlflow, MemoryRegistry())


async def test_a_poll_reads_the_last_minutes_again(mlflow: MlflowServer) -> None:
    mlflow.register("late")
    changed = mlflow.add_version("late")["last_updated_timestamp"]
    for after, created in ((OVERLAP, True), (OVERLAP + 60_000, False)):
        sink = MemoryRegistry()
        report = await synced(mlflow, sink, changed + after)
        assert (("late", "1") in sink.versions) == created
        assert report.cursor == changed + after


async def test_a_cursor_never_lies_in_the_future(mlflow: MlflowServer) -> None:
    mlflow.register("clock")
    changed = mlflow.add_version("clock")["last_updated_timestamp"]
    async with client(mlflow) as reader:
        assert (await sync(reader, MemoryRegistry(), changed - 1_000)).cursor == changed - 1_000


async def test_a_real_delivery_is_genuine_and_names_the_model(mlflow: MlflowServer) -> None:
    with LittleServer() as receiver, mlflow.webhook(f"{receiver.url}/hook", "s3cret"):
        mlflow.register("hooked")
        mlflow.add_version("hooked")
        mlflow.alias("hooked", "champion", "1")
        mlflow.delete("registered-models/alias", name="hooked", alias="champion")
        until = time.monotonic() + 10
        while len(receiver.asked) < 3 and time.monotonic() < until:
            await asyncio.sleep(0.05)
    now, deliveries = time.time(), RecentDeliveries()

    found = []
    for asked in receiver.asked:
        delivery = verify(asked.headers, asked.body, ["older", "s3cret"], now)
        assert await deliveries.claim(delivery, now)
        assert not await deliveries.claim(delivery, now)
        found.append(touched(asked.body))

    assert sorted((touch.name, touch.version or "") for touch in found if touch) == [
        ("hooked", ""),
        ("hooked", "1"),
        ("hooked", "1"),
    ]
    first = receiver.asked[0]
    with pytest.raises(WebhookRefused, match="not that of its secret"):
        verify(first.headers, first.body, ["another"], now)
    sink = MemoryRegistry()
    async with client(mlflow) as reader:
        assert (await sync_model(reader, sink, "hooked")).created == 1
        assert (await sync_model(reader, sink, "nobody")).models == 0
