"""The slim tier's arithmetic: merging parts is one pass, and moments are those of numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.slim import DELAY_EDGES, INDEX, delay_bins, empty, losses, merge

values = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
N, MEAN, M2, OUT_MEAN, OUT_M2 = (INDEX[name] for name in ("errors", "error_mean", "error_m2", "outcome_mean", "outcome_m2"))


def row_of(pairs):
    """One row of (error, outcome) pairs in one pass of numpy."""
    row = empty(1)[0]
    row[INDEX["predictions"]] = row[N] = len(pairs)
    for (mean, m2), column in zip(((MEAN, M2), (OUT_MEAN, OUT_M2)), np.array(pairs).reshape(-1, 2).T, strict=True):
        if len(column):
            row[mean], row[m2] = column.mean(), column.var() * len(column)
    return row


@given(st.lists(st.lists(values, max_size=5), min_size=1, max_size=6), st.data())
def test_merging_parts_is_one_pass(parts, data):
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(parts), max_size=len(parts)))
    merged = merge(np.array([row_of(part) for part in parts]), np.array(groups), 3)
    for group in range(3):
        together = [pair for part, own in zip(parts, groups, strict=True) if own == group for pair in part]
        assert merged[group] == pytest.approx(row_of(together), rel=1e-7, abs=1e-3)


@given(st.lists(st.lists(values, max_size=5), min_size=2, max_size=6))
def test_merging_is_associative(parts):
    rows = np.array([row_of(part) for part in parts])
    stepwise = rows[0]
    for row in rows[1:]:
        stepwise = merge(np.array([stepwise, row]))[0]
    assert merge(rows)[0] == pytest.approx(stepwise, rel=1e-7, abs=1e-3)


def test_moments_of_large_offsets_keep_their_precision():
    pairs = [(1e9 + i, -1e9) for i in (0.0, 0.5, 1.0)]
    merged = merge(np.array([row_of([pair]) for pair in pairs]))[0]
    assert merged[M2] == pytest.approx(0.5, abs=1e-6)


def test_nothing_is_neutral():
    row = row_of([(1.0, 2.0), (3.0, 4.0)])
    assert merge(np.array([row, empty(1)[0]]))[0].tolist() == row.tolist()
    assert merge(empty(0), count=2).tolist() == empty(2).tolist()


@given(st.lists(st.integers(0, 5 * DELAY_EDGES[-1]) | st.sampled_from(DELAY_EDGES)))
def test_delays_are_binned_by_the_edges_below_them(delays):
    assert delay_bins(np.array(delays, dtype=np.int64)).tolist() == [sum(d > edge for edge in DELAY_EDGES) for d in delays]


def test_certainty_costs_a_finite_loss():
    log_loss, brier = losses(np.array([0.0, 1.0, 0.5]))
    assert log_loss == pytest.approx([-np.log(slim.CLIP), 0, np.log(2)], abs=1e-12)
    assert brier.tolist() == [1, 0, 0.25]


def test_every_field_has_one_place():
    assert len(set(slim.FIELDS)) == slim.WIDTH == len(INDEX)
