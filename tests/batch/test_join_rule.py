"""The batch joins and counts as the oracle does, in one night or in many."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from batch.lake import FolderLake
from runway_streams.times import DAY, HOUR, MINUTE
from tests import oracle
from tests.batch.log import FIELDS, PARTITIONS, T0, archive, numbered, snapshot, view_rows
from tests.oracle import O, P

HOURS = 12 * 24
SECONDS = st.integers(0, HOURS * 3600 - 1)
NUMBERS = st.none() | st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6).map(lambda x: round(x, 6))
SCORES = st.none() | st.sampled_from([0.0, 0.1, 0.5, 0.999, 1.0]) | st.floats(0, 1)
LABELS = st.sampled_from(["0", "1", "a"])


@st.composite
def times(draw, seconds=SECONDS):
    """(log time, event time): the event a little ahead of the log, some time before it, or long ago."""
    log_time = T0 + draw(seconds) * 1000
    return log_time, log_time - draw(st.sampled_from([-9 * MINUTE, 0, 1, HOUR, 5 * HOUR, 3 * DAY, 60 * 365 * DAY]))


@st.composite
def predictions(draw):
    log_time, time = draw(times())
    task = draw(st.sampled_from([None, "binary", "multiclass", "regression"]))
    low, high = sorted([draw(st.floats(-10, 10)), draw(st.floats(-10, 10))])
    interval = draw(st.booleans())
    return P(
        id=f"id-{draw(st.integers(0, 6))}",
        log_time=log_time,
        time=time,
        order=(draw(st.integers(0, PARTITIONS - 1)), 0),
        model=f"m-{task}",
        version=draw(st.sampled_from(["", "2"])),
        label=draw(st.none() | LABELS),
        score=draw(SCORES),
        scores=draw(st.none() | st.dictionaries(LABELS, st.floats(0, 1), max_size=3)) or None,
        value=draw(NUMBERS),
        lower=low if interval else None,
        upper=high if interval else None,
        segments=draw(st.sampled_from([(), (("region", "eu"),), (("channel", "web"), ("region", "us"))])),
        task=task,
        window=draw(st.sampled_from([HOUR, 24 * HOUR])),
        labels=("0", "a") if task == "multiclass" else (),
        declared=frozenset(["region"]),
    )


@st.composite
def outcomes(draw):
    log_time, time = draw(times())
    order = (draw(st.integers(0, PARTITIONS - 1)), 0)
    return O(f"id-{draw(st.integers(0, 6))}", log_time, time, order, draw(LABELS), draw(NUMBERS))


@st.composite
def logs(draw):
    """Predictions and outcomes of few ids: duplicates, disorder and several heads of an id are the rule."""
    found = []
    for records in (draw(st.lists(predictions(), max_size=25)), draw(st.lists(outcomes(), max_size=25))):
        found.append(numbered(records))
    return found


def check(lake, manifest, scratch, predictions, outcomes, final_before=oracle.END):
    """The published view equals the oracle's."""
    judged = oracle.judge(predictions, outcomes, final_before)
    for table, width in (("five_minute", 5 * MINUTE), ("hourly", HOUR)):
        assert_rows(view_rows(lake, manifest, table, scratch), oracle.rows(judged, width))
        cells = view_rows(lake, manifest, f"{table}_confusion", scratch)
        assert {k: (v["joined"], v["late"]) for k, v in cells.items()} == oracle.confusion(judged, width)
    cells = view_rows(lake, manifest, "hourly_histograms", scratch)
    wanted = oracle.histograms(judged)
    assert cells.keys() == wanted.keys()
    for key, value in cells.items():
        assert (value["joined"], value["late"]) == pytest.approx(wanted[key], rel=1e-9)


def assert_rows(found, wanted):
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        assert not row["partial"]
        for name in FIELDS:
            size = row["late_errors" if name.startswith("late_") else "errors"]
            assert row[name] == pytest.approx(wanted[key][name], rel=1e-9, abs=1e-6 * size if "m2" in name else 1e-9), name


def fresh():
    """A folder for one example; Hypothesis runs many within one test."""
    return Path(tempfile.mkdtemp(prefix="runway-test-"))


SLOW = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@SLOW
@given(logs())
def test_one_final_night_is_the_oracle(log):
    folder = fresh()
    try:
        lake = FolderLake(folder / "lake")
        archive(lake, *log, until=T0 // HOUR + HOURS, final=True)
        manifest = snapshot(lake, folder, T0 // HOUR + HOURS, final=True)
        check(lake, manifest, folder, *log)
    finally:
        shutil.rmtree(folder)


@SLOW
@given(logs(), st.lists(st.integers(1, HOURS - 1), max_size=4, unique=True))
def test_many_nights_are_the_oracle(log, nights):
    folder = fresh()
    try:
        lake = FolderLake(folder / "lake")
        end = T0 // HOUR + HOURS
        archive(lake, *log, until=end, final=True)
        for night in sorted(nights):
            hour = T0 // HOUR + night
            manifest = snapshot(lake, folder, hour)
            below = [[r for r in records if r.log_time < hour * HOUR] for records in log]
            check(lake, manifest, folder, *below, final_before=hour * HOUR)
        manifest = snapshot(lake, folder, end)
        check(lake, manifest, folder, *log, final_before=end * HOUR)
    finally:
        shutil.rmtree(folder)
