"""The slim table: batches of any cut add up to what numpy says in one pass, in whatever rows they lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from runway_streams.ground_truth import slim_table
from runway_streams.ground_truth.slim import DELAY_EDGES, INDEX, WIDTH, merge
from runway_streams.ground_truth.slim_table import OTHER, Measures, SlimKey, SlimTable
from runway_streams.times import HOUR

rng = np.random.default_rng(11)
NAN = np.nan


def key(i):
    return SlimKey(f"m{i}", "", "", "", 1, 1)


def pairs_of(n):
    """Random pairs, some of which say nothing of a kind."""

    def some(values, share):
        return np.where(rng.random(n) < share, values, NAN)

    truth, outcome = some(rng.random(n), 0.7), some(rng.integers(-2, 3, n).astype(float), 0.8)
    value = some(rng.normal(size=n), 0.8)
    lower = some(value - 1, 0.5)
    return Measures(truth, (1 - truth) ** 2, value, outcome, lower, lower + 2)


def expected(pairs):
    """The quality cells of one row, one pass of numpy and scikit-learn."""
    cells = {}
    scored = pairs.truth[~np.isnan(pairs.truth)]
    if len(scored):
        cells |= {"scored": len(scored), "brier": ((1 - scored) ** 2).sum()}
        cells["log_loss"] = sk.log_loss(np.ones(len(scored)), scored, normalize=False, labels=[0, 1])
    both = ~(np.isnan(pairs.value) | np.isnan(pairs.outcome))
    value, outcome = pairs.value[both], pairs.outcome[both]
    if both.any():
        error = value - outcome
        cells |= {"errors": both.sum(), "error_mean": error.mean(), "error_m2": error.var() * len(error)}
        cells |= {"outcome_mean": outcome.mean(), "outcome_m2": outcome.var() * len(error), "abs_error": np.abs(error).sum()}
        cells |= (
            {"ape_n": (outcome != 0).sum(), "ape": np.abs(error / outcome)[outcome != 0].sum()}
            if (outcome != 0).any()
            else {}
        )
    given = ~(np.isnan(pairs.lower) | np.isnan(pairs.outcome))
    inside = (pairs.lower <= pairs.outcome) & (pairs.outcome <= pairs.upper)
    cells |= {"intervals": given.sum(), "covered": inside[given].sum(), "width": 2.0 * given.sum()}
    row = np.zeros(WIDTH)
    for name, n in cells.items():
        row[INDEX[name]] = n
    return row


@pytest.mark.filterwarnings("ignore:divide by zero")
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.randoms())
def test_batches_of_any_cut_add_up_to_one_pass(cuts, order):
    n = sum(cuts)
    numbers, bins = rng.integers(0, 3, n), rng.integers(0, 12, n)
    pairs = pairs_of(n)
    table = SlimTable(capacity=1)
    for i in range(3):
        table.create(key(i))
    start = 0
    for cut in cuts:
        part = slice(start, start + cut)
        table.add_pairs(numbers[part], bins[part], Measures(*(column[part] for column in pairs)))
        start += cut
    rows = table.rows.reshape(-1, 12, WIDTH)
    for number in range(3):
        for bin in range(12):
            own = (numbers == number) & (bins == bin)
            assert rows[number, bin] == pytest.approx(expected(Measures(*(c[own] for c in pairs))), rel=1e-9, abs=1e-9)
        whole = numbers == number
        assert merge(rows[number])[0] == pytest.approx(expected(Measures(*(c[whole] for c in pairs))), rel=1e-9, abs=1e-9)


def test_predictions_and_outcomes_are_counted_where_they_belong():
    table = SlimTable()
    a, b = table.create(key(0)), table.create(key(1))
    table.add_predictions(np.array([a, b, a, a]), np.array([0, 0, 11, 0]))
    fields = np.array([INDEX["joined"], INDEX["late"], INDEX["early"]])
    table.add_outcomes(np.array([a, a, b]), np.array([0, 0, 0]), fields, np.array([0, 2 * HOUR, -5]))
    rows = table.rows.reshape(-1, 12, WIDTH)
    assert rows[a, :, INDEX["predictions"]].tolist() == [2, *[0] * 10, 1]
    found = {name: rows[a, 0, i] for name, i in INDEX.items() if rows[a, 0, i]}
    assert found == {"predictions": 2, "joined": 1, "late": 1, "delay_0": 1, f"delay_{DELAY_EDGES.index(2 * HOUR)}": 1}
    assert {name for name, i in INDEX.items() if rows[b, 0, i]} == {"predictions", "early"}


def test_records_come_back_as_they_were_packed():
    table, again = SlimTable(), SlimTable()
    number = table.create(key(0))
    table.add_pairs(np.full(50, number), rng.integers(0, 12, 50), pairs_of(50))
    table.add_confusion([number, number], [3, 3], [("1", "0"), ("1", "0")])
    table.partial[number] = True
    [record] = table.pack(np.array([number]))
    restored = again.create(key(0), record)
    assert again.pack(np.array([restored])) == [record]
    assert again.confusion[restored] == {(3, "1", "0"): 2}
    assert again.partial[restored]


@given(st.lists(st.integers(0, 9)))
def test_a_record_that_takes_a_freed_place_begins_empty(toggles):
    table = SlimTable(capacity=1)
    for i in toggles:
        number = table.index.get(key(i))
        if number is None:
            number = table.create(key(i))
            assert not table.rows.reshape(-1, 12, WIDTH)[number].any()
            assert (table.confusion[number], table.partial[number]) == ({}, False)
            table.add_predictions(np.array([number]), np.array([i]))
            table.add_confusion([number], [i], [("a", "b")])
            table.partial[number] = True
        else:
            assert table.rows.reshape(-1, 12, WIDTH)[number, i, INDEX["predictions"]] == 1
            table.drop(number)
    left = {key(i) for i in range(10) if toggles.count(i) % 2}
    assert set(table.index) == {k for k in table.keys if k is not None} == left
    assert len(table) == len(left)


def test_label_pairs_beyond_the_bound_are_other(monkeypatch):
    monkeypatch.setattr(slim_table, "MAX_PAIRS", 1)
    table = SlimTable()
    number = table.create(key(0))
    labels = [(f"{i}", "x") for i in range(20)]
    table.add_confusion([number] * 20, [0] * 20, labels)
    table.add_confusion([number], [0], [("3", "x")])
    found = table.confusion[number]
    assert found[0, OTHER, OTHER] == 8
    assert found[0, "3", "x"] == 2
    assert sum(found.values()) == 21
