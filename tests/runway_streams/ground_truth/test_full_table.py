"""The full table: batches of any cut add up to what numpy counts in one pass, wherever the records lie in the arena."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.ground_truth.full import CALIBRATION_BINS, SCORE_BINS
from runway_streams.ground_truth.full_table import FullKey, FullTable
from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.pairs import read_pairs
from runway_streams.ground_truth.records import unpack_full
from runway_streams.ground_truth.settings import Settings, digest_of
from runway_streams.ground_truth.slim_table import SlimKey
from schemas.model_settings import BinProfile, ReferenceProfile

rng = np.random.default_rng(5)
X, Y, COLOURS = [-1.0, 0.0, 0.5], [10.0], ["red", "blue"]
SCORE_EDGES = [0.2, 0.5, 0.9]


def settings_of(task="binary", outcome=None, labels=(), **features):
    profile = ReferenceProfile(
        features
        or {
            "x": BinProfile([1] * 4, edges=X),
            "y": BinProfile([1] * 2, edges=Y),
            "c": BinProfile([1] * 2, categories=COLOURS),
        },
        score=BinProfile([1] * 4, edges=SCORE_EDGES),
        outcome=outcome or BinProfile([1, 1], categories=["0", "1"]),
    )
    return Settings("m", task, labels=labels, profile=profile, profile_digest=digest_of(profile))


def key(table, settings, i=0):
    return FullKey(SlimKey(f"m{i}", "", "", "", 1, 1), table.digest_of(settings))


def families(table, record):
    return unpack_full(table.pack([record])[0]).families


values = st.none() | st.floats(-3, 12) | st.sampled_from([-1.0, 0.0, 0.5, 10.0, "0.25", "late", True, [1.0], "nan"])
features = st.fixed_dictionaries(
    {}, optional={"x": values, "y": values, "c": st.none() | st.sampled_from([*COLOURS, "green", 5])}
)


def bin_of(value, edges):
    """Searchsorted, then NULL, then OTHER."""
    if value is None or value == "nan":
        return len(edges) + 1
    if value == "late" or isinstance(value, list):
        return len(edges) + 2
    return int(np.searchsorted(edges, float(value), side="left"))


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), features), max_size=5), max_size=4))
def test_features_are_counted_as_searchsorted_counts_them(batches):
    settings = settings_of()
    table = FullTable()
    records = [table.create(key(table, settings, i), settings) for i in range(3)]
    expected = Counter()
    for batch in batches:
        table.add_features([records[i] for i, _ in batch], [event or None for _, event in batch])
        for i, event in batch:
            expected[i, "feature:x", bin_of(event.get("x"), X)] += 1
            expected[i, "feature:y", bin_of(event.get("y"), Y)] += 1
            colour = event.get("c")
            expected[i, "feature:c", 2 if colour is None else COLOURS.index(colour) if colour in COLOURS else 3] += 1
    found = Counter()
    for i, record in enumerate(records):
        for name, cells in families(table, record).items():
            found.update({(i, name, cell): cells[cell] for cell in np.flatnonzero(cells).tolist()})
    assert found == expected


@pytest.mark.parametrize("only", [{"c": BinProfile([1] * 2, categories=COLOURS)}, {"x": BinProfile([1] * 4, edges=X)}])
def test_a_profile_of_one_kind_alone(only):
    settings = settings_of(**only)
    table = FullTable()
    record = table.create(key(table, settings), settings)
    table.add_features([record, record], [{"x": 0.2, "c": "red"}, None])
    [name] = only
    assert families(table, record)[f"feature:{name}"].sum() == 2


def pairs_of(settings, n=400):
    scores = rng.choice([*rng.random(n), 0.0, 0.2, 0.5, 1.0], n).tolist()
    predictions = [PredictionHead(0, 0, label=str(int(score > 0.5)), score=score) for score in scores]
    outcomes = [OutcomeHead(0, 0, label=str(actual), value=float(actual)) for actual in rng.integers(0, 2, n).tolist()]
    return read_pairs(predictions, outcomes, [settings] * n)


def add(table, record, pairs, source=None):
    source = np.arange(len(pairs.predictions)) if source is None else source
    table.add_pairs([record] * len(source), source, pairs)


@given(st.integers(1, 5))
def test_binary_pairs_are_counted_as_numpy_counts_them(cuts):
    settings = settings_of()
    table, pairs = FullTable(), pairs_of(settings)
    record = table.create(key(table, settings), settings)
    for part in np.array_split(np.arange(len(pairs.predictions)), cuts):
        add(table, record, pairs, part)
    scores = np.array([prediction.score for prediction in pairs.predictions])
    truths = np.array([outcome.label == "1" for outcome in pairs.outcomes])
    found = families(table, record)
    by_class = [np.histogram(scores[truths == c], SCORE_BINS, (0, 1))[0] for c in (False, True)]
    assert found["score_class"].tolist() == np.concatenate(by_class).tolist()
    calibration = found["calibration"].reshape(-1, 3)
    bins = np.minimum(scores * CALIBRATION_BINS, CALIBRATION_BINS - 1).astype(int)
    assert calibration[:, 0].tolist() == np.bincount(bins, minlength=10).tolist()
    assert calibration[:, 1] == pytest.approx(np.bincount(bins, scores, 10))
    assert calibration[:, 2].tolist() == np.bincount(bins, truths, 10).tolist()
    joint = np.zeros((4, 2))
    np.add.at(joint, (np.searchsorted(SCORE_EDGES, scores), truths.astype(int)), 1)
    assert found["joint"].reshape(4, 2).tolist() == joint.tolist()


def test_the_joint_histogram_of_numbers():
    settings = settings_of("regression", BinProfile([1, 1, 1], edges=[0.0, 1.0]))
    table = FullTable()
    record = table.create(key(table, settings), settings)
    cases = [(0.1, -5.0), (0.3, 0.5), (7.0, 1.5), (7.0, 1.5), (0.5, None)]
    predictions = [PredictionHead(0, 0, value=value) for value, _ in cases]
    outcomes = [OutcomeHead(0, 0, value=value) for _, value in cases]
    add(table, record, read_pairs(predictions, outcomes, [settings] * len(cases)))
    assert families(table, record)["joint"].reshape(4, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 2]]


def test_multiclass_pairs_count_every_label_against_the_rest():
    settings = Settings("m", "multiclass", labels=("b", "a"))
    table = FullTable()
    record = table.create(key(table, settings), settings)
    said = [({"a": 1.0, "b": 0.25}, "a", "a"), ({"a": 0.5}, "a", "b"), ({"z": 0.9}, "z", "z")]
    predictions = [PredictionHead(0, 0, label=label, scores=scores) for scores, label, _ in said]
    outcomes = [OutcomeHead(0, 0, label=actual) for *_, actual in said]
    add(table, record, read_pairs(predictions, outcomes, [settings] * 3))
    found = families(table, record)
    assert {i: n for i, n in enumerate(found["class:a"]) if n} == {64 + 63: 1, 32: 1, 0: 1}
    assert {i: n for i, n in enumerate(found["class:b"]) if n} == {16: 1, 64: 1, 0: 1}
    calibration = found["calibration"].reshape(-1, 3)
    assert {i: row.tolist() for i, row in enumerate(calibration) if row[0]} == {9: [2, 1.9, 2], 5: [1, 0.5, 0]}


def test_scores_are_counted_in_the_profiles_bins():
    settings = settings_of()
    table = FullTable()
    record = table.create(key(table, settings), settings)
    heads = [PredictionHead(0, 0, score=score) for score in (0.2, 0.21, 0.9, 1.0, None)]
    table.add_profile_scores([record] * 5, heads)
    assert families(table, record)["score"].tolist() == [1, 1, 1, 1]


def test_records_come_back_as_they_were_packed():
    settings, again = settings_of(), FullTable()
    table = FullTable()
    record = table.create(key(table, settings), settings)
    add(table, record, pairs_of(settings, 50))
    [packed] = table.pack([record])
    again.create(key(again, settings, 1), settings)
    restored = again.create(key(again, settings), settings, packed)
    assert again.pack([restored]) == [packed]


@given(st.lists(st.integers(0, 7), max_size=60))
def test_records_survive_the_packing_of_the_arena(toggles):
    table = FullTable()
    table._arena = table._arena[:600]
    kinds = [settings_of(), Settings("m", "binary"), Settings("m", "multiclass", labels=("a",))]
    for i in toggles:
        settings = kinds[i % 3]
        record = table.index.get(key(table, settings, i))
        if record is None:
            record = table.create(key(table, settings, i), settings)
            assert not table.cells(record).any()
            table._arena[record.base : record.base + record.layout.size] = i + 1
        else:
            table.drop(record)
    for record in table.index.values():
        assert set(table.cells(record)) == {int(record.key.slim.model[1:]) + 1}


def test_settings_of_another_profile_have_histograms_of_their_own():
    table = FullTable()
    one, two = settings_of(), settings_of(x=BinProfile([1, 1], edges=[3.0]))
    assert table.digest_of(one) != table.digest_of(two)
    assert table.digest_of(one) == table.digest_of(settings_of())
