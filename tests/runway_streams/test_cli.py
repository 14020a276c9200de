import json
import os
import socket
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
        (["models", "register"], "No model is named"),
        (["models", "register", "m", "--threshold", "2"], "threshold"),
        (
            ["models", "register", "m", "--label", "a", "--positive-label", "b"],
            "positive_label of m: 'b' is not among its labels",
        ),
        (["models", "register", "-f", "missing.json"], "cannot be read"),
        (["models", "change", "m"], "Nothing is to be changed"),
        (["models", "archive", "nothing"], "There is no model 'nothing'"),
        (["replay", "missing.csv", "missing.csv"], "does not exist"),
        (["profile", "missing.parquet"], "missing.parquet is not there"),
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


@pytest.mark.parametrize("name", ["ground-truth", "archive"])
def test_a_worker_without_kafka_is_one_sentence(tmp_path, name):
    bootstrap = f"127.0.0.1:{free_port()}"
    result = runway("worker", name, home=tmp_path, RUNWAY_BOOTSTRAP=bootstrap, RUNWAY_WEB_PORT="0")
    assert result.returncode == 2
    assert result.stderr.startswith(f"runway: Kafka at {bootstrap} did not answer")
    assert (result.stdout + result.stderr).count("\n") == 1


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [(["api", "--port"], "--port"), (["up", "--port"], "--port"), (["worker", "archive"], "RUNWAY_WEB_PORT")],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_port_that_is_taken_is_one_sentence_before_anything_starts(arguments, setting, taken, tmp_path):
    port = [taken] if arguments[-1] == "--port" else []
    result = runway(*arguments, *port, home=tmp_path, RUNWAY_WEB_PORT=taken)
    told = f"runway: Port {taken} on 127.0.0.1 is taken. Stop what listens there, or give another with {setting}.\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", told)
    assert not (tmp_path / "kafka").exists()


def test_an_address_of_another_machine_is_one_sentence(tmp_path):
    result = runway("api", "--host", "203.0.113.1", home=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("runway: Port 8000 on 203.0.113.1 cannot be listened on: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.kafka
def test_topics_are_created_and_checked_for_scripts(config, tmp_path):
    environ = {"RUNWAY_BOOTSTRAP": config.bootstrap, "RUNWAY_TOPIC_PREFIX": config.topic_prefix}
    before = runway("topics", "check", "--json", home=tmp_path, **environ)
    assert before.returncode == 1
    assert not json.loads(before.stdout)["ok"]

    created = runway("topics", "create", "--partitions", "2", "--json", home=tmp_path, **environ)
    assert f"{config.topic_prefix}predictions" in json.loads(created.stdout)["created"]

    other = runway("topics", "create", "--partitions", "3", home=tmp_path, **environ)
    assert other.returncode == 2
    assert "predictions has 2 partitions" in other.stderr
    assert "not 3, and this cannot be changed" in other.stderr
    assert runway("topics", "create", "--partitions", "2", home=tmp_path, **environ).returncode == 0

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
