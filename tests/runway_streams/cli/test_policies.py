"""`runway policies` over a real registry."""

import json

import pytest

from runway_streams.errors import RunwayError
from tests.runway_streams.cli.conftest import POLICY


@pytest.fixture
def fraud(runway):
    runway("models", "register", "fraud", "--task", "binary", "--owner", "risk")
    return runway


def test_a_model_has_a_policy_of_its_own_until_it_is_taken_away(fraud, write):
    file = write("policy.json", POLICY)
    for _ in range(2):  # taken away it can be set again
        assert fraud.json("policies", "show", "fraud")["source"] == "built-in"
        assert "its own policy" in fraud("policies", "set", "fraud", "-f", file).stderr
        assert fraud.json("policies", "show", "fraud")["source"] == "model"
        assert "the built-in one applies" in fraud("policies", "delete", "fraud").stderr
    assert [item["revision"] for item in fraud.json("policies", "history", "fraud")["items"]] == [4, 3, 2, 1]


def test_the_history_says_what_was_changed(fraud, write):
    fraud("policies", "set", "fraud", "-f", write("policy.json", POLICY))
    changed = {**POLICY, "staleness": {**POLICY["staleness"], "enter": 0.9}}
    fraud("policies", "set", "fraud", "-f", write("policy.json", changed))
    fraud("policies", "delete", "fraud")
    _, *lines = fraud("policies", "history", "fraud").stdout.splitlines()
    told = [" ".join(line.split()[3:]) for line in lines]
    assert told == ["taken away", "staleness.enter: 0.8 -> 0.9", "made"]


def test_people_see_what_holds_where_nothing_was_said(fraud, write):
    fraud("policies", "set", "fraud", "-f", write("policy.json", POLICY))
    rows = dict(line.split(maxsplit=1) for line in fraud("policies", "show", "fraud").stdout.splitlines()[1:])
    assert (rows["staleness.enter"].strip(), rows["staleness.scans"].strip()) == ("0.8", "3")
    assert rows["source"].strip() == '"model"'


def test_defaults_of_teams_and_tasks(fraud, write):
    file = write("policy.yaml", json.dumps(POLICY))
    for scope, name in (("tasks", "binary"), ("teams", "risk")):
        fraud("policies", "default", "set", scope, name, "-f", file)
        assert fraud.json("policies", "show", "fraud")["source"] == scope.rstrip("s")
    assert fraud.json("policies", "default", "show", "teams", "risk")["retrain"]["workflow"] == "retrain_fraud"
    fraud("policies", "default", "delete", "teams", "risk")
    with pytest.raises(RunwayError, match="The team risk has no policy"):
        fraud("policies", "default", "show", "teams", "risk")
    fraud("policies", "default", "set", "teams", "risk", "-f", file)
    assert [each["revision"] for each in fraud.json("policies", "default", "history", "teams", "risk")["items"]] == [3, 2, 1]
    with pytest.raises(RunwayError, match="Defaults are at"):
        fraud("policies", "default", "set", "tasks", "magic", "-f", file)


def test_a_policy_that_contradicts_itself_is_refused_with_its_field(fraud, write):
    with pytest.raises(RunwayError, match="weight"):
        fraud("policies", "set", "fraud", "-f", write("policy.json", {**POLICY, "staleness": {}}))
    with pytest.raises(RunwayError, match="There is no model 'other'"):
        fraud("policies", "set", "other", "-f", write("policy.json", POLICY))
