"""The command line over a real registry: within the process over SQLite, and over HTTP with a key."""

import json
import threading
import time

import pytest
import uvicorn
from typer.testing import CliRunner

from api.app import access_of, make_app, open_registry
from api.lineage_parts import open_lineage
from runway_streams.cli import app
from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from runway_streams.ground_truth.model_settings_store import wall_clock
from tests.api.conftest import merged_view

POLICY = {
    "staleness": {"age": {"weight": 1, "ok": "P7D", "critical": "P30D"}, "enter": 0.8, "leave": 0.6},
    "retrain": {"mode": "auto", "workflow": "retrain_fraud", "cooldown": "PT12H"},
}
RULE = {"name": "good", "from": "evaluation", "to": "staging", "when": "metrics[mae] <= 5"}


class Runway:
    """The command line in this process: what it prints, and its errors as they are raised."""

    def __call__(self, *arguments, input=None):
        result = CliRunner().invoke(app, [*map(str, arguments)], input=input, catch_exceptions=False, terminal_width=200)
        self.stdout, self.stderr, self.exit_code = result.stdout, result.stderr, result.exit_code
        return self

    def json(self, *arguments):
        assert self(*arguments, "--json").exit_code == 0, self.stderr
        return json.loads(self.stdout)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A registry of this test's own."""
    monkeypatch.setenv("RUNWAY_HOME", str(tmp_path / "home"))
    for name in ("RUNWAY_API", "RUNWAY_KEY", "RUNWAY_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture
def runway(home):
    return Runway()


@pytest.fixture
def serve(home, runway, monkeypatch):
    """`serve(view)` starts an API over the view, and lets the command line ask it with an admin's key."""
    running = []

    def start(view=None):
        port, config = free_port(), Config(home=home)
        monkeypatch.setenv("RUNWAY_KEY", runway.json("keys", "create", "test", "--role", "admin")["key"])
        registry = open_registry(config, wall_clock)
        lineage = open_lineage(config, wall_clock)
        application = make_app(view or merged_view(), registry, access_of(config, registry), lineage=lineage)
        server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        monkeypatch.setenv("RUNWAY_API", f"http://127.0.0.1:{port}")

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def write(tmp_path):
    """`write(name, text)` writes a file of this test's folder, a document as JSON."""

    def to(name, content):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to
