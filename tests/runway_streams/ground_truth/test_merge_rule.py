"""The merge rule: every log hour has one owner, and parts merge to the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.merge_rule import (
    EXPECTED_FROM,
    Block,
    Counts,
    Layer,
    Merged,
    Ownership,
    concat_windows,
    covers,
    expected_label_rate,
    gap_hours,
    merge_layers,
    owned_before,
    tumble,
    whole_range,
)
from runway_streams.times import HOUR, LIFE
from schemas.metrics_record import Mark

hours = st.integers(0, 20)
row = st.tuples(st.integers(0, 47), hours, st.integers(1, 9), st.floats(-5, 5), st.integers(0, 2))
ownership = st.builds(Ownership, st.none() | hours, st.booleans())


def layer_of(rows, labels=("0", "1", "x"), families=("calibration",)):
    """Rows of (bin, log hour, predictions, mean error, label)."""
    values = slim.empty(len(rows))
    for i, (_, _, n, mean, _) in enumerate(rows):
        for name, value in (("predictions", n), ("errors", n), ("error_mean", mean), ("error_m2", n / 2)):
            values[i, slim.INDEX[name]] = value
    bins, hours, counts, label = (np.array([r[i] for r in rows], dtype=np.int64) for i in (0, 1, 2, 4))
    late = counts % 2
    return Layer(
        labels, families, Block(bins, hours, values), Block.empty(slim.WIDTH),
        Counts(bins, hours, label * len(labels), counts, late), Counts(bins, hours, label, counts, late),
    )  # fmt: skip


def same(first, second):
    np.testing.assert_allclose(first.on_time, second.on_time, rtol=1e-9, atol=1e-9)
    assert first.labels == second.labels
    assert np.array_equal(first.confusion, second.confusion)
    assert np.array_equal(first.starts, second.starts)
    assert np.array_equal(first.late_confusion, second.late_confusion)
    assert first.families == second.families
    assert np.array_equal(first.histograms, second.histograms)
    assert np.array_equal(first.late_histograms, second.late_histograms)


@given(st.lists(row, max_size=20), ownership)
def test_every_row_has_one_owner(rows, owner):
    layer = layer_of(rows)
    merged = merge_layers(layer, layer, owner)
    assert len(merged.speed.rows) + len(merged.batch.rows) == len(rows)
    for share, batch in ((merged.speed, False), (merged.batch, True)):
        assert (owner.owned(share.rows.log_hour) == batch).all()


@given(st.lists(row, min_size=1, max_size=20), ownership, st.sampled_from([1, 3, 12, 48]))
def test_what_both_layers_know_counts_once_whoever_owns_it(rows, owner, width):
    layer = layer_of(rows)
    whole = tumble(Merged(layer, Layer(layer.labels, layer.families)), 0, 48, width)
    merged = tumble(merge_layers(layer, layer, owner), 0, 48, width)
    same(merged, whole)
    assert np.array_equal(merged.speed + merged.batch, whole.on_time[:, 0])


@given(st.lists(row, min_size=1, max_size=20), st.integers(1, 47))
def test_ranges_one_after_the_other_are_the_whole(rows, cut):
    layer = layer_of(rows)
    merged = Merged(layer, Layer(layer.labels, layer.families))
    whole = tumble(merged, 0, 48, 1)
    parts = concat_windows([tumble(merged, 0, cut, 1), tumble(merged, cut, 48, 1)])
    same(parts, whole)
    same(whole_range(parts), whole_range(whole))


def test_layers_with_other_labels_and_families_meet_by_name():
    speed = layer_of([(0, 9, 2, 0.0, 1)], ("1", "x"), ("score_class",))
    batch = layer_of([(0, 1, 3, 0.0, 0)], ("x", "y"))
    windows = tumble(merge_layers(speed, batch, Ownership(5)), 0, 12, 12)
    assert windows.labels == ("1", "x", "y")
    assert windows.confusion[0, 1].tolist() == [2, 3, 0]
    assert windows.families == ("calibration", "score_class")
    assert (windows.histograms[0, 0], windows.histograms[0, 31]) == (3, 2)


def test_ranges_with_other_labels_and_families_meet_by_name():
    first, second = (
        tumble(Merged(layer, Layer(layer.labels, layer.families)), 0, 12, 12)
        for layer in (layer_of([(0, 1, 2, 0.0, 1)], ("1", "x"), ("score_class",)), layer_of([(0, 1, 3, 0.0, 0)], ("x", "y")))
    )
    both = concat_windows([first, second])
    assert both.labels == ("1", "x", "y")
    assert both.confusion[:, 1].tolist() == [[2, 0, 0], [0, 3, 0]]
    assert both.families == ("calibration", "score_class")
    assert (both.histograms[1, 0], both.histograms[0, 31]) == (3, 2)


@pytest.mark.parametrize(("view", "counted"), [("speed", [2, 0]), ("batch", [0, 3])])
def test_one_layer_alone_is_whole(view, counted):
    speed, batch = layer_of([(0, 1, 2, 0.0, 0)]), layer_of([(0, 9, 3, 0.0, 0)])
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
    rows = Block(np.array([0, 0]), np.array([4, 5]), values)
    assert expected_label_rate([rows], closed_before=5) == 0.8
    assert expected_label_rate([rows], closed_before=4) is None
