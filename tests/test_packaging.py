"""The repository as it is shipped: compose file, image, names, host-free pins."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from runway_streams.cli import app

ROOT = Path(__file__).parent.parent
OURS = {"runway_streams", "agents", "tables", "batch", "api", "schemas"}
COMPOSE = ROOT / "docker-compose.yml"


def top_level_names(distribution) -> Iterator[str]:
    for file in distribution.files or ():
        if file.suffix == ".py" and len(file.parts) > 1:
            yield file.parts[0]
        elif file.suffix == ".py":
            yield file.stem


def test_no_other_distribution_provides_our_names():
    clashes = {
        (distribution.metadata["Name"], name)
        for distribution in distributions()
        if distribution.metadata["Name"] != "runway-streams"
        for name in OURS.intersection(top_level_names(distribution))
    }
    assert not clashes, "install Runway Streams into an environment of its own"


def test_the_compose_file_follows_the_compose_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load(COMPOSE.read_text())["services"]


def test_the_compose_file_runs_commands_that_exist(services):
    ours = {name: service["command"] for name, service in services.items() if "build" in service}
    assert set(ours) == {"topics", "ground-truth", "archive", "api", "batch"}
    for command in ours.values():
        # An unknown command or option fails before --help is looked at.
        assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0, command


def test_the_compose_file_holds_no_secret(services):
    environ = [f"{name}={value}" for service in services.values() for name, value in service["environment"].items()]
    secrets = [line for line in environ if re.search(r"PASSWORD|AUTH|DATABASE|NEO4J=", line)]
    assert len(secrets) >= 4
    assert all("${" in line and ":?" in line for line in secrets)


def test_nothing_waits_for_servers_that_are_not_used_yet(services):
    assert {"postgres", "neo4j"} <= services.keys()
    assert {awaited for service in services.values() for awaited in service.get("depends_on", {})} == {"kafka", "topics"}


def test_every_long_running_service_has_a_healthcheck(services):
    assert all("healthcheck" in service for name, service in services.items() if name != "topics")


def test_uv_and_pip_install_what_is_pinned():
    constraints = (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["constraint-dependencies"] == constraints.splitlines(), "run scripts/pin"
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", constraints, re.MULTILINE))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    asked += [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    direct = dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z0-9,]+\])?==(\S+)$", "\n".join(asked), re.MULTILINE))
    assert direct
    assert {name: pinned.get(name) for name in direct} == direct
    assert "://" not in constraints
