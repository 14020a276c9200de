"""`runway mlflow sync` as its users run it, against a real MLflow server."""

import json
import os
import subprocess
import sys

import pytest


def runway(*arguments, home, **environ):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "runway_streams.cli", *arguments],
        env={**kept, "RUNWAY_HOME": str(home), "COLUMNS": "120", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def told_model(mlflow):
    """A model with a version that cannot be taken; other tests' syncs shall not meet it."""
    mlflow.register("told-to-people")
    mlflow.add_version("told-to-people")
    mlflow.add_version("told-to-people", mlflow.add_run({}, {}, {"mlflow.source.git.commit": "c" * 600}))
    mlflow.alias("told-to-people", "champion", "1")
    yield
    mlflow.delete("registered-models/delete", name="told-to-people")


@pytest.mark.usefixtures("told_model")
def test_a_sync_says_what_came_of_each_version(mlflow, tmp_path):
    environ = {"RUNWAY_MLFLOW": mlflow.uri}

    first = runway("mlflow", "sync", home=tmp_path, **environ)

    assert first.returncode == 0, first.stderr
    lines = [line.split() for line in first.stdout.splitlines()]
    assert ["created", "told-to-people", "1", "production,", "champion"] in lines
    assert any(line[:3] == ["skipped", "told-to-people", "2"] for line in lines)
    assert "code_ref" in first.stdout
    assert "1 skipped" in first.stdout

    mlflow.add_version("told-to-people")
    second = runway("mlflow", "sync", "--json", home=tmp_path, **environ)
    told = json.loads(second.stdout)
    assert (told["created"], told["moved"]) == (1, 0)
    assert [each["version"] for each in told["versions"]] == ["3"]

    everything = json.loads(runway("mlflow", "sync", "--full", "--json", home=tmp_path, **environ).stdout)
    assert (everything["created"], everything["moved"], everything["versions"]) == (0, 0, [])
    assert ("told-to-people", "2") in [(each["name"], each["version"]) for each in everything["reasons"]]


def test_without_a_server_it_is_a_sentence(tmp_path):
    told = runway("mlflow", "sync", home=tmp_path)
    assert (told.returncode, told.stdout) == (2, "")
    assert "Set RUNWAY_MLFLOW" in told.stderr
