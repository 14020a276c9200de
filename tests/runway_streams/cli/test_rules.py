"""`runway rules` over a real registry."""

import pytest

from runway_streams.errors import ConfigError, RunwayError
from tests.runway_streams.cli.conftest import RULE


@pytest.fixture
def fraud(runway):
    runway("models", "register", "fraud")
    runway("versions", "register", "fraud", "1", "--stage", "evaluation", "--metric", "mae=6")
    return runway


def test_rules_are_set_tried_and_accounted_for(fraud, write):
    assert "has no rules" in fraud("rules", "show", "fraud").stderr
    fraud("rules", "set", "fraud", "-f", write("rules.yaml", {"rules": [RULE]}))
    shown = fraud.json("rules", "show", "fraud")
    assert (shown["rules"], shown["revision"]) == ([RULE], 1)
    assert "stays in evaluation" in fraud("rules", "dry-run", "fraud", "1").stdout
    fraud("versions", "register", "fraud", "2", "--metric", "mae=6", "--stage", "evaluation")  # is tried at once
    [found] = fraud.json("rules", "evaluations", "fraud", "--version", "2")["items"]
    assert (found["rule"], found["outcome"], found["reason"]) == ("good", "not", "metrics.mae is 6.")
    assert "metrics.mae is 6." in fraud("rules", "evaluations", "fraud").stdout


def test_other_rules_are_tried_without_being_kept(fraud, write):
    easier = write("rules.yaml", {"rules": [{**RULE, "when": "metrics[mae] <= 7"}]})
    assert fraud.json("rules", "dry-run", "fraud", "1", "-f", easier)["move_to"] == "staging"
    assert "would move from evaluation to staging" in fraud("rules", "dry-run", "fraud", "1", "-f", easier).stdout
    assert fraud.json("rules", "show", "fraud")["rules"] == []
    assert fraud.json("versions", "show", "fraud", "1")["stage"] == "evaluation"


def test_what_is_shown_can_be_set(fraud, write):
    fraud("rules", "set", "fraud", "-f", write("rules.json", {"rules": [RULE]}))
    fraud("rules", "set", "fraud", "-f", write("rules.json", fraud.json("rules", "show", "fraud")))
    assert fraud.json("rules", "show", "fraud")["revision"] == 1


def test_files_that_hold_no_rules_and_rules_that_cannot_be_are_refused(fraud, write):
    with pytest.raises(ConfigError, match="list `rules` alone"):
        fraud("rules", "set", "fraud", "-f", write("rules.json", {"model_id": "fraud", "rules": []}))
    with pytest.raises(RunwayError, match="good"):
        fraud("rules", "set", "fraud", "-f", write("rules.json", {"rules": [{**RULE, "when": "metrics.mae <="}]}))
