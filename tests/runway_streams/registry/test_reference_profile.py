"""Reference profiles: what is counted is what the stream counts, and what is not counted is told."""

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runway_streams.errors import ConfigError
from runway_streams.ground_truth.feature_bins import EdgeTable, FeaturePlan, numbers
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.labels import canonical_label, number
from runway_streams.ground_truth.settings import Settings
from runway_streams.registry.reference_profile import (
    MAX_BINS,
    MAX_CATEGORIES,
    MAX_DISTINCT,
    MAX_FEATURES,
    Columns,
    profile_file,
)
from schemas.model_settings import ModelSettings, ReferenceProfile


def made(columns, bins=10, rows_of_group=None, exact_values=5_000_000, **given_columns):
    """The profile of a table, by way of a real file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.parquet")
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, path, row_group_size=rows_of_group or max(table.num_rows, 1))
        return profile_file(path, Columns(**given_columns), canonical_label, bins, exact_values)


def counts_of_the_stream(profile: ReferenceProfile, name: str, values: list) -> tuple[list[int], int, int]:
    """What the stream counts for a feature's values as they arrive in JSON: in bins, as NULL and as OTHER."""
    layout = Layout.of(Settings("m", task="regression", profile=profile))
    edges = EdgeTable()
    plan = FeaturePlan(profile, layout, edges)
    first, size = layout.families[f"feature:{name}"]
    cells = np.zeros(size, int)
    for value in msgspec.json.decode(msgspec.json.encode(values)):
        if plan.numeric:
            (found,) = numbers([value])
            row = np.array([plan.columns[0, 0]])
            bin_ = size - 2 if np.isnan(found) else size - 1 if np.isinf(found) else edges.search(np.array([found]), row)[0]
        else:
            bin_ = plan.category_cells({name: value})[0] - first
        cells[bin_] += 1
    return cells[:-2].tolist(), cells[-2], cells[-1]


doubles = st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = st.one_of(
    st.lists(st.none() | st.booleans(), min_size=1).map(lambda values: pa.array(values, pa.bool_())),
    st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=1).map(lambda values: pa.array(values, pa.int64())),
    st.lists(st.none() | st.integers(0, 3), min_size=1).map(lambda values: pa.array(values, pa.int8())),
    st.lists(st.none() | doubles, min_size=1).map(lambda values: pa.array(values, pa.float64())),
    st.lists(st.none() | doubles.map(lambda value: round(value % 3, 1)), min_size=1, max_size=80).map(
        lambda values: pa.array(values, pa.float64())
    ),
    st.lists(st.none() | st.text(max_size=3), min_size=1).map(lambda values: pa.array(values, pa.string())),
    st.lists(st.sampled_from(["a", "b", "True", "1", None]), min_size=1).map(
        lambda values: pa.array(values, pa.string()).dictionary_encode()
    ),
)


