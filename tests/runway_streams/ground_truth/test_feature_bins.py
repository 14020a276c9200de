"""Feature bins: numpy.searchsorted for every variable at once; NULL and OTHER beside them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.ground_truth.feature_bins import EdgeTable, FeaturePlan, numbers
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.settings import MAX_EDGES, Settings
from schemas.model_settings import BinProfile, ReferenceProfile

finite = st.floats(allow_nan=False, allow_infinity=False)
edge_lists = st.lists(finite, max_size=MAX_EDGES).map(sorted)


@given(st.lists(edge_lists, min_size=1, max_size=8), st.data())
def test_a_search_is_searchsorted_of_every_row(variables, data):
    table = EdgeTable()
    rows = [table.add(edges) for edges in variables]
    on_edges = [edge for edges in variables for edge in edges]
    value = st.floats() | (st.sampled_from(on_edges) if on_edges else finite)
    cases = data.draw(st.lists(st.tuples(st.sampled_from(rows), value), max_size=20))
    found = table.search(np.array([v for _, v in cases]), np.array([row for row, _ in cases], dtype=np.int64))
    expected = [0 if np.isnan(v) else np.searchsorted(variables[row], v, side="left") for row, v in cases]
    assert found.tolist() == expected


def test_a_table_grows_in_both_directions():
    table = EdgeTable()
    widths = [3, 15, 16, 31, 32, 63] * 40
    rows = [table.add(np.arange(width)) for width in widths]
    assert table.search(np.full(len(rows), 1e9), np.array(rows)).tolist() == widths


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(
    ["", "5", " 2.5", "nan", "inf", "late", "1_0", [1.0], [1.0, 2.0], [], {}, {"a": 1}, 10**400, -(10**400), "\u0664"]
)  # fmt: skip


@given(st.lists(anything, max_size=6))
def test_a_value_is_read_the_same_in_any_company(values):
    found = numbers(values)
    assert found.shape == (len(values),)
    assert np.array_equal(found, np.array([numbers([value])[0] for value in values]), equal_nan=True)
    alone = numbers([*values, "not a number"])[:-1]
    assert np.array_equal(found, alone, equal_nan=True)


def test_lists_of_one_length_are_no_matrix():
    assert np.isinf(numbers([[1.0], [2.0]])).all()


def test_categories_have_bins_null_and_other():
    profile = ReferenceProfile({"c": BinProfile([1, 1], categories=["a", "1"]), "d": BinProfile([1], categories=["x"])})
    settings = Settings("m", task="regression", profile=profile)
    plan = FeaturePlan(profile, Layout.of(settings), EdgeTable())
    assert plan.category_cells({"c": "a", "d": "x"}) == [0, 4]
    assert plan.category_cells({"c": 1, "d": None}) == [1, 5]
    assert plan.category_cells({"c": ["a"]}) == [3, 5]


def test_outcomes_are_binned_by_label_or_by_number():
    plans = [
        FeaturePlan(profile, Layout.of(Settings("m", profile=profile)), EdgeTable())
        for profile in (
            ReferenceProfile(outcome=BinProfile([1, 1], categories=["false", "late"])),
            ReferenceProfile(outcome=BinProfile([1, 1, 1], edges=[0, 10])),
        )
    ]
    assert [plans[0].outcome_bin(label, np.nan) for label in ("0", "late", "else")] == [0, 1, None]
    assert [plans[1].outcome_bin("", value) for value in (-1, 0, 5, 11, np.nan)] == [0, 0, 1, 2, None]
