"""What MLflow's models and versions become, and what is told of what does not fit."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.registry.mlflow.client import (
    RegisteredModel,
    RegisteredVersion,
    Run,
    RunData,
    RunInfo,
    RunMetric,
    Tag,
)
from runway_streams.registry.mlflow.mapping import (
    ALIAS_STAGES,
    STAGES,
    Mark,
    Unmappable,
    model_id,
    model_of,
    move_to,
    our_aliases,
    stage_of,
    version_of,
)
from schemas.model import Model
from schemas.model_version import ModelVersion
from schemas.prediction import ModelId

URI = "https://mlflow.example.com"
names = st.text(min_size=1, max_size=256)
marks = st.builds(
    Mark, st.sampled_from([*STAGES, "Odd"]), st.lists(st.sampled_from([*ALIAS_STAGES, "best"]), max_size=3).map(tuple)
)


@given(names)
def test_every_name_has_a_legal_id(name: str) -> None:
    assert msgspec.convert(model_id(name), ModelId) == model_id(name) == model_id(name)


@given(names, names)
def test_two_names_have_two_ids(one: str, other: str) -> None:
    made = model_id(one)
    assert (made == model_id(other)) == (one == other)
    if made != one:
        assert model_id(made) != made, "a name that looks like a made id is not taken for it"


@pytest.mark.parametrize("name", ["fraud", "_a.b-C9", "a" * 128])
def test_a_legal_name_stays(name: str) -> None:
    assert model_id(name) == name


@given(marks)
def test_the_highest_of_stage_and_aliases_wins(mark: Mark) -> None:
    rank = ["archived", "evaluation", "staging", "production"]
    votes = [STAGES.get(mark.stage, "evaluation"), *(ALIAS_STAGES[a] for a in mark.aliases if a in ALIAS_STAGES)]
    assert rank.index(stage_of(mark.stage, mark.aliases)) == max(map(rank.index, votes))


def test_the_documentation_shows_this_table() -> None:
    page = (Path(__file__).parents[4] / "docs" / "mlflow.md").read_text()
    rows = page.split("<!-- mlflow stages -->\n", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    for stage in ("evaluation", "staging", "production", "archived"):
        row = next(row for row in rows if row.endswith(f"| `{stage}` |"))
        assert set(re.findall(r"stage (\w+)", row)) == {theirs for theirs, ours in STAGES.items() if ours == stage}
        assert set(re.findall(r"alias `(\w+)`", row)) == {alias for alias, ours in ALIAS_STAGES.items() if ours == stage}


@given(marks, marks)
def test_a_version_moves_only_where_mlflow_has_moved_it(before: Mark, now: Mark) -> None:
    was, goal = stage_of(before.stage, before.aliases), stage_of(now.stage, now.aliases)
    move = move_to(before, now)
    assert (move is None) == (was == goal)
    assert move in (None, goal, "deprecated")
    assert (move == "deprecated") == ((was, goal) == ("production", "evaluation"))


def test_tags_and_texts_are_cut_and_told() -> None:
    found = RegisteredModel(
        "n" * 256, "d" * 10_001, tags=[Tag(f"k{i:03}", "v" * 200) for i in range(70)] + [Tag("mlflow.x", "y")]
    )
    model, notes = model_of(found, URI)
    assert (len(model.name), len(model.description), len(model.tags)) == (200, 10_000, 64)
    assert {len(tag) for tag in model.tags} == {128}
    assert "6 of its 70 tags are left out." in notes
    assert "description is cut from 10001 to 10000 characters." in notes
    assert model.links[0].url == f"{URI}/#/models/{'n' * 256}"


@given(st.builds(RegisteredModel, names, st.text(), tags=st.lists(st.builds(Tag, names, st.text()), max_size=70)))
def test_every_model_is_one_that_the_catalog_takes(found: RegisteredModel) -> None:
    try:
        model, _ = model_of(found, URI)
    except Unmappable:
        return
    assert msgspec.convert(msgspec.to_builtins(model), Model) == model


def test_metrics_and_parameters_are_bounded_and_told() -> None:
    metrics = [RunMetric(f"m{i:04}", float(i)) for i in range(501)] + [
        RunMetric("nan", "NaN"),
        RunMetric("inf", -1.7976931348623157e308),
    ]
    params = [Tag("long", "x" * 2_000), Tag("k" * 300, "1"), Tag("lr", "0.1")]
    run = Run(RunInfo("r", end_time=0), RunData(metrics, params))
    version, notes = version_of(RegisteredVersion("m", "1", creation_timestamp=1_000, run_id="r"), run, URI)
    assert (len(version.metrics), version.hyperparameters["lr"], len(str(version.hyperparameters["long"]))) == (
        500,
        "0.1",
        1024,
    )
    assert version.trained_at is not None
    assert version.trained_at.timestamp() == 1
    assert notes == [
        "parameter long is cut from 2000 to 1024 characters.",
        "1 of its 3 parameters are left out.",
        "2 metrics that are not finite are left out.",
        "1 of its 501 metrics are left out.",
    ]


@pytest.mark.parametrize(
    "found",
    [
        RegisteredVersion("m", "a b"),
        RegisteredVersion("m", ""),
        RegisteredVersion("m" * 257, "1"),
        RegisteredVersion("m", "1", source="s" * 2_049),
    ],
)
def test_a_version_that_cannot_be_ours_says_why(found: RegisteredVersion) -> None:
    with pytest.raises(Unmappable, match="It cannot be taken"):
        version_of(found, None, URI)


@given(st.integers(-(1 << 62), 1 << 62))
def test_any_time_is_a_moment_or_none(ms: int) -> None:
    version, _ = version_of(RegisteredVersion("m", "1", creation_timestamp=ms), None, URI)
    assert isinstance(version, ModelVersion)
    assert (version.trained_at is None) or ms > 0


def test_aliases_that_cannot_be_ours_are_told() -> None:
    taken, notes = our_aliases(["champion", "Best", "v1", "1st"])
    assert taken == ["champion", "v1"]
    assert len(notes) == 2
