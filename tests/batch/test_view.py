"""The reader finds in the view what the oracle counts."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from batch.lake import FolderLake
from batch.view import TOTAL, load_view
from runway_streams.ground_truth import slim
from runway_streams.times import DAY, HOUR, MINUTE
from tests import oracle
from tests.batch.log import T0, archive, numbered, snapshot
from tests.oracle import O, P

HOURS = 60


def log():
    """Three models, two versions, segments, and outcomes on time, late, early and never."""
    rng = np.random.default_rng(7)
    predictions, outcomes = [], []
    for i in range(600):
        at = T0 + int(rng.integers(0, 30 * HOUR))
        task = ("binary", "regression", "multiclass")[i % 3]
        scores = dict(zip("abc", rng.dirichlet([1, 1, 1]).tolist(), strict=True)) if task == "multiclass" else None
        predictions.append(P(
            f"id-{i}", at, at - int(rng.integers(0, HOUR)), (i % 2, 0), task, str(i % 5 // 4), task=task,
            label=None if task == "regression" else "1", score=float(rng.random()) if task == "binary" else None,
            scores=scores, value=float(rng.normal()) if task == "regression" else None,
            lower=-1.0 if task == "regression" else None, upper=1.0 if task == "regression" else None,
            segments=(("region", "eu" if i % 4 else "us"),), labels=("a", "b") if scores else (),
            declared=frozenset(["region"]),
        ))  # fmt: skip
        if i % 10:
            delay = int(rng.integers(-MINUTE, 3 * HOUR)) + (26 * HOUR if i % 11 == 0 else 0)
            outcomes.append(O(
                f"id-{i}", max(at + delay, T0), predictions[-1].time + delay, (i % 2, 0),
                str(rng.choice(["0", "1"])) if not scores else str(rng.choice(["a", "b", "c"])), float(rng.normal()),
            ))  # fmt: skip
    return numbered(predictions), numbered(outcomes)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    lake = FolderLake(folder / "lake")
    predictions, outcomes = log()
    archive(lake, predictions, outcomes, until=T0 // HOUR + HOURS, final=True)
    for hour in (20, 35, HOURS):
        snapshot(lake, folder, T0 // HOUR + hour)
    judged = oracle.judge(predictions, outcomes, T0 + HOURS * HOUR)
    assert {one.status for one in judged} == {"joined", "late", "early", "unmatched"}
    return lake, judged, folder / "cache"


@pytest.mark.parametrize("granularity", ["five_minute", "hourly"])
@pytest.mark.parametrize("segment", [TOTAL, ("region", "us")])
@pytest.mark.parametrize("version", [None, "1"])
def test_rows(made, granularity, segment, version):
    lake, judged, cache = made
    view = load_view(lake, cache)
    start, end = T0 + 3 * HOUR, T0 + 20 * HOUR
    for model in ("binary", "regression", "multiclass"):
        part = [one for one in judged if one.prediction.model == model and start <= one.prediction.time < end
                and version in (None, one.prediction.version)
                and (segment == TOTAL or segment in one.prediction.segments)]  # fmt: skip
        total = oracle.row_of(part)
        rows = view.rows(model, start, end, granularity, segment, version)
        joined, late = slim.merge(rows.joined)[0], slim.merge(rows.late)[0]
        assert joined == pytest.approx([total[name] for name in slim.FIELDS], rel=1e-9, abs=1e-9)
        assert late[len(slim.COUNTS) :] == pytest.approx([total[f"late_{n}"] for n in slim.QUALITY], rel=1e-9, abs=1e-9)
        assert not late[: len(slim.COUNTS)].any()
        assert set(rows.version_names) == {one.prediction.version for one in part}
        cells = view.confusion(model, start, end, granularity, segment, version)
        assert cells.joined.sum() == sum(one.status == "joined" and one.prediction.label is not None for one in part)


def test_confusion_and_histograms(made):
    lake, judged, cache = made
    view = load_view(lake, cache)
    everything = (T0 - DAY, T0 + 10 * DAY)
    for model in ("binary", "multiclass", "regression"):
        part = [one for one in judged if one.prediction.model == model]
        found = view.confusion(model, *everything)
        wanted = oracle.confusion(part, HOUR)
        pairs = [(found.labels[p], found.labels[a]) for p, a in zip(found.predicted, found.actual, strict=True)]
        assert sum_by(pairs, found.joined) == sum_of(wanted, 0)
        assert sum_by(pairs, found.late) == sum_of(wanted, 1)
        cells = view.histograms(model, *everything)
        wanted = oracle.histograms(part)
        named = [(cells.family_names[f], int(c)) for f, c in zip(cells.families, cells.cells, strict=True)]
        assert sum_by(named, cells.joined) == pytest.approx(sum_of(wanted, 0))
        assert sum_by(named, cells.late) == pytest.approx(sum_of(wanted, 1))


def sum_by(names, values):
    found = Counter()
    for name, value in zip(names, values.tolist(), strict=True):
        found[name] += value
    return {name: value for name, value in found.items() if value}


def sum_of(wanted, status):
    """The oracle's cells of the total, over all rows; 0 is joined, 1 late."""
    found = Counter()
    for key, value in wanted.items():
        if key[2] == "":
            found[key[6:]] += value[status]
    return {name: value for name, value in found.items() if value}


def test_models_and_segments(made):
    lake, judged, cache = made
    view = load_view(lake, cache)
    assert [(m.model, m.task, m.versions) for m in view.models()] == [
        (model, model, ["0", "1"]) for model in ("binary", "multiclass", "regression")
    ]
    for seen in view.models():
        times = [one.prediction.time for one in judged if one.prediction.model == seen.model]
        assert seen.first <= min(times) < seen.first + 5 * MINUTE
        assert seen.last <= max(times) < seen.last + 5 * MINUTE
    assert view.segments("binary") == [("region", "eu"), ("region", "us")]


def test_what_is_not_there_has_no_rows(made):
    lake, _, cache = made
    view = load_view(lake, cache)
    for granularity in ("five_minute", "hourly"):
        assert len(view.rows("none", 0, 2**60, granularity)) == 0
        assert view.rows("binary", 0, 1, granularity).joined.shape == (0, slim.WIDTH)
        assert len(view.confusion("binary", 0, 2**60, granularity, version="none")) == 0
    assert len(view.histograms("binary", 0, 2**60, ("no", "such"))) == 0


def test_a_view_is_loaded_once_a_snapshot(made, tmp_path):
    lake, _, cache = made
    view = load_view(lake, cache)
    assert load_view(lake, cache, view) is view
    assert load_view(FolderLake(tmp_path), cache) is None


def test_reading_needs_neither_duckdb_nor_faust():
    code = "import sys, batch.view; print([n for n in ('duckdb', 'faust', 'starlette') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
