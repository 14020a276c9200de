"""The merged view: the speed view and the newest batch snapshot side by side, and who owns which log hour."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from api.batch_layer import batch_layer, label_layer
from api.query import Query
from api.speed_store import TOTAL, Segment, SpeedStore
from batch.lake import Lake
from batch.manifest import ModelSeen
from batch.view import View as BatchView
from batch.view import load_view
from runway_streams.background import Background
from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.ground_truth.merge_rule import (
    Block,
    Layer,
    Merged,
    Ownership,
    View,
    covers,
    merge_layers,
    owned_before,
)
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import BIN, HOUR

REFRESH_S = 3.0
"""How often the newest snapshot is asked for."""

_log = logging.getLogger(__name__)


class Speed(Protocol):
    """What answers need of the speed view."""

    store: SpeedStore
    ready: bool
    problem: str
    complete_from: int | None
    partitions: int


class BatchSnapshot(Background):
    """The newest snapshot of the batch, replaced as a whole when the lake has a newer one."""

    task_name = "batch snapshot"

    def __init__(self, open_lake: Callable[[], Lake], cache: Path):
        self.view: BatchView | None = None
        self.loaded = False
        self.problem = ""
        self._open_lake, self._cache = open_lake, cache

    async def refresh(self) -> None:
        """Takes the newest snapshot; while the lake does not answer the last one stays."""
        try:
            self.view = await asyncio.to_thread(self._load)
            self.loaded, self.problem = True, ""
        except (RunwayError, OSError) as error:
            if str(error) != self.problem:
                _log.warning("Batch view: %s", error)
            self.problem = str(error)

    @property
    def name(self) -> str:
        """Names the snapshot, and changes with it."""
        return self.view.manifest.name if self.view else ""

    def owned_before(self) -> int | None:
        """The first log hour that the batch does not own; None without a batch."""
        return self.view.manifest.owned_before if self.view else None

    def _load(self) -> BatchView | None:
        return load_view(self._open_lake(), self._cache, self.view)

    async def _run(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_S)


@dataclass
class MergedView:
    """Everything that answers are made of. `topic` gives the full name that marks have of what manifests call by its noun."""

    speed: Speed
    batch: BatchSnapshot
    history: SettingsHistory
    topic: Callable[[str], str]

    def ownership(self) -> Ownership:
        """Which log hours the batch owns now."""
        if self.batch.view is None:
            return Ownership()
        manifest = self.batch.view.manifest
        covered = {self.topic(noun): offsets for noun, offsets in manifest.covered.items()}
        return Ownership(manifest.owned_before, covers(covered, self.speed.store.marks))

    def as_of(self) -> dict[str, int | None]:
        """How far each layer reaches in log time (ms): the least clock of all partitions' marks, and the batch's cutoff."""
        snapshot, store = self.batch.view, self.speed.store
        speed = store.as_of() if len(store.marks) >= self.speed.partitions else None
        return {"speed": speed, "batch": snapshot.manifest.cutoff * HOUR if snapshot else None}

    def unavailable(self) -> list[str]:
        """The layers that cannot be answered from now, though they may hold something."""
        missing = [] if self.speed.ready else ["speed_unavailable"]
        return missing + (["batch_unavailable"] if self.batch.problem else [])

    def names(self) -> frozenset[str]:
        """Every model that either layer knows."""
        batch = self.batch.view.models() if self.batch.view else []
        return frozenset(self.speed.store.names()).union(found.model for found in batch)

    def seen_many(self, models: Iterable[str]) -> dict[str, ModelSeen]:
        """What was seen of these models; those that neither layer knows are left out."""
        batch = {found.model: found for found in (self.batch.view.models() if self.batch.view else [])}
        found = {}
        for model in models:
            versions, of_batch = self.speed.store.versions(model), batch.get(model)
            if versions:
                found[model] = self._with_speed(model, versions, of_batch)
            elif of_batch:
                found[model] = of_batch
        return found

    def seen(self, model: str) -> ModelSeen | None:
        """One model, None where neither layer knows it."""
        return self.seen_many([model]).get(model)

    async def has_events(self, model: str) -> bool:
        """Whether any event of a model was counted. Raises DependencyDown where that is not known yet."""
        if self.speed.store.versions(model) or self.seen(model):
            return True
        if self.unavailable() or not self.batch.loaded:
            raise DependencyDown(f"Whether {model} has events is not known yet. {' '.join(self.problems())}".strip())
        return False

    def settings(self, model: str, now: int) -> Settings:
        """The settings in force now."""
        return self.history.at(model, now)

    def layers(
        self, model: str, segment: Segment, start: int, end: int, *, hourly: bool, version: str | None, view: View
    ) -> Merged:
        """Both layers of one model and segment between two times (ms), disjoint by the merge rule.

        Where not every value of a segment is kept, its windows are as partial as those of the total: which values were left
        out is not known any more.
        """
        merged = self._merged(model, segment, start, end, hourly=hourly, version=version, view=view)
        if segment == TOTAL or self._keeps_every_value(model, segment[0], start, end):
            return merged
        total = self._merged(model, TOTAL, start, end, hourly=hourly, version=version, view=view)
        return Merged(*(replace(own, partial=whole.partial) for own, whole in zip(merged, total, strict=True)))

    def _merged(
        self, model: str, segment: Segment, start: int, end: int, *, hourly: bool, version: str | None, view: View
    ) -> Merged:
        speed = Layer() if view == "batch" else self._speed_layer(model, segment, start, end, version)
        batch = Layer()
        if self.batch.view is not None and view != "speed":
            batch = batch_layer(self.batch.view, model, segment, start, end, hourly=hourly, version=version)
        return merge_layers(speed, batch, self.ownership(), view)

    def _keeps_every_value(self, model: str, key: str, start: int, end: int) -> bool:
        """Whether the settings declare a segment key; a time of events stands for the log's."""
        return all(key in self.history.at(model, at).segments for at in (start, end))

    def speed_share(self, query: Query) -> Layer:
        """The rows that the batch does not own, in a query's range."""
        layer = self._speed_layer(query.model, query.segment, query.start, query.end, query.version)
        return layer.owned(self.ownership(), by_batch=False)

    def closed_before(self, view: View) -> int | None:
        """The first log hour that can still get a label: by the batch's cutoff where there is one, so that it stays the
        same until the next batch, else by the marks."""
        if self.batch.view is not None and view != "speed":
            return self.batch.view.manifest.owned_before
        clock = self.as_of()["speed"]
        return None if clock is None else owned_before(clock)

    def label_rows(
        self, model: str, segment: Segment, start: int, end: int, *, version: str | None, view: View
    ) -> list[Block]:
        """The slim rows alone, hourly where the batch owns them: for counts over a long range."""
        speed = Layer() if view == "batch" else self._speed_layer(model, segment, start, end, version)
        batch = Layer()
        if self.batch.view is not None and view != "speed":
            batch = label_layer(self.batch.view, model, segment, start, end, version)
        return [layer.rows for layer in merge_layers(speed, batch, self.ownership(), view)]

    def problems(self) -> list[str]:
        """Sentences about what is not there."""
        found = [] if self.speed.ready and not self.speed.problem else [self.speed.problem]
        return found + ([self.batch.problem] if self.batch.problem else [])

    def _speed_layer(self, model: str, segment: Segment, start: int, end: int, version: str | None) -> Layer:
        return self.speed.store.layer(model, segment, version).between(start // BIN, -(-end // BIN))

    def _with_speed(self, model: str, versions: set[str], batch: ModelSeen | None) -> ModelSeen:
        hours = self.speed.store.event_hours(model)
        first, last = (hours[0] * HOUR, (hours[1] + 1) * HOUR - 1) if hours else (None, None)
        task = self.history.at(model, 2**62).task
        if batch is None:
            return ModelSeen(model, task, sorted(versions), first or 0, last or 0)
        firsts, lasts = [t for t in (first, batch.first) if t is not None], [t for t in (last, batch.last) if t is not None]
        return ModelSeen(model, task or batch.task, sorted({*versions, *batch.versions}), min(firsts), max(lasts))