@given(COLUMNS, st.integers(2, 64), st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_the_stream_counts_the_same_rows_in_the_same_bins(column, bins, rows_of_group):
    if column.null_count == len(column):
        return
    found = made({"x": column}, bins, rows_of_group)
    variable = found.profile.features["x"]
    counts, nulls, others = counts_of_the_stream(found.profile, "x", column.to_pylist())
    assert variable.counts == counts
    assert (nulls, others) == (column.null_count, 0) or variable.categories is not None
    assert len(counts) <= max(bins, 2 if variable.edges is not None else MAX_CATEGORIES)
    assert all(counts), "a bin without a reference says nothing"
    assert variable.edges is None or variable.edges == sorted(set(variable.edges))
    Settings.from_document(ModelSettings("m", profile=found.profile))


@given(
    st.lists(st.none() | doubles | st.just(float("nan")) | st.just(float("inf")), min_size=1, max_size=60),
    st.integers(2, 20),
)
@settings(max_examples=60, deadline=None)
def test_edges_of_a_sketch_are_values_and_its_counts_are_exact(values, bins):
    present = [value for value in values if value is not None and np.isfinite(value)]
    if not present:
        return
    found = made({"x": pa.array(values, pa.float64())}, bins, exact_values=0).profile.features["x"]
    assert set(found.edges) < set(present)
    assert found.counts == np.bincount(np.searchsorted(found.edges, present), minlength=len(found.edges) + 1).tolist()


def test_deciles_hold_a_tenth_each_exactly_and_by_a_sketch():
    values = np.random.default_rng(7).normal(size=200_000)
    exact, sketched = (made({"x": values}, exact_values=limit).profile.features["x"] for limit in (200_000, 199_999))
    assert len(exact.edges) == len(sketched.edges) == 9
    assert np.abs(np.array(exact.counts) - 20_000).max() <= 1
    assert np.abs(np.array(sketched.counts) - 20_000).max() <= 0.002 * 200_000
    below = [(values <= edge).sum() for edge in sketched.edges]
    assert np.cumsum(sketched.counts)[:-1].tolist() == below


def test_numbers_with_few_values_have_a_bin_each():
    found = made({"x": [3, 1, 1, 7, 1, 3], "y": [5.0] * 6}).profile.features
    assert (found["x"].edges, found["x"].counts) == ([1.0, 3.0], [3.0, 2.0, 1.0])
    assert (found["y"].edges, found["y"].counts) == ([], [6.0])


def test_values_that_are_frequent_make_one_edge():
    found = made({"x": [0] * 90 + list(range(1, 21))}).profile.features["x"]
    assert found.edges[0] == 0
    assert found.edges == sorted(set(found.edges))
    assert sum(found.counts) == 110


def test_categories_are_the_most_frequent_by_count_then_name():
    assert made({"x": ["b", "a", "c", "c", None]}).profile.features["x"].categories == ["c", "a", "b"]
    assert made({"x": [True, False, True]}).profile.features["x"].categories == ["True", "False"]
    many = made({"x": [f"c{i:03}" for i in range(80) for _ in range(100 - i)]})
    assert many.profile.features["x"].categories == [f"c{i:03}" for i in range(MAX_CATEGORIES)]
    assert many.notes == ("Column x: 1,065 values in 30 rarer categories are not counted.",)


def test_what_is_not_there_is_told():
    found = made({"x": [1.5, None, float("nan"), float("inf"), 2.5], "y": ["a", None, "b", "a", "a"]})
    assert found.notes == (
        "Column x: 3 of 5 values are null or not finite and not counted.",
        "Column y: 1 of 5 values are null or not finite and not counted.",
    )
    assert sum(found.profile.features["x"].counts) == 2


def test_all_columns_are_features_but_those_with_another_purpose():
    table = {"id": ["u", "v"], "a.b": [1, 2], "c": [1, 2], "s": [0.1, 0.9], "late": [True, False]}
    found = made(table, score="s", outcome="late", exclude=("id",)).profile
    assert list(found.features) == ["a.b", "c"]
    assert found.score.edges == [0.1]
    assert found.outcome.categories == ["0", "1"]
    assert list(made(table, features=("c", "id")).profile.features) == ["c", "id"]


@pytest.mark.parametrize(
    ("outcomes", "categories"),
    [
        ([True, False, True, None], ["1", "0"]),
        ([1, 0, 1], ["1", "0"]),
        ([1.0, 0.0, 1.0, float("nan")], ["1", "0"]),
        ([" late", "late", "on_time", "true"], ["late", "1", "on_time"]),
        ([0.5, 1.5], None),
        (list(range(21)), None),
    ],
    ids=str,
)
def test_outcomes_are_labels_or_numbers_as_the_stream_bins_them(outcomes, categories):
    found = made({"y": outcomes}, outcome="y").profile
    assert found.outcome.categories == categories
    plan = FeaturePlan(found, Layout.of(Settings("m", profile=found)), EdgeTable())
    counts = [0] * len(found.outcome.counts)
    for actual in outcomes:
        if actual is not None and actual == actual:
            value = number(actual)
            counts[plan.outcome_bin(canonical_label(actual), np.nan if value is None else value)] += 1
    assert found.outcome.counts == counts


def test_columns_that_cannot_be_binned_are_left_out_unless_they_were_named():
    table = pa.table(
        {
            "when": pa.array([0, 1], pa.timestamp("ms")),
            "list": [[1], [2]],
            "struct": [{"a": 1}, {"a": 2}],
            "gone": pa.nulls(2, pa.float64()),
            "void": pa.nulls(2),
            "x": [1, 2],
        }
    )
    found = made(table)
    assert list(found.profile.features) == ["x"]
    assert [note.split(" is left out")[0] for note in found.notes] == [f"Column {name}" for name in table.column_names[:-1]]
    for name in table.column_names[:-1]:
        with pytest.raises(ConfigError, match=f"No bins can be made of column {name}"):
            made(table, features=(name,))
    with pytest.raises(ConfigError, match="scores are numbers"):
        made({"x": ["a"]}, score="x")
    with pytest.raises(ConfigError, match="has no column that bins can be made of"):
        made(table.select(["when", "void"]))


def test_identifiers_are_left_out():
    found = made({"id": [str(i) for i in range(MAX_DISTINCT + 1)], "x": [1] * (MAX_DISTINCT + 1)})
    assert list(found.profile.features) == ["x"]
    assert "looks like an identifier" in found.notes[0]


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(25, 2), pa.large_string(), pa.string_view()],
    ids=str,
)
def test_every_kind_of_number_and_string_is_binned(kind):
    column = pa.array([1, 2, 2]).cast(pa.string() if kind == pa.string_view() else kind).cast(kind)
    assert sum(made({"x": column}).profile.features["x"].counts) == 3


def test_many_row_groups_count_as_one():
    values = {"x": list(range(1_000)), "c": ["a", "b", "b", "c"] * 250}
    assert made(values, rows_of_group=7) == made(values)


@pytest.mark.parametrize(
    ("table", "given_columns", "words"),
    [
        ({"x": [1]}, {"features": ("y",)}, "has no column 'y'. It has x."),
        ({"x": [1]}, {"exclude": ("y",)}, "has no column 'y'"),
        ({"x": [1]}, {"score": "y"}, "has no column 'y'"),
        ({"x": [1]}, {"score": "x", "outcome": "x"}, "The column 'x' is there twice"),
        ({"x": pa.array([], pa.int64())}, {}, "has no rows"),
        ({"x": [1]}, {"bins": MAX_BINS + 1}, "65 bins cannot be made. Choose 2 to 64"),
        ({str(i): [1] for i in range(MAX_FEATURES + 1)}, {}, "Choose at most 2000 with --feature"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_a_sentence(table, given_columns, words):
    with pytest.raises(ConfigError) as refused:
        made(table, **given_columns)
    assert words in str(refused.value)


def test_files_that_are_no_parquet_are_a_sentence(tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n1,2\n" * 100)
    with pytest.raises(ConfigError, match=r"train\.csv cannot be read as Parquet"):
        profile_file(tmp_path / "train.csv", Columns(), canonical_label)
    for path in (tmp_path, tmp_path / "gone.parquet"):
        with pytest.raises(ConfigError, match="is not there, or is no file"):
            profile_file(path, Columns(), canonical_label)


def test_a_damaged_file_is_a_sentence(tmp_path):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(1).normal(size=10_000)}), path)
    damaged = bytearray(path.read_bytes())
    damaged[10:4_000] = b"\xff" * 3_990
    path.write_bytes(damaged)
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        profile_file(path, Columns(), canonical_label)
