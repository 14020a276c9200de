"""Layouts: what a model's settings ask for, and only that."""

import pytest

from runway_streams.ground_truth.full import CALIBRATION_BINS, CLASS_BINS, SCORE_BINS, Layout
from runway_streams.ground_truth.settings import Settings, digest_of
from schemas.model_settings import BinProfile, ReferenceProfile

DECILES = BinProfile([1.0] * 10, edges=list(range(9)))
COLOURS = BinProfile([1, 1], categories=["red", "blue"])


def layout(task=None, labels=(), profile=None):
    digest = digest_of(profile) if profile else ""
    return Layout.of(Settings("m", task, labels=labels, profile=profile, profile_digest=digest))


@pytest.mark.parametrize(
    ("task", "labels", "sizes"),
    [
        (None, (), {"score_class": 2 * SCORE_BINS, "calibration": 3 * CALIBRATION_BINS}),
        ("binary", (), {"score_class": 2 * SCORE_BINS, "calibration": 3 * CALIBRATION_BINS}),
        ("multiclass", ("a", "b"), {"calibration": 30, "class:a": 2 * CLASS_BINS, "class:b": 2 * CLASS_BINS}),
        ("regression", (), {}),
    ],
)
def test_families_follow_from_the_task(task, labels, sizes):
    assert {name: size for name, (_, size) in layout(task, labels).families.items()} == sizes


def test_a_profile_adds_its_bins_and_null_and_other():
    profile = ReferenceProfile({"x": DECILES, "c": COLOURS}, score=DECILES, outcome=COLOURS)
    sizes = {name: size for name, (_, size) in layout("regression", profile=profile).families.items()}
    assert sizes == {"feature:x": 12, "feature:c": 4, "score": 10, "joint": 20}
    without_score = ReferenceProfile({"x": DECILES}, outcome=COLOURS)
    assert "joint" not in layout("regression", profile=without_score).families


def test_families_lie_side_by_side():
    found = layout("multiclass", ("b", "a"), ReferenceProfile({"x": DECILES, "c": COLOURS}, DECILES, COLOURS))
    end = 0
    for first, size in found.families.values():
        assert first == end
        end += size
    assert end == found.size


def test_one_digest_is_one_layout():
    one = layout("multiclass", ("a", "b"), ReferenceProfile({"x": DECILES, "c": COLOURS}))
    other_order = layout("multiclass", ("b", "a"), ReferenceProfile({"c": COLOURS, "x": DECILES}))
    assert one == other_order
    assert one.digest != layout("multiclass", ("a", "c"), ReferenceProfile({"x": DECILES, "c": COLOURS})).digest
    moved = BinProfile([1.0] * 10, edges=[edge + 0.5 for edge in range(9)])
    assert layout(profile=ReferenceProfile({"x": DECILES})).digest != layout(profile=ReferenceProfile({"x": moved})).digest
