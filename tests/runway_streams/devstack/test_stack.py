import json
import os
import signal
import sys
import textwrap
import threading
import time
import urllib.request

import psutil
import pytest

from runway_streams.config import Config, running_stack
from runway_streams.devstack.stack import RESTART_WINDOW_S, RESTARTS, Restarts, Service, Stack
from runway_streams.errors import DependencyDown, Refused

pytestmark = [pytest.mark.kafka, pytest.mark.fault]

API = """
    import http.server, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class SmallStack(Stack):
    """The real Kafka, a server of ten lines as the API, and a worker that ends as told."""

    worker = "import time; time.sleep(600)"

    def _services(self):
        commands = {
            "worker": [sys.executable, "-c", self.worker],
            "api": [sys.executable, "-c", textwrap.dedent(API), str(self._api_port)],
        }
        logs = self._given.home / "logs"
        return [Service(name, command, logs / f"{name}.log", os.environ) for name, command in commands.items()]


class CrashingStack(SmallStack):
    worker = "raise SystemExit('the disk is full')"


@pytest.fixture
def home(tmp_path):
    return Config(home=tmp_path)


def wait_for(condition, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_tells_where_it_is_restarts_a_killed_part_and_leaves_nothing(home):
    with SmallStack(home) as stack:
        told = json.loads((home.home / "stack.json").read_text())
        assert told["bootstrap"] == stack.bootstrap == stack.config.bootstrap
        assert urllib.request.urlopen(f"{told['api']}/readyz").status == 200
        with pytest.raises(Refused, match="already runs"):
            SmallStack(home).start()

        os.kill(told["pids"]["worker"], signal.SIGKILL)
        wait_for(lambda: running_stack(home.home)["pids"]["worker"] not in (None, told["pids"]["worker"]))

        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        stack.wait()
        pids = running_stack(home.home)["pids"].values()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not (home.home / "stack.json").exists()


def test_a_part_that_keeps_crashing_stops_the_stack_with_its_last_words(home):
    stack = CrashingStack(home)
    with pytest.raises(DependencyDown, match=r"(?s)worker ended 6 times within 10 minutes.*the disk is full"), stack:
        stack.wait()
    assert not stack.kafka.alive


def test_restarts_are_bounded_in_any_ten_minutes():
    restarts = Restarts()
    assert all(restarts.allow(float(second)) for second in range(RESTARTS))
    assert not restarts.allow(RESTART_WINDOW_S - 1)
    assert restarts.allow(RESTART_WINDOW_S)
