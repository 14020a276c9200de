"""The speed store: the last value of every key, whatever was added up, compressed or dropped in between."""

import tracemalloc

import numpy as np
import pytest

from api.speed_store import KEEP_HOURS, SpeedStore
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.merge_rule import Layer, Merged, first_cells, tumble
from runway_streams.ground_truth.records import full_key, mark_key, pack_full, pack_mark, pack_slim, slim_key
from runway_streams.ground_truth.settings import Settings
from runway_streams.times import BINS_PER_HOUR, HOUR
from schemas.metrics_record import Mark

LAYOUT = Layout.of(Settings("m", task="binary"))
NOON = 480_012


def matrix(predictions=10.0, mean=1.0):
    rows = slim.empty(12)
    rows[:, slim.INDEX["predictions"]] = predictions
    rows[:, slim.INDEX["errors"]] = predictions
    rows[:, slim.INDEX["error_mean"]] = mean
    return rows


def put(store, partition, hour=NOON, log_hour=None, model="m", version="1", predictions=10.0, confusion=(), **more):
    key = slim_key(model, version, "", "", hour, hour if log_hour is None else log_hour)
    store.apply(partition, key, pack_slim(matrix(predictions, **more), confusion))


def mark(store, partition, clock, closed_before=0):
    store.apply(partition, mark_key(), pack_mark(Mark({"runway.predictions": 9}, clock, closed_before, {"events": 9})))


def tidy(store, now_hour, owned_before=None):
    for _ in store.tidy(now_hour * HOUR, owned_before):
        pass


def totals(store, model="m"):
    layer = store.layer(model)
    windows = tumble(Merged(layer, Layer(layer.labels, layer.families)), NOON * 12, NOON * 12 + 12, 12)
    return windows


def test_the_last_value_counts_and_partitions_add_up():
    store = SpeedStore()
    put(store, 0, predictions=5)
    put(store, 0, predictions=7, confusion=[(0, "1", "0", 2)])
    put(store, 1, predictions=3, confusion=[(0, "1", "0", 1), (4, "0", "0", 1)])
    windows = totals(store)
    assert windows.on_time[0, 0] == 12 * 10
    assert store.layer("m").labels == ("1", "0")
    assert windows.confusion.tolist() == [[[0, 3], [0, 1]]]


def test_a_closed_hour_is_one_record_with_the_same_values():
    store = SpeedStore()
    layout_cells = np.zeros(LAYOUT.size)
    layout_cells[[3, 300, 512]] = [1, 2, 3]
    for partition in range(4):
        put(store, partition, predictions=partition + 1.0, mean=partition, confusion=[(3, "1", "1", 2)])
        store.apply(partition, full_key("m", "1", "", "", NOON, NOON, LAYOUT.digest), pack_full(LAYOUT, layout_cells))
        mark(store, partition, (NOON + 30) * HOUR, NOON + 1)
    before = totals(store)
    size = store.size()
    tidy(store, NOON + 30)
    after = totals(store)
    assert store.size() < size / 2
    np.testing.assert_allclose(after.on_time, before.on_time, rtol=1e-12)
    assert np.array_equal(after.confusion, before.confusion)
    first = first_cells(after.families)
    assert after.histograms[0, first["score_class"] + np.array([3, 300])].tolist() == [4, 8]
    assert after.histograms[0, first["calibration"]] == 12


def test_a_closed_hour_stays_as_it_is_when_its_values_come_again():
    store = SpeedStore()
    put(store, 0)
    mark(store, 0, (NOON + 30) * HOUR, NOON + 1)
    tidy(store, NOON + 30)
    put(store, 0)
    assert totals(store).on_time[0, 0] == 120
    assert store.ignored == 1


def test_an_hour_closes_only_when_all_partitions_have_closed_it():
    store = SpeedStore()
    put(store, 0)
    mark(store, 0, (NOON + 30) * HOUR, NOON + 1)
    mark(store, 1, NOON * HOUR, NOON - 26)
    tidy(store, NOON + 30)
    put(store, 0, predictions=11)
    assert totals(store).on_time[0, 0] == 132


def test_owned_hours_are_dropped_after_two_days():
    store = SpeedStore()
    put(store, 0)
    tidy(store, NOON + KEEP_HOURS + 1, owned_before=None)
    assert (store.names(), store.versions("m")) == (["m"], {"1"})
    tidy(store, NOON + KEEP_HOURS, owned_before=NOON + 10)
    assert (store.names(), store.versions("m")) == (["m"], {"1"})
    tidy(store, NOON + KEEP_HOURS + 1, owned_before=NOON + 1)
    assert store.names() == []


def test_a_tombstone_deletes_and_unknown_records_are_skipped():
    store = SpeedStore()
    put(store, 0)
    store.apply(0, slim_key("m", "1", "", "", NOON, NOON), None)
    store.apply(0, b'["later",1]', b"x")
    assert len(store.layer("m").rows) == 0
    assert store.ignored == 1


def test_a_missing_partition_holds_the_clock_back():
    store = SpeedStore()
    mark(store, 0, 5)
    mark(store, 1, 3)
    assert store.as_of() == 3


def busy_record(rng):
    rows = slim.empty(12)
    rows[:, [slim.INDEX[name] for name in ("predictions", "joined", "scored")]] = rng.integers(50, 100, (12, 3))
    rows[:, slim.INDEX["delay_5"] : slim.INDEX["delay_5"] + 8] = rng.integers(0, 20, (12, 8))
    rows[:, slim.INDEX["log_loss"] : slim.INDEX["brier"] + 1] = rng.random((12, 2))
    return rows, [(bin, p, a, int(rng.integers(1, 50))) for bin in range(12) for p in "01" for a in "01"]


def busy_cells(rng):
    cells = np.zeros(LAYOUT.size)
    cells[rng.integers(0, 512, 300)] = rng.integers(1, 9, 300)
    cells[512:] = rng.random(30) * 100
    return cells


def test_a_thousand_models_fit_into_a_gibibyte():
    """A scaled-down version: 10 models, all 48 hours and 16 partitions, 1/100 of 1 GiB."""
    rng = np.random.default_rng(1)
    pool = [(pack_slim(*busy_record(rng)), pack_full(LAYOUT, busy_cells(rng))) for _ in range(200)]
    store = SpeedStore()
    tracemalloc.start()
    for hour in range(NOON, NOON + 48):
        for model in range(10):
            for partition in range(16):
                slim_record, full_record = pool[rng.integers(200)]
                name = f"model-{model}"
                store.apply(partition, slim_key(name, "1", "", "", hour, hour), bytes(bytearray(slim_record)))
                store.apply(partition, full_key(name, "1", "", "", hour, hour, LAYOUT.digest), bytes(bytearray(full_record)))
        for partition in range(16):
            mark(store, partition, (hour + 1) * HOUR, hour + 1 - 26)
        tidy(store, hour + 1)
    used, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{used / 2**20:.1f} MiB, at most {peak / 2**20:.1f} MiB, of which records {store.size() / 2**20:.1f} MiB")
    assert peak < 2**30 / 100
    assert len(np.unique(store.layer("model-3").rows.bin)) == BINS_PER_HOUR * 48
    assert store.layer("model-3").rows.values[:, 0].sum() == pytest.approx(48 * 16 * 12 * 75, rel=0.02)
