"""Real runs of Metaflow for tests: the flows of tests/flows, run once as processes over a local datastore, and the metadata
service `metaflow-local-service` over the same runs.

Netflix's own service needs a PostgreSQL and is in no package. This one is another implementation of its contract, made by
others; it runs in an environment of its own, as it brings an event loop that ours would take up.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from runway_streams.devstack.children import free_port
from tests.mlflow_server import _uv

FLOWS = Path(__file__).parent / "flows"
METAFLOW, SERVICE = "metaflow==2.19.39", "metaflow-local-service==0.2.0"
FRAUD_TAGS = (
    "runway:model:fraud",
    "runway:feature:payments/amount",
    "runway:upstream-model:device-risk@2026.02",
    "team:risk",
)
LIMIT_S = 120.0
_SERVE = (
    "import os, runpy; os.environ['HOME'] = {home!r}; runpy.run_module('metaflow_local_service.daemon', run_name='__main__')"
)


class MetaflowHome:
    """A local datastore, and the ids of the runs in it by flow."""

    def __init__(self, home: Path):
        self.home, self.root, self.trap = home, home / ".metaflow", home / "trap"
        self.ids: dict[str, str] = {}

    def run(self, file: str, flow: str, *options: str, succeeds: bool = True) -> str:
        """Runs a flow to its end and gives the run's id."""
        environ = {
            **os.environ,
            "METAFLOW_DEFAULT_METADATA": "local",
            "METAFLOW_DEFAULT_DATASTORE": "local",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.home),
            "METAFLOW_USER": "tester",
            "METAFLOW_HOME": str(self.home / "settings"),
            "RUNWAY_TRAP": str(self.trap),
        }
        command = [sys.executable, str(FLOWS / file), "run", *options]
        done = subprocess.run(
            command, env=environ, cwd=self.home, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        self.ids[flow] = (self.root / flow / "latest_run").read_text()
        return self.ids[flow]

    def trigger(self, flow: str, upstream: str) -> None:
        """Writes what Argo Workflows would of the run that has started this one; the one thing that no local run has."""
        (place,) = (self.root / flow / self.ids[flow] / "start").glob("*/_meta")
        told = [
            {
                "timestamp": 1,
                "id": f"{upstream}/{self.ids[upstream]}/end/3",
                "name": f"metaflow.{upstream}.end",
                "type": "run",
            }
        ]
        record = json.loads(next(place.glob("sysmeta_attempt_ok_*.json")).read_text())
        record |= {"field_name": "execution-triggers", "type": "execution-triggers", "value": json.dumps(told)}
        (place / f"sysmeta_execution-triggers_{record['ts_epoch']}.json").write_text(json.dumps(record))

    @contextmanager
    def service(self) -> Iterator[str]:
        """The address of a metadata service over these runs."""
        port = free_port()
        command = [*_uv(), "tool", "run", "--python", "3.11", "--from", SERVICE, "--with", METAFLOW, "python", "-c"]
        command += [_SERVE.format(home=str(self.home)), "--port", str(port), "--metaflow-root", str(self.home)]
        # Told to nobody that it lives, it ends itself after five minutes: a whole run of the tests is longer.
        command += ["--idle-timeout", "86400"]
        with (self.home / "service.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, f"http://127.0.0.1:{port}", self.home / "service.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            for sign in (15, 9):
                try:
                    os.killpg(process.pid, sign)
                    process.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


def run_flows(home: Path) -> MetaflowHome:
    """All flows of tests/flows, in the order in which they need each other."""
    made = MetaflowHome(home)
    made.run("feature_flow.py", "FeatureFlow")
    made.run("device_risk_flow.py", "DeviceRiskFlow", "--rate", "0.25")
    made.run("fraud_flow.py", "FraudFlow", *(part for tag in FRAUD_TAGS for part in ("--tag", tag)))
    made.run("limits_flow.py", "LimitsFlow")
    made.run("broken_flow.py", "BrokenFlow", succeeds=False)
    made.run("caught_flow.py", "CaughtFlow")
    made.trigger("DeviceRiskFlow", "FeatureFlow")
    return made


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/ping", timeout=2).text == "pong":
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"The service has not started: {re.sub(chr(0), '', log.read_text(errors='replace'))[-3000:]}")
