import json
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from runway_streams.cli import app
from runway_streams.devstack.children import free_port


def runway(*arguments, home, **environ):
    """Run the real command line as its users do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "runway_streams.cli", *arguments],
        env={**kept, "RUNWAY_HOME": str(home), "COLUMNS": "100", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def commands(group=None, path=()):
    """Every command's path, such as ("topics", "create")."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_shows_an_example(command):
    result = CliRunner().invoke(app, [*command, "--help"], terminal_width=200)
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"runway {' '.join(command)}" in result.output


def test_help_loads_no_framework():
    code = (
        "import sys, runway_streams.cli; "
        "print([m for m in ('faust', 'starlette', 'duckdb', 'neo4j', 'numpy', 'aiokafka') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batch", "--cutoff", "yesterday"], "'yesterday' is not a time"),
        (["batch", "--cutoff", "2026-11-22T03:30Z"], "not a full hour"),
        (["batch", "--cutoff", "2026-11-22T03:00"], "no time zone"),
        (["batch", "--final", "--schedule"], "exclude each other"),
        (["demo", "--from", "2013-05-01", "--to", "2013-05-01"], "is not before --to"),
        (["models", "set"], "No model is named"),
        (["models", "set", "m", "--threshold", "2"], "cannot be used"),
        (["models", "set", "-f", "missing.json"], "cannot be read"),
        (["replay", "missing.csv", "missing.csv"], "does not exist"),
        (["ground-truth", "export", "m", "--start", "2026-11-02", "--end", "2026-11-01", "--out", "x"], "not before"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(arguments, words, tmp_path):
    result = runway(*arguments, home=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.startswith("runway: ")
    assert "Traceback" not in result.stderr


def test_no_kafka_is_one_sentence(tmp_path):
    result = runway("topics", "check", home=tmp_path, RUNWAY_BOOTSTRAP=f"127.0.0.1:{free_port()}")
    assert result.returncode == 2
    assert "did not answer" in result.stderr
    assert "RUNWAY_BOOTSTRAP" in result.stderr


@pytest.mark.kafka
def test_topics_are_created_and_checked_for_scripts(config, tmp_path):
    environ = {"RUNWAY_BOOTSTRAP": config.bootstrap, "RUNWAY_TOPIC_PREFIX": config.topic_prefix}
    before = runway("topics", "check", "--json", home=tmp_path, **environ)
    assert before.returncode == 1
    assert not json.loads(before.stdout)["ok"]

    created = runway("topics", "create", "--partitions", "2", "--json", home=tmp_path, **environ)
    assert f"{config.topic_prefix}predictions" in json.loads(created.stdout)["created"]

    after = runway("topics", "check", "--json", home=tmp_path, **environ)
    assert after.returncode == 0
    assert json.loads(after.stdout)["ok"]


@pytest.mark.kafka
def test_doctor_names_each_part_with_a_remedy(config, tmp_path):
    environ = {"RUNWAY_BOOTSTRAP": config.bootstrap, "RUNWAY_TOPIC_PREFIX": config.topic_prefix}
    result = runway("doctor", "--json", home=tmp_path, **environ)
    assert result.returncode == 1
    findings = json.loads(result.stdout)["findings"]
    assert {"kafka", "archive", "batch"} <= {finding["part"] for finding in findings}
    assert all(finding["remedy"] for finding in findings if finding["level"] != "ok")


def test_doctor_goes_on_without_kafka_and_with_a_bad_archive(tmp_path):
    (tmp_path / "lake").write_text("a file where a folder should be")
    result = runway("doctor", home=tmp_path, RUNWAY_BOOTSTRAP=f"127.0.0.1:{free_port()}")
    assert result.returncode == 1
    assert "did not answer" in result.stdout
    assert "cannot be written" in result.stdout
