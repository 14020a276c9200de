"""`runway versions` over a real registry."""

import hashlib

import pytest

from runway_streams.errors import ConfigError, RunwayError

PROFILE = {"features": {"age": {"edges": [20.0, 40.0], "counts": [1.0, 2.0, 3.0]}}}


@pytest.fixture
def fraud(runway):
    runway("models", "register", "fraud", "--task", "binary")
    return runway


def test_a_version_is_registered_with_all_that_options_say(fraud, write):
    artifact, profile = write("model.bin", "weights"), write("profile.json", PROFILE)
    made = fraud.json(
        "versions", "register", "fraud", "1.2+gpu", "--artifact-uri", "s3://m/1", "--artifact", artifact,
        "--run", "FraudFlow/17", "--code", "git:abc", "--metric", "mae=4.5", "--metric", "f1-score=0.5",
        "--parameter", "depth=3", "--parameter", "early=true", "--parameter", "loss=log", "--parameter", 'name="7"',
        "--trained-at", "2026-04-02T10:00Z", "--from", "2026-01-01", "--to", "2026-04-01", "--profile", profile,
        "--feature", "amount=PT1H", "--feature", "country", "--stage", "evaluation",
    )  # fmt: skip
    assert made["artifact_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert made["hyperparameters"] == {"depth": 3, "early": True, "loss": "log", "name": "7"}
    assert made["metrics"] == {"mae": 4.5, "f1-score": 0.5}
    assert made["training_interval"] == {"start": "2026-01-01T00:00:00Z", "end": "2026-04-01T00:00:00Z"}
    assert made["features"] == [{"name": "amount", "freshness": "PT1H"}, {"name": "country"}]
    assert (made["stage"], made["code_ref"], made["trained_at"]) == ("evaluation", "git:abc", "2026-04-02T10:00:00Z")
    assert made["profile_digest"]
    shown = fraud.json("versions", "show", "fraud", "1.2+gpu")
    assert [(move["from"], move["to"]) for move in shown.pop("moves")] == [(None, "evaluation")]
    assert shown == made
    again = fraud("versions", "show", "fraud", "1.2+gpu")
    assert "FraudFlow/17" in again.stdout


def test_a_file_says_the_same_and_options_go_over_it(fraud, write):
    text = 'version: "1"\nmetrics: {mae: 4}\ntrained_at: 2026-04-02\nstage: training\n'
    made = fraud.json(
        "versions", "register", "fraud", "-f", write("v.yaml", text), "--metric", "mae=5", "--stage", "staging"
    )
    assert (made["version"], made["metrics"], made["stage"]) == ("1", {"mae": 5.0}, "staging")
    assert made["trained_at"] == "2026-04-02T00:00:00Z"


def test_versions_are_listed_moved_judged_and_named(fraud):
    for version in ("1", "2"):
        fraud("versions", "register", "fraud", version, "--stage", "staging")
    assert "in stage production" in fraud("versions", "move", "fraud", "2", "production", "--reason", "good").stderr
    assert "is AT_RISK" in fraud("versions", "status", "fraud", "2", "AT_RISK", "--reason", "complaints").stderr
    for version in ("1", "2"):
        assert fraud.json("versions", "alias", "fraud", "champion", version) == {"alias": "champion", "version": version}
    items = fraud.json("versions", "list", "fraud", "--stage", "production")["items"]
    assert [(item["version"], item["status"], item["aliases"]) for item in items] == [("2", "AT_RISK", ["champion"])]
    assert "champion" in fraud("versions", "list", "fraud").stdout
    moves = fraud.json("versions", "show", "fraud", "2")["moves"]
    assert (moves[0]["to"], moves[0]["reason"]) == ("production", "good")
    fraud("versions", "unalias", "fraud", "champion")
    with pytest.raises(RunwayError, match="no alias 'champion'"):
        fraud("versions", "unalias", "fraud", "champion")


def test_what_cannot_be_done_is_said(fraud, write):
    fraud("versions", "register", "fraud", "1", "--metric", "mae=1")
    with pytest.raises(RunwayError, match="versions do not change"):
        fraud("versions", "register", "fraud", "1", "--metric", "mae=2")
    with pytest.raises(RunwayError, match="production"):
        fraud("versions", "move", "fraud", "1", "production", "--reason", "now")
    with pytest.raises(RunwayError, match="There is no model"):
        fraud("versions", "list", "a/b?c")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["1", "--metric", "mae"], "Give NAME=VALUE"),
        (["1", "--metric", "mae=nan"], "finite"),
        (["1", "--from", "2026-01-01"], "both --from and --to"),
        (["1", "--trained-at", "soon"], "not a time"),
        (["1", "--artifact", "missing"], "cannot be read"),
        (["1", "--profile", "missing"], "cannot be read"),
        ([], "No version is named"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_asked(runway, home, options, words):
    with pytest.raises(ConfigError, match=words):
        runway("versions", "register", "fraud", *options)
    assert not home.exists()


def test_a_digest_that_is_not_the_artifacts_is_refused(fraud, write):
    artifact = write("model.bin", "weights")
    with pytest.raises(ConfigError, match="Give one of"):
        fraud("versions", "register", "fraud", "1", "--artifact", artifact, "--sha256", "0" * 64)
