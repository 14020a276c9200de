"""A small history of events, as the speed layer and as the batch have it, and the API over both."""

from collections import defaultdict
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from starlette.middleware import Middleware

from api.app import make_app
from api.lineage_parts import open_lineage
from api.local import Trust
from api.merged_view import BatchSnapshot, MergedView
from api.principals import Principal
from api.speed_store import SpeedStore
from batch.manifest import Manifest, ModelSeen
from batch.view import Confusion, Histograms, Rows
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.records import full_key, mark_key, pack_full, pack_mark, pack_slim, slim_key
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.times import BIN, HOUR
from schemas.metrics_record import Mark

NOON = 480_012
"""A log hour; `NOON * HOUR` is 2024-10-04T12:00:00Z."""
NOW = (NOON + 48) * HOUR
LAYOUT = Layout.of(Settings("m", task="binary"))


@dataclass(frozen=True)
class Event:
    """A prediction with what became of it."""

    bin: int
    predicted: str = "1"
    actual: str = "1"
    status: str = "joined"
    log_hour: int | None = None
    partition: int = 0
    version: str = "1"
    score: float | None = None
    segment: tuple[str, str] = ("", "")
    dropped: bool = False
    """It had segment values that were not kept."""

    @property
    def hour(self):
        return self.bin // 12

    @property
    def log(self):
        return self.hour if self.log_hour is None else self.log_hour


def row_of(events, *, counts=True, quality=("joined",)):
    row = slim.empty(1)[0]
    for event in events:
        if counts:
            row[slim.INDEX["predictions"]] += 1
            if event.status in ("joined", "late", "early"):
                row[slim.INDEX[event.status]] += 1
        if event.status in quality and event.score is not None:
            truth = event.score if event.actual == "1" else 1 - event.score
            log_loss, brier = slim.losses(np.array([truth]))
            row[[slim.INDEX["scored"], slim.INDEX["log_loss"], slim.INDEX["brier"]]] += [1, log_loss[0], brier[0]]
    return row


def confusion_of(events, status):
    counts = defaultdict(int)
    for event in events:
        if event.status == status:
            counts[event.predicted, event.actual] += 1
    return counts


def cells_of_events(events, status="joined"):
    cells = np.zeros(LAYOUT.size)
    for event in events:
        if event.status == status and event.score is not None:
            positive = event.actual == "1"
            cells[min(int(event.score * 256), 255) + 256 * positive] += 1
            first = 512 + 3 * min(int(event.score * 10), 9)
            cells[first : first + 3] += [1, event.score, positive]
    return cells


def grouped(events, key):
    groups = defaultdict(list)
    for event in events:
        groups[key(event)].append(event)
    return groups


def speed_store(events, model="m", clock=NOW, partitions=1):
    """What the workers would have emitted."""
    store = SpeedStore()
    every = [*events, *(Event(**{**e.__dict__, "segment": ("", "")}) for e in events if e.segment != ("", ""))]
    for (partition, version, segment, hour, log), group in grouped(
        every, lambda e: (e.partition, e.version, e.segment, e.hour, e.log)
    ).items():
        matrix, confusion = slim.empty(12), []
        for bin, some in grouped(group, lambda e: e.bin % 12).items():
            matrix[bin] = row_of(some)
            confusion += [(bin, p, a, n) for (p, a), n in confusion_of(some, "joined").items()]
        partial = segment == ("", "") and any(event.dropped for event in group)
        store.apply(partition, slim_key(model, version, *segment, hour, log), pack_slim(matrix, confusion, partial))
        record = pack_full(LAYOUT, cells_of_events(group))
        store.apply(partition, full_key(model, version, *segment, hour, log, LAYOUT.digest), record)
    for partition in range(partitions):
        counters = {"predictions": len(events), "joined": 1, "dead_letters.not_json": 2}
        mark = Mark({"runway.predictions": len(events)}, clock, 0, counters)
        store.apply(partition, mark_key(), pack_mark(mark))
    return store


