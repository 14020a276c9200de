"""The merge rule: every log hour has one owner, and parts merge to the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.merge_rule import (
    EXPECTED_FROM,
    Block,
    Chooser,
    Layer,
    Merged,
    Ownership,
    Share,
    concat_windows,
    covers,
    expected_label_rate,
    gap_hours,
    merge_layers,
    owned_before,
    tumble,
    whole_range,
)
from runway_streams.ground_truth.times import HOUR, LIFE
from schemas.metrics_record import Mark

hours = st.integers(0, 20)
row = st.tuples(st.integers(0, 1), st.integers(0, 47), hours, st.integers(1, 9), st.floats(-5, 5), st.integers(0, 2))
ownership = st.builds(Ownership, st.none() | hours, st.booleans())


def layer_of(rows, versions=("a", "b"), labels=("0", "1", "x")):
    """Rows of (version, bin, log hour, predictions, mean error, label)."""
    values = slim.empty(len(rows))
    for i, (_, _, _, n, mean, _) in enumerate(rows):
        for name, value in (("predictions", n), ("errors", n), ("error_mean", mean), ("error_m2", n / 2)):
            values[i, slim.INDEX[name]] = value
    keys = [[r[i] for r in rows] for i in range(3)]
    pairs = np.array([(r[5], 0, r[3]) for r in rows], dtype=float).reshape(-1, 3)
    cells = np.array([(r[5], r[3]) for r in rows], dtype=float).reshape(-1, 2)
    share = Share(Block.of(*keys, values), Block.of(*keys, pairs), {"calibration": Block.of(*keys, cells)})
    return Layer(versions, labels, share)


def same(first, second):
    np.testing.assert_allclose(first.on_time, second.on_time, rtol=1e-9, atol=1e-9)
    assert first.labels == second.labels
    assert np.array_equal(first.confusion, second.confusion)
    assert np.array_equal(first.starts, second.starts)
    for name in first.histograms:
        assert np.array_equal(first.histograms[name], second.histograms[name])


@given(st.lists(row, max_size=20), ownership)
def test_every_row_has_one_owner(rows, owner):
    layer = layer_of(rows)
    merged = merge_layers(layer, layer, owner)
    assert len(merged.speed.on_time.rows) + len(merged.batch.on_time.rows) == len(rows)
    for share, batch in ((merged.speed, False), (merged.batch, True)):
        assert (owner.owned(share.on_time.rows.log_hour) == batch).all()


@given(st.lists(row, min_size=1, max_size=20), ownership, st.sampled_from([1, 3, 12, 48]))
def test_what_both_layers_know_counts_once_whoever_owns_it(rows, owner, width):
    layer = layer_of(rows)
    whole = tumble(Merged(layer, Layer(layer.versions, layer.labels)), 0, 48, width)
    merged = tumble(merge_layers(layer, layer, owner), 0, 48, width)
    same(merged, whole)
    assert np.array_equal(merged.speed + merged.batch, whole.on_time[:, 0])


@given(st.lists(row, min_size=1, max_size=20), st.integers(1, 47))
def test_ranges_one_after_the_other_are_the_whole(rows, cut):
    layer = layer_of(rows)
    merged = Merged(layer, Layer(layer.versions, layer.labels))
    whole = tumble(merged, 0, 48, 1)
    parts = concat_windows([tumble(merged, 0, cut, 1), tumble(merged, cut, 48, 1)])
    same(parts, whole)
    same(whole_range(parts), whole_range(whole))


def test_layers_with_other_labels_and_versions_meet_by_name():
    speed = layer_of([(0, 0, 9, 2, 0.0, 1)], ("b",), ("1", "x"))
    batch = layer_of([(0, 0, 1, 3, 0.0, 0)], ("a",), ("x", "y"))
    merged = merge_layers(speed, batch, Ownership(5))
    windows = tumble(merged, 0, 12, 12)
    assert merged.speed.versions == ("a", "b")
    assert windows.labels == ("1", "x", "y")
    assert windows.confusion[0, 1].tolist() == [2, 3, 0]
    assert merged.speed.where(Chooser(version=1)).on_time.rows.values[:, 0].tolist() == [2]


@pytest.mark.parametrize(("view", "counted"), [("speed", [2, 0]), ("batch", [0, 3])])
def test_one_layer_alone_is_whole(view, counted):
    speed, batch = layer_of([(0, 0, 1, 2, 0.0, 0)]), layer_of([(0, 0, 9, 3, 0.0, 0)])
    windows = tumble(merge_layers(speed, batch, Ownership(5), view), 0, 12, 12)
    assert [windows.speed[0], windows.batch[0]] == counted


def test_an_hour_is_owned_once_nothing_can_join_in_it():
    cutoff = 7 * HOUR + HOUR + LIFE
    assert Ownership(owned_before(cutoff)).owned(np.array([7, 8])).tolist() == [True, False]
    assert Ownership(owned_before(cutoff - 1)).owned(np.array([7])).tolist() == [False]


def test_a_batch_covers_the_marks_of_all_partitions_and_topics():
    covered = {"p": {"0": 7, "1": 4}, "o": {"0": 3}}
    assert covers(covered, {0: Mark({"p": 7, "o": 3}, 0, 0, {}), 1: Mark({"p": 4}, 0, 0, {})})
    assert not covers(covered, {0: Mark({"p": 7, "o": 3}, 0, 0, {}), 1: Mark({"p": 4, "o": 1}, 0, 0, {})})


def test_gaps_are_what_neither_layer_has():
    assert gap_hours(0, 20, Ownership(5), 8, [2, 12]) == [5, 6, 7, 12]
    assert gap_hours(0, 20, Ownership(5), None) == []
    assert gap_hours(3, 6, Ownership(None), 8) == [3, 4, 5]
    assert gap_hours(0, 20, Ownership(5, everything=True), 8, [12]) == []


def test_the_delay_curve_needs_closed_hours_and_enough_predictions():
    values = slim.empty(2)
    values[:, slim.INDEX["predictions"]] = EXPECTED_FROM
    values[:, slim.INDEX["joined"]] = [60, 0]
    values[:, slim.INDEX["late"]] = [20, 0]
    rows = Block.of([0, 0], [0, 0], [4, 5], values)
    assert expected_label_rate([rows], closed_before=5) == 0.8
    assert expected_label_rate([rows], closed_before=4) is None
