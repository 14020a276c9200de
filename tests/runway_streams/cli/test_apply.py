"""`runway apply` over a real registry."""

import asyncio
import os
import pty
import subprocess
import sys

import pytest
import yaml

from runway_streams.cli import apply as command
from runway_streams.cli.common import load_config
from runway_streams.cli.manifests import read_desired
from runway_streams.cli.plan import make_plan
from runway_streams.errors import ConfigError, RunwayError
from tests.runway_streams.cli.conftest import POLICY, RULE

FRAUD = {
    "model_id": "fraud",
    "owner": "risk",
    "task": "binary",
    "labels": ["ok", "fraud"],
    "positive_label": "fraud",
    "policy": POLICY,
    "rules": [RULE],
}


@pytest.fixture
def folder(write):
    write("fraud.yaml", FRAUD)
    write("churn.yaml", "model_id: churn\n")
    return write("defaults.yaml", yaml.safe_dump({"defaults": {"teams": {"risk": POLICY}}})).parent


def actions(told):
    return [(step["action"], step["what"], step["name"]) for step in told["steps"]]


def audited(runway):
    """How many versions of everything there are: what is sent again would make one more."""
    models = runway.json("models", "list")["items"]
    return [
        *((each["model_id"], each["revision"]) for each in models),
        runway.json("policies", "show", "fraud")["revision"],
        runway.json("rules", "show", "fraud")["revision"],
    ]


def test_what_files_describe_is_made_and_the_second_time_there_is_nothing_to_do(runway, folder):
    shown = runway.json("apply", "-f", folder, "--dry-run")
    assert not shown["applied"]
    assert runway.json("models", "list")["items"] == []

    made = runway.json("apply", "-f", folder, "--yes")
    assert made == {**shown, "applied": True}
    assert actions(made) == [
        ("create", "default", "teams/risk"), ("create", "model", "churn"), ("create", "model", "fraud"),
        ("create", "policy", "fraud"), ("create", "rules", "fraud"),
    ]  # fmt: skip
    assert runway.json("models", "show", "fraud")["labels"] == ["ok", "fraud"]
    assert runway.json("policies", "show", "fraud")["retrain"]["workflow"] == "retrain_fraud"
    assert runway.json("rules", "show", "fraud")["rules"] == [RULE]

    before = audited(runway)
    again = runway("apply", "-f", folder)  # without --yes: there is nothing to ask for
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "There is nothing to do.\n")
    assert audited(runway) == before


def test_what_differs_is_shown_and_changed_and_all_else_is_left_alone(runway, folder, write):
    runway("apply", "-f", folder, "--yes")
    runway("models", "register", "other", "--owner", "web")
    document = {**FRAUD, "owner": "fin", "threshold": 0.6, "policy": {**POLICY, "retrain": {"mode": "review"}}}
    del document["rules"]
    shown = runway("apply", "-f", write("fraud.yaml", document), "--yes").stdout
    assert '~ model fraud: changed\n    owner: "risk" -> "fin"\n    threshold: 0.5 -> 0.6\n' in shown
    assert '    retrain.mode: "auto" -> "review"\n' in shown
    assert "\x1b" not in shown
    assert runway.json("rules", "show", "fraud")["rules"] == [RULE]
    assert runway.json("models", "show", "other")["owner"] == "web"


def test_a_document_is_the_whole_model(runway, write):
    runway("models", "register", "fraud", "--owner", "risk", "--tag", "cards", "--join-window", "PT12H")
    runway("apply", "-f", write("fraud.yaml", {"model_id": "fraud", "owner": "risk"}), "--yes")
    found = runway.json("models", "show", "fraud")
    assert (found["owner"], found["tags"], found["join_window"]) == ("risk", [], "PT1H")