class FakeBatchView:
    """The batch view over events in memory, late outcomes folded in."""

    def __init__(self, events, owned_before, covered=0, model="m"):
        self.events, self.model = events, model
        covered = {"predictions": {"0": covered}}
        self.manifest = Manifest(cutoff=owned_before + 26, created_at=0, covered=covered, owned_before=owned_before)

    def models(self):
        if not self.events:
            return []
        times = [event.bin * BIN for event in self.events]
        return [ModelSeen(self.model, None, sorted({e.version for e in self.events}), min(times), max(times))]

    def rows(self, model, start, end, granularity="hourly", segment=("", ""), version=None):
        keys, groups = self._grouped(model, start, end, granularity, segment, version)
        joined = np.array([row_of(g) for g in groups]).reshape(-1, slim.WIDTH)
        late = np.array([row_of(g, counts=False, quality=("late",)) for g in groups]).reshape(-1, slim.WIDTH)
        partial = [segment == ("", "") and any(event.dropped for event in group) for group in groups]
        return Rows(*keys, joined, late, np.array(partial, dtype=bool))

    def confusion(self, model, start, end, granularity="hourly", segment=("", ""), version=None):
        (times, logs, versions, names), groups = self._grouped(model, start, end, granularity, segment, version)
        labels = tuple(sorted({label for e in self.events for label in (e.predicted, e.actual)}))
        cells = []
        for i, group in enumerate(groups):
            joined, late = confusion_of(group, "joined"), confusion_of(group, "late")
            cells += [
                (i, labels.index(p), labels.index(a), joined.get((p, a), 0), late.get((p, a), 0))
                for p, a in {**joined, **late}
            ]
        table = np.array(cells, dtype=np.int64).reshape(-1, 5)
        at = table[:, 0]
        return Confusion(
            times[at], logs[at], versions[at], names, table[:, 1], table[:, 2], labels, table[:, 3], table[:, 4]
        )

    def histograms(self, model, start, end, segment=("", ""), version=None):
        (times, logs, versions, names), groups = self._grouped(model, start, end, "hourly", segment, version)
        cells = []
        for i, group in enumerate(groups):
            joined, late = cells_of_events(group), cells_of_events(group, "late")
            for cell in np.flatnonzero(joined + late):
                family = int(cell >= 512)
                cells.append((i, family, cell - 512 * family, joined[cell], late[cell]))
        table = np.array(cells).reshape(-1, 5)
        at = table[:, 0].astype(int)
        whole = table[:, 1:3].astype(int)
        families = ("score_class", "calibration")
        return Histograms(
            times[at], logs[at], versions[at], names, whole[:, 0], families, whole[:, 1], table[:, 3], table[:, 4]
        )

    def _grouped(self, model, start, end, granularity, segment, version):
        size = 12 if granularity == "hourly" else 1
        chosen = [
            e for e in self.events
            if model == self.model and start <= e.bin // size * size * BIN < end
            and (segment == ("", "") or e.segment == segment) and version in (None, e.version)
        ]  # fmt: skip
        groups = grouped(chosen, lambda e: (e.bin // size * size * BIN, e.log, e.version))
        names = tuple(sorted({e.version for e in chosen}))
        keys = np.array([(time, log, names.index(v)) for time, log, v in groups], dtype=np.int64).reshape(-1, 3)
        return (keys[:, 0], keys[:, 1], keys[:, 2], names), list(groups.values())


@dataclass
class FakeSpeed:
    """A speed view that has read what it was given."""

    store: SpeedStore = field(default_factory=SpeedStore)
    ready: bool = True
    problem: str = ""
    complete_from: int | None = None
    partitions: int = 0


def snapshot(view):
    batch = BatchSnapshot(lambda: None, None)
    batch.view, batch.loaded = view, True
    return batch


def merged_view(speed_events=(), batch=None, *settings, **speed):
    history = SettingsHistory()
    for change in settings:
        history.add(change)
    return MergedView(
        FakeSpeed(speed_store(list(speed_events)) if speed_events else SpeedStore(), **speed),
        snapshot(batch), history, lambda noun: f"runway.{noun}",
    )  # fmt: skip


ADMIN = Principal("key:test", "admin", (), "key")


def app_over(view, registry, principal=ADMIN, lineage=None, discoverer=None):
    """The application over a view and a registry, asked by one principal."""
    return make_app(view, registry, Middleware(Trust, principal=principal), lineage=lineage, discoverer=discoverer)


def http_client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api")


@pytest.fixture
async def client(tmp_path):
    """`client(view)` is an HTTP client of the API over the view, with an empty registry."""
    database = Database.open(None, tmp_path, MIGRATIONS)

    def of(view, now=NOW):
        return http_client(app_over(view, Registry(database, lambda: now, Settings.from_document)))

    yield of
    await database.close()


class Api:
    """The API over an empty view and a registry in either database, for several principals; its clock stands still."""

    def __init__(self, database, view=None, lineage=None):
        self.clock = NOW
        self.lineage, self.discoverer = lineage, None
        self.registry = Registry(database, lambda: self.clock, Settings.from_document)
        self.view = view or merged_view()

    def as_(self, name="ada", role="admin", *teams):
        """A client of a principal."""
        principal = Principal(name, role, teams, "key")
        return http_client(app_over(self.view, self.registry, principal, self.lineage, self.discoverer))


@pytest.fixture
async def api(database, database_url, tmp_path):
    api = Api(database)
    api.lineage = open_lineage(Config(home=tmp_path, database=database_url), lambda: api.clock)
    yield api
    await api.lineage.close()
