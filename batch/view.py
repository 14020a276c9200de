"""The batch view as its readers see it: one model's rows out of the newest snapshot, fast. Pure pyarrow and numpy.

    view = load_view(lake, cache=home / "cache" / "view")        # None before the first batch
    rows = view.rows("fraud", start, end, "hourly")              # arrays for `slim.merge`
    mine = rows.log_hours < view.manifest.owned_before           # the merge rule: only hours that the batch owns

A key (time, version, log hour) may come in several rows: late outcomes are folded in as additive rows of their own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from batch.lake import Lake
from batch.manifest import TABLES, Manifest, ModelSeen, read_current
from batch.view_tables import Stretch, ViewTable
from runway_streams.ground_truth import slim

Granularity = Literal["five_minute", "hourly"]
Segment = tuple[str, str]
TOTAL: Segment = ("", "")


@dataclass(frozen=True, slots=True)
class Keys:
    """What every row is about: `times` is the start of its bin or hour (epoch ms, event time), `log_hours` the log hour
    of its predictions, `versions` a code into `version_names`."""

    times: NDArray[np.int64]
    log_hours: NDArray[np.int64]
    versions: NDArray[np.int32]
    version_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Rows(Keys):
    """Slim rows. `joined` is (n, slim.WIDTH): all counts, and the quality of the predictions joined on time. `late` is
    (n, slim.WIDTH): the quality of the late ones, its counts 0, so that `slim.merge` of both is joined + late.
    `partial`: some segment values or labels were not kept."""

    joined: NDArray[np.float64]
    late: NDArray[np.float64]
    partial: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Confusion(Keys):
    """Cells of confusion matrices; `predicted` and `actual` are codes into `labels`."""

    predicted: NDArray[np.int32]
    actual: NDArray[np.int32]
    labels: tuple[str, ...]
    joined: NDArray[np.float64]
    late: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Histograms(Keys):
    """Hourly cells of `full.Layout` families: `families` is a code into `family_names` (`score_class`, `calibration`,
    `class:LABEL`), `cells` counts from the family's first cell."""

    families: NDArray[np.int32]
    family_names: tuple[str, ...]
    cells: NDArray[np.int32]
    joined: NDArray[np.float64]
    late: NDArray[np.float64]


class View:
    """One snapshot of the batch view. Safe to share between threads; replaced as a whole by the next snapshot.

    `start` and `end` are epoch ms of event time, `end` excluded; a bin belongs to the range its start lies in.
    `version=None` is all versions, `segment=TOTAL` all predictions. An unknown model has no rows.
    """

    def __init__(self, manifest: Manifest, tables: dict[str, ViewTable]):
        self.manifest = manifest
        self._tables = tables

    def models(self) -> list[ModelSeen]:
        """Every model that the archive has seen, by name."""
        return self.manifest.models

    def segments(self, model: str) -> list[Segment]:
        """The segments that a model has hourly rows of."""
        owners = self._tables["hourly"].owners()
        return sorted({(key, value) for name, key, value in owners if name == model and key})

    def rows(self, model: str, start: int, end: int, granularity: Granularity = "hourly",
             segment: Segment = TOTAL, version: str | None = None) -> Rows:  # fmt: skip
        """Slim rows of one model."""
        found = self._select(granularity, model, segment, start, end, version)
        late = np.zeros((len(found.times), slim.WIDTH))
        late[:, len(slim.COUNTS) :] = found.column("late", (0, len(slim.QUALITY)))
        partial = found.column("partial", (0,)).astype(bool)
        return Rows(*found.keys(), joined=found.column("joined", (0, slim.WIDTH)), late=late, partial=partial)

    def confusion(self, model: str, start: int, end: int, granularity: Granularity = "hourly",
                  segment: Segment = TOTAL, version: str | None = None) -> Confusion:  # fmt: skip
        """Confusion cells of one model."""
        found = self._select(f"{granularity}_confusion", model, segment, start, end, version)
        predicted, labels = found.codes("predicted")
        actual, more = found.codes("actual")
        names = tuple(dict.fromkeys([*labels, *more]))
        place = np.array([names.index(label) for label in more], dtype=np.int32)
        return Confusion(
            *found.keys(),
            predicted=predicted,
            actual=place[actual] if len(more) else actual,
            labels=names,
            joined=found.column("joined", (0,)),
            late=found.column("late", (0,)),
        )

    def histograms(self, model: str, start: int, end: int, segment: Segment = TOTAL,
                   version: str | None = None) -> Histograms:  # fmt: skip
        """Histogram cells of one model, hourly; of the total and of the segments that its settings declare."""
        found = self._select("hourly_histograms", model, segment, start, end, version)
        families, names = found.codes("family")
        return Histograms(
            *found.keys(),
            families=families,
            family_names=names,
            cells=found.column("cell", (0,)).astype(np.int32, copy=False),
            joined=found.column("joined", (0,)),
            late=found.column("late", (0,)),
        )

    def _select(self, table: str, model: str, segment: Segment, start: int, end: int, version: str | None) -> "_Selection":
        stretches = self._tables[table].stretches((model, *segment), start, end)
        return _Selection([_cut(stretch, start, end, version) for stretch in stretches])