def test_an_archived_model_comes_back_and_a_policy_can_be_taken_away_and_given_again(runway, folder, write):
    runway("apply", "-f", folder, "--yes")
    runway("models", "archive", "fraud")
    assert actions(runway.json("apply", "-f", folder, "--yes")) == [("change", "model", "fraud")]
    write("fraud.yaml", {**FRAUD, "policy": None, "rules": []})
    taken = [("delete", "policy", "fraud"), ("delete", "rules", "fraud")]
    assert actions(runway.json("apply", "-f", folder, "--yes")) == taken
    write("fraud.yaml", FRAUD)
    assert [action for action, *_ in actions(runway.json("apply", "-f", folder, "--yes"))] == ["create", "create"]
    assert actions(runway.json("apply", "-f", folder, "--yes")) == []


def test_nothing_is_sent_where_one_document_cannot_be(runway, folder, write):
    write("worse.yaml", {"model_id": "worse", "rules": [{**RULE, "when": "1 +"}]})
    with pytest.raises(ConfigError, match=r"worse.yaml: "):
        runway("apply", "-f", folder, "--yes")
    assert runway.json("models", "list")["items"] == []


def test_without_a_terminal_it_wants_to_be_told_yes(runway, folder):
    with pytest.raises(ConfigError, match="5 changes to be made, and there is no terminal"):
        runway("apply", "-f", folder)
    assert runway.json("models", "list")["items"] == []


@pytest.mark.parametrize(("said", "code", "models"), [("y", 0, 2), ("n", 1, 0)])
def test_a_person_is_asked(runway, folder, said, code, models):
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "runway_streams.cli", "apply", "-f", str(folder)]
    with subprocess.Popen(arguments, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.write(ours, f"{said}\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, "Go on?" in err) == (code, True)
    assert "+ model fraud: created" in out
    assert len(runway.json("models", "list")["items"]) == models


@pytest.mark.parametrize("whose", ["fraud", "new"])
def test_what_somebody_else_changes_meanwhile_is_not_overwritten(runway, folder, write, whose):
    runway("apply", "-f", folder, "--yes")
    write("new.yaml", {"model_id": "new"})
    write("churn.yaml", {"model_id": "churn", "owner": "web"})
    write("fraud.yaml", {**FRAUD, "owner": "fin"})
    desired = read_desired(folder)

    steps = make_plan(asyncio.run(command.read_current(desired)), desired)
    if whose == "new":
        runway("models", "register", "new", "--owner", "them")
    else:
        runway("models", "change", "fraud", "--owner", "them")
    with pytest.raises(RunwayError, match=rf"The model {whose} was not .* of 3 changes had been made. Run it again"):
        asyncio.run(command.send(steps))
    assert runway.json("models", "show", whose)["owner"] == "them"
    assert runway.json("models", "show", "churn")["owner"] == "web"
    assert load_config().api_url is None


def test_it_does_the_same_over_http_with_a_key(serve, runway, folder):
    serve()
    assert len(runway.json("apply", "-f", folder, "--yes")["steps"]) == 5
    assert runway.json("apply", "-f", folder)["steps"] == []
    runway("versions", "register", "fraud", "1+a", "--stage", "evaluation", "--metric", "mae=4")
    assert runway.json("versions", "list", "fraud")["items"][0]["created_by"].startswith("key:")
    assert runway.json("versions", "alias", "fraud", "champion", "1+a")["version"] == "1+a"
    # The rule of the file has moved it.
    assert runway.json("versions", "show", "fraud", "1+a")["stage"] == "staging"


def test_a_wrong_key_is_one_sentence(serve, runway, folder, monkeypatch):
    serve()
    monkeypatch.setenv("RUNWAY_KEY", "rk_wrong")
    with pytest.raises(RunwayError, match="RUNWAY_KEY"):
        runway("apply", "-f", folder, "--yes")


def test_many_models_are_applied_in_one_run(runway, write):
    text = "---\n".join(f"model_id: m{number}\nowner: risk\n" for number in range(120))
    file = write("many.yaml", text)
    assert len(runway.json("apply", "-f", file, "--yes")["steps"]) == 120
    assert runway.json("apply", "-f", file)["steps"] == []
