"""The shelf: what is shelved is read back, whatever its size, alone and added up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.shelf import Names, read_fulls, read_slims, shelve_full, shelve_slim, sum_fulls, sum_slims
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.records import pack_full, pack_slim
from runway_streams.ground_truth.settings import Settings

count = st.sampled_from([0, 0, 1, 7, 65_535, 65_536, 10**9])
hour = st.tuples(
    st.dictionaries(st.tuples(st.integers(0, 11), st.sampled_from(["predictions", "late", "delay_3", "errors"])), count),
    st.dictionaries(st.tuples(st.integers(0, 11), st.sampled_from(["log_loss", "abs_error", "width"])), st.floats(0, 1e9)),
    st.dictionaries(st.tuples(st.integers(0, 11), st.sampled_from("abc"), st.sampled_from("abc")), st.integers(1, 70_000)),
    st.booleans(),
)


def matrix_of(counts, sums):
    rows = slim.empty(12)
    for (bin, name), value in {**counts, **sums}.items():
        rows[bin, slim.INDEX[name]] = value
    return rows


@given(st.lists(hour, min_size=1, max_size=6))
def test_slim_records_are_read_back_and_add_up(hours):
    names = Names()
    shelved = [shelve_slim(pack_slim(matrix_of(c, s), [(*k, n) for k, n in p.items()], f), names) for c, s, p, f in hours]
    apart, summed = read_slims(shelved), read_slims([sum_slims(shelved)])
    number = {i: name for name, i in names.labels.items()}
    for i, (counts, sums, pairs, flagged) in enumerate(hours):
        assert np.array_equal(apart.rows[i], matrix_of(counts, sums))
        assert {(b, number[p], number[a]): n for at, b, p, a, n in apart.confusion.tolist() if at == i} == pairs
        assert apart.partial[i] == flagged
    np.testing.assert_allclose(summed.rows[0], sum(apart.rows, slim.empty(12)), rtol=1e-12)
    found = {(b, number[p], number[a]): n for _, b, p, a, n in summed.confusion.tolist()}
    assert found == {key: sum(h[2].get(key, 0) for h in hours) for h in hours for key in h[2]}
    assert summed.partial[0] == any(h[3] for h in hours)


def test_more_labels_than_a_byte_counts():
    names = Names()
    confusion = [(0, str(i), "x", i + 1) for i in range(300)]
    found = read_slims([shelve_slim(pack_slim(slim.empty(12), confusion), names)])
    assert found.confusion[:, 4].sum() == sum(range(301))
    assert len(names.labels) == 301


@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=4), st.floats(0, 1e6))
def test_full_records_of_growing_layouts_add_up(values, total):
    names = Names()
    binary, multiclass = (Layout.of(Settings("m", task=task, labels=("a",))) for task in ("binary", "multiclass"))
    first, second = np.zeros(binary.size), np.zeros(multiclass.size)
    first[[3, 300, 512, 513]] = [*values[:3], total]
    second[[0, 40]] = values[2:]
    shelved = [shelve_full(pack_full(layout, cells), names) for layout, cells in ((binary, first), (multiclass, second))]
    cells = read_fulls(shelved, names).sum(axis=0)
    at = names.families
    assert cells[at["score_class"] + 3] == values[0]
    assert cells[at["calibration"]] == values[2] * 2
    assert cells[at["calibration"] + 1] == total
    assert cells[at["class:a"] + 10] == values[3]
    assert np.array_equal(read_fulls([sum_fulls(shelved, names)], names)[0], cells)


def test_histograms_that_hold_nothing_answers_need_are_no_error():
    assert read_fulls([b"any"], Names()).shape == (1, 0)