class _Selection:
    """Rows of several files as one: columns concatenated, texts under one numbering."""

    def __init__(self, stretches: list[Stretch]):
        self._stretches = stretches
        self.times = self.column("bin", (0,)).astype(np.int64, copy=False)

    def keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], tuple[str, ...]]:
        """The fields of `Keys`, in their order."""
        return self.times, self.column("log_hour", (0,)).astype(np.int64, copy=False), *self.codes("version")

    def column(self, name: str, empty: tuple[int, ...]) -> NDArray:
        """A numeric column; of the shape `empty` where there are no rows."""
        parts = [stretch.columns[name] for stretch in self._stretches]
        return np.concatenate(parts) if parts else np.zeros(empty)

    def codes(self, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """A text column as codes into names."""
        numbers: dict[str, int] = {}
        parts = []
        for stretch in self._stretches:
            names, codes = stretch.texts[name]
            used = np.unique(codes)
            place = np.zeros(len(names), dtype=np.int32)
            place[used] = [numbers.setdefault(names[code], len(numbers)) for code in used]
            parts.append(place[codes])
        return (np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)), tuple(numbers)


def _cut(stretch: Stretch, start: int, end: int, version: str | None) -> Stretch:
    """The rows within a range of time, of one version or all."""
    times = stretch.columns["bin"]
    wanted = (times >= start) & (times < end)
    if version is not None:
        names, codes = stretch.texts["version"]
        wanted &= codes == (names.index(version) if version in names else -1)
    if wanted.all():
        return stretch
    return Stretch(
        {name: column[wanted] for name, column in stretch.columns.items()},
        {name: (names, codes[wanted]) for name, (names, codes) in stretch.texts.items()},
    )


def load_view(lake: Lake, cache: Path, previous: View | None = None) -> View | None:
    """The newest snapshot; `previous` is returned as it is while nothing newer was published, and its open files are
    taken over. `cache` is a local folder (below RUNWAY_HOME) for the tables, which are read memory-mapped."""
    manifest = read_current(lake)
    if manifest is None:
        return None
    if (
        previous is not None
        and previous.manifest.name == manifest.name
        and previous.manifest.created_at == manifest.created_at
    ):
        return previous
    tables = {
        name: ViewTable(
            name,
            [file for file in manifest.files if file.table == name],
            lake,
            cache,
            previous._tables[name] if previous is not None else None,
        )
        for name in TABLES
    }
    for name, table in tables.items():
        table.forget()
        if name.startswith("hourly"):
            table.open_all()
    return View(manifest, tables)
