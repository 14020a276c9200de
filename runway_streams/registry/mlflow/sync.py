"""Sync: one way, from an MLflow registry into ours. Nothing is written to MLflow, and what is deleted there stays here.

A version is taken once, by its origin (uri, name, version), and never changed afterwards; its stage and aliases follow
MLflow's. What counts is whether MLflow's stage or aliases have changed since they were last taken (the `mark`), not what we
have now: a version that was promoted here stays so until somebody moves it in MLflow.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from runway_streams.registry.mlflow.client import MlflowClient, RegisteredModel, RegisteredVersion
from runway_streams.registry.mlflow.mapping import Mark, model_of, move_to, our_aliases, version_of
from runway_streams.times import MINUTE
from schemas.model import Model
from schemas.model_version import ModelVersion, Stage

OVERLAP = 5 * MINUTE
"""A poll reads again what changed this long before its cursor: MLflow stamps a change before it commits it, and several
servers have several clocks."""
NOTES = 1_000
"""Notes and reasons that a report keeps; it counts all."""

Key = tuple[str, str]
"""A registered model's name and a version."""
Outcome = Literal["created", "moved", "stayed", "unchanged"]
"""What became of a version: `moved` is a new stage or other aliases; `stayed`, that no legal move leads where MLflow has it."""


class Sink(Protocol):
    """Our registry, as a sync sees it. Each `take` is one transaction; a RunwayError from it skips that version only, but for
    DependencyDown, which ends the sync."""

    async def marks(self, uri: str, keys: list[Key]) -> dict[Key, Mark]:
        """The marks of those of these versions (at most 1,000) that were taken from `uri` before."""
        ...

    async def aliased(self, uri: str) -> dict[Key, Mark]:
        """The marks with aliases of all versions taken from `uri`."""
        ...

    async def take(
        self, model: Model, version: ModelVersion, stage: Stage | None, aliases: list[str], mark: Mark
    ) -> Outcome:
        """Takes a version and keeps `mark` for its origin.

        A model that is there stays as it is. A version whose origin is known stays as it is too; only its origin counts then,
        as its run was not read again. It moves to `stage`, over legal stages in between (None: it stays where it is), and gets
        exactly `aliases` of those that came from MLflow. Raises RunwayError where it cannot be taken, such as for another
        version of that name; it is tried again when everything is synced."""
        ...


@dataclass(frozen=True, slots=True)
class Skipped:
    """A version that was not taken, and why."""

    name: str
    version: str
    reason: str


@dataclass
class Report:
    """What a sync did. `cursor` (epoch ms) is where the next poll goes on."""

    models: int = 0
    created: int = 0
    moved: int = 0
    stayed: int = 0
    unchanged: int = 0
    skipped: int = 0
    reasons: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cursor: int = 0

    def skip(self, found: RegisteredVersion, reason: str) -> None:
        """Counts a version that was not taken."""
        self.skipped += 1
        if len(self.reasons) < NOTES:
            self.reasons.append(Skipped(found.name, found.version, reason))

    def note(self, where: str, notes: Iterable[str]) -> None:
        """Keeps what was cut."""
        self.notes += [f"{where}: {note}" for note in notes][: NOTES - len(self.notes)]

    def count(self, outcome: Outcome) -> None:
        """Counts a version that was taken or known."""
        setattr(self, outcome, getattr(self, outcome) + 1)


async def sync(client: MlflowClient, sink: Sink, now: int, since: int | None = None) -> Report:
    """Takes what has changed since the cursor of an earlier report, everything where there is none. `now` in epoch ms.

    It reads all registered models (500 a request: setting an alias leaves no time of change), then versions from the last
    changed one back to `since` (1,000 a request), and the run of each version that is new. Raises DependencyDown when MLflow
    or the sink is down; the next sync with the old cursor takes up the rest."""
    work = _Sync(client, sink)
    await work.read_models()
    await work.take_changed(None if since is None else since - OVERLAP)
    await work.take_aliased()
    # A change that MLflow's clock puts into the future must not hide those to come.
    work.report.cursor = max(min(work.last_change, now), since or 0)
    return work.report


async def sync_model(client: MlflowClient, sink: Sink, name: str) -> Report:
    """Takes one registered model, all its versions: an alias that came to one version has left another. The cursor is 0."""
    work = _Sync(client, sink)
    found = await client.model(name)
    if found is None:
        return work.report
    work.models[name] = found
    work.report.models = 1
    async for page in client.versions(name):
        await work.take_page(page)
    return work.report


class _Sync:
    def __init__(self, client: MlflowClient, sink: Sink):
        self.client, self.sink = client, sink
        self.models: dict[str, RegisteredModel | None] = {}
        self.report = Report()
        self.last_change = 0
        self.noted: set[str] = set()
        self.handled: set[Key] = set()

    async def read_models(self) -> None:
        async for page in self.client.models():
            self.models.update((found.name, found) for found in page)
        self.report.models = len(self.models)

    async def take_changed(self, since: int | None) -> None:
        async for page in self.client.versions():
            self.last_change = max([self.last_change, *(found.last_updated_timestamp for found in page)])
            changed = [found for found in page if since is None or found.last_updated_timestamp >= since]
            await self.take_page(changed)
            if len(changed) < len(page):
                return

    async def take_aliased(self) -> None:
        """Those whose aliases changed, which leaves no trace in the times of change."""
        now = {
            (name, alias.version): found.aliases_of(alias.version)
            for name, found in self.models.items()
            if found
            for alias in found.aliases
        }
        before = {
            key: mark.aliases for key, mark in (await self.sink.aliased(self.client.uri)).items() if key[0] in self.models
        }
        changed = sorted(key for key in now.keys() | before.keys() if now.get(key, ()) != before.get(key, ()))
        for key in changed:
            found = None if key in self.handled else await self.client.version(*key)
            if found:
                await self.take_page([found])

    async def take_page(self, page: list[RegisteredVersion]) -> None:
        if not page:
            return
        marks = await self.sink.marks(self.client.uri, [(found.name, found.version) for found in page])
        for found in page:
            key = (found.name, found.version)
            if key in self.handled:
                continue
            self.handled.add(key)
            try:
                self.report.count(await self.take(found, marks.get(key)))
            except (DependencyDown, ConfigError):
                raise
            except RunwayError as error:
                self.report.skip(found, str(error))

    async def take(self, found: RegisteredVersion, before: Mark | None) -> Outcome:
        registered = await self.model(found.name)
        mark = Mark(found.current_stage, registered.aliases_of(found.version))
        if mark == before:
            return "unchanged"
        if found.status != "READY":
            raise RunwayError(f"MLflow says that it is {found.status}.")
        run = await self.client.run(found.run_id) if found.run_id and before is None else None
        model, model_notes = model_of(registered, self.client.uri)
        version, notes = version_of(found, run, self.client.uri)
        aliases, alias_notes = our_aliases(mark.aliases)
        outcome = await self.sink.take(model, version, move_to(before, mark), aliases, mark)
        if outcome == "created":
            if found.name not in self.noted:
                self.noted.add(found.name)
                self.report.note(found.name, model_notes)
            self.report.note(f"{found.name} {found.version}", notes)
        self.report.note(f"{found.name} {found.version}", alias_notes)
        return outcome

    async def model(self, name: str) -> RegisteredModel:
        """The registered model, asked for once more where it came after the list was read."""
        if name not in self.models:
            self.models[name] = await self.client.model(name)
        found = self.models[name]
        if found is None:
            raise RunwayError("Its model is gone.")
        return found
