"""`runway onboard`: proposals from what the stream has seen, and `runway apply` of them."""

import pytest
import yaml

from runway_streams.cli.manifests import desired_of, read_desired
from runway_streams.cli.proposals import propose, text_of
from tests.api.conftest import NOON, Event, FakeBatchView, FakeSpeed, merged_view, snapshot, speed_store

SEEN = {"versions": ["1"], "first": "2024-10-04T12:00:00Z", "last": "2024-10-04T12:59:59Z", "task": None}


def item(seen=SEEN, **more):
    return {"model_id": "m", "name": "m", "seen": seen and {**seen, **more}}


def performance(task="binary", labels=("0", "1"), matrix=((8, 1), (1, 2)), positive="1", joined=12, degraded=()):
    confusion = {"confusion": {"labels": list(labels), "matrix": [list(row) for row in matrix]}}
    totals = {"predictions": 1_500, "joined": joined, "late": 0} | (confusion if task != "regression" else {})
    found = {"task": task, "task_guessed": True, "totals": totals, "degraded": list(degraded)}
    return found | {"positive_label": positive if task == "binary" else None}


def taken(proposal):
    """The entry as `runway apply` reads it."""
    [wanted] = desired_of([("m.yaml", yaml.safe_load(text_of(proposal)))]).models.values()
    return wanted.model


def test_a_binary_model_is_proposed_with_the_labels_that_were_seen():
    proposal = propose(item(), performance(labels=("late", "ontime", "never"), matrix=((1, 1, 0), (1, 9, 0), (0, 0, 0)),
                                           positive="late"))  # fmt: skip
    model = taken(proposal)
    assert (model.task, model.labels, model.positive_label) == ("binary", ["late", "ontime"], "late")
    assert (model.join_window, model.segments) == ("PT1H", [])
    assert text_of(proposal).splitlines()[:3] == [
        '# Seen from 2024-10-04T12:00:00Z to 2024-10-04T12:59:59Z, versions "1".',
        "# 1,500 predictions, 12 with an outcome.",
        "# Task binary: guessed from the outcomes. Check it, and the labels.",
    ]


@pytest.mark.parametrize(
    ("found", "task", "labels", "word"),
    [
        (performance("multiclass", "abc", ((1, 0, 0), (0, 1, 0), (0, 0, 1))), "multiclass", ["a", "b", "c"], "guessed"),
        (performance("regression"), "regression", [], "guessed"),
        (performance("multiclass", ("a", "__other__"), ((1, 0), (0, 1))), "multiclass", [], "more than 20"),
        (performance(labels=("late",), matrix=((9,),), positive="late"), None, [], "not all of them"),
        (performance(labels=("1",), matrix=((9,),)), "binary", [], "not all of them"),
        (performance(joined=0), None, [], "No outcome has come yet"),
        (None, None, [], "not known here"),
        (performance(degraded=["gap"]), "binary", ["0", "1"], "Not all was counted: gap"),
    ],
)
def test_what_is_proposed_can_be_applied_whatever_was_seen(found, task, labels, word):
    proposal = propose(item(), found)
    model = taken(proposal)
    assert (model.task, model.labels) == (task, labels)
    assert any(word in note for note in proposal.notes)


def test_a_stated_task_is_taken_over_without_a_guess():
    assert taken(propose(item(task="regression"), None)).task == "regression"
    assert taken(propose(item(None), None)).task is None


def test_a_version_does_not_break_out_of_its_comment():
    proposal = propose(item(versions=["1\nowner: me", "2\u2028shadow: true", *map(str, range(20))]), None)
    assert taken(proposal).owner == ""
    assert "and 12 more" in text_of(proposal)


@pytest.fixture
def seen(serve):
    """An API that has seen a model by the stream, and one by the batch that no catalog can take."""
    events = [Event(NOON * 12, "late", "late", version="2"), Event(NOON * 12 + 1, "ontime", "ontime")]
    view = merged_view()
    view.speed = FakeSpeed(speed_store(events, "late-arrival"))
    view.batch = snapshot(FakeBatchView([Event((NOON - 90) * 12)], NOON - 30, model="risk/fraud"))
    serve(view)


def test_what_was_seen_is_proposed_and_applied_as_it_is(seen, runway, tmp_path):
    out = tmp_path / "out"
    told = runway("onboard", "-o", out).stderr
    assert "cannot be registered: An id has letters" in told
    assert f"Wrote 1 entry to {out}" in told
    assert [path.name for path in out.iterdir()] == ["late-arrival.yaml"]
    model = read_desired(out).models["late-arrival"].model
    assert (model.task, model.labels, model.positive_label) == ("binary", ["late", "ontime"], "ontime")
    assert "2 predictions, 2 with an outcome" in (out / "late-arrival.yaml").read_text()

    runway("apply", "-f", out, "--yes")
    assert runway.json("models", "show", "late-arrival")["registered"]
    assert runway.json("apply", "-f", out)["steps"] == []
    left = runway.json("onboard")
    assert (left["proposals"], [each["model_id"] for each in left["refused"]]) == ([], ["risk/fraud"])


def test_to_stdout_it_is_what_apply_reads(seen, runway, write):
    text = runway("onboard").stdout
    assert list(read_desired(write("all.yaml", text)).models) == ["late-arrival"]
    [proposal] = runway.json("onboard")["proposals"]
    assert proposal["model_id"] == "late-arrival"
    assert any("guessed" in note for note in proposal["notes"])


def test_a_file_that_is_there_already_is_left_as_it_is(seen, runway, write):
    mine = write("late-arrival.yaml", "model_id: late-arrival\nowner: risk\n")
    assert "left as it is" not in runway("onboard", "-o", mine.parent).stdout
    assert "was left as it is" in runway.stderr
    assert "owner: risk" in mine.read_text()


def test_where_all_is_registered_it_says_so(runway):
    found = runway("onboard")
    assert (found.stdout, found.stderr) == ("", "Every model that the stream has seen is registered.\n")
