from math import inf, nan

import msgspec
import pytest

from runway_streams.errors import RunwayError
from runway_streams.registry.policies import check_policy, default_policy, effective_policy
from schemas.policy import Policy

TASKS = ["binary", "multiclass", "regression", None]


def changed(**values):
    """A sound policy with some fields, such as staleness__age__ok, changed or (None) left out."""
    document = msgspec.to_builtins(default_policy("binary"))
    for name, value in values.items():
        *path, last = name.split("__")
        place = document
        for key in path:
            place = place.setdefault(key, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    return msgspec.convert(document, Policy)


@pytest.mark.parametrize("task", TASKS)
def test_built_in_policies_are_sound_and_can_be_stored(task):
    policy = default_policy(task)
    check_policy(policy)
    assert msgspec.json.decode(msgspec.json.encode(policy), type=Policy) == policy


def test_built_in_policies_read_a_metric_of_their_task():
    metrics = [(found := default_policy(task).staleness.performance) and (found.metric, found.compare) for task in TASKS]
    assert metrics == [("accuracy", "reference"), ("accuracy", "reference"), ("mae", "relative"), None]


@pytest.mark.parametrize(
    "change",
    [
        {"retrain__cooldown": "PT0S"},
        {"retrain__cooldown": "P3650D"},
        {
            "staleness__performance__compare": "value",
            "staleness__performance__ok": 0.9,
            "staleness__performance__critical": 0.8,
        },
        {
            "staleness__performance__compare": "value",
            "staleness__performance__ok": -5,
            "staleness__performance__critical": 8,
        },
        {"staleness__performance__ok": 0},
        {"staleness__performance": None, "staleness__concept_drift": None, "staleness__data_drift": None},
        {"retrain__when": "staleness.score + 1 > 1.8 && 'fraud' in model.tags && signals.age.value > 0.5 && version != '1'"},
        {"retrain__parameters": {"rows": 2**63 - 1, "rate": 0.1, "full": True, "note": None, "name": "x"}},
    ],
    ids=str,
)
def test_what_makes_sense_is_taken(change):
    check_policy(changed(**change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"staleness": {}}, "staleness: no signal has a weight above 0. Give age"),
        ({"staleness": {"age": {"weight": 0, "ok": "P1D", "critical": "P2D"}}}, "staleness: no signal"),
        ({"staleness__age__ok": "P90D"}, "staleness.age.critical: P90D is not longer than ok, P90D"),
        ({"staleness__age__ok": "P91D"}, "staleness.age.critical"),
        ({"staleness__age__ok": "PT0S"}, "staleness.age.ok: PT0S is not above 0"),
        ({"staleness__age__critical": "P3651D"}, "staleness.age.critical: P3651D is not above 0 and at most P3650D"),
        ({"staleness__data_drift__critical": 0.1}, "staleness.data_drift.critical: 0.1 is not more than ok, 0.1"),
        ({"staleness__data_drift__critical": inf}, "staleness.data_drift.critical"),
        ({"staleness__concept_drift__ok": 0.3}, "staleness.concept_drift.critical"),
        ({"staleness__performance__ok": -0.1}, "staleness.performance.ok: -0.1 is not a number from 0"),
        ({"staleness__performance__ok": 0.1}, "staleness.performance.critical"),
        (
            {"staleness__performance__compare": "relative", "staleness__performance__ok": 0.2},
            "staleness.performance.critical",
        ),
        (
            {"staleness__performance__compare": "value", "staleness__performance__ok": 0.1},
            "staleness.performance.critical: 0.1 is ok too",
        ),
        ({"staleness__performance__compare": "value", "staleness__performance__ok": nan}, "staleness.performance.ok"),
        ({"staleness__performance__window": "PT7H"}, "staleness.performance.window: 'PT7H' is no window"),
        ({"staleness__leave": 0.7}, "staleness.leave: 0.7 is not below enter, 0.7"),
        ({"retrain__cooldown": "P3651D"}, "retrain.cooldown: P3651D is not at most P3650D"),
        ({"retrain__parameters": {"rate": inf}}, "retrain.parameters.rate: inf is not a finite number"),
        ({"retrain__parameters": {"rows": 2**63}}, "retrain.parameters.rows: the number has more than 64 bits"),
        ({"retrain__when": "staleness.score >"}, "retrain.when: This is not CEL"),
        ({"retrain__when": "metrics.mae > 5"}, "retrain.when: 'metrics' is not known here. Variables are model"),
        ({"retrain__when": "model.tags.exists(t, t == 'a')"}, "retrain.when: exists(...) is not allowed here"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(change, words):
    with pytest.raises(RunwayError) as refused:
        check_policy(changed(**change))
    assert str(refused.value).startswith(words)


def test_the_nearest_policy_is_in_force():
    own, team, of_task = (changed(retrain__priority=priority) for priority in (1, 2, 3))
    assert effective_policy(own, team, of_task, "binary") == (own, "model")
    assert effective_policy(None, team, of_task, "binary") == (team, "team")
    assert effective_policy(None, None, of_task, "binary") == (of_task, "task")
    assert effective_policy(None, None, None, "regression") == (default_policy("regression"), "built-in")
