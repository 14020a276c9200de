"""A real MLflow server for tests, from its package in an environment of its own: it wants an older pyarrow than ours."""

import base64
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from runway_streams.devstack.children import free_port

MLFLOW = "mlflow==3.17.2"
LIMIT_S = 180.0
"""The first start downloads some 200 MB."""


class MlflowServer:
    """An MLflow server over SQLite below `home`, on a free port of this machine. Its webhooks may go to this machine."""

    def __init__(self, home: Path):
        self.log = home / "mlflow.log"
        self.home, self.port = home, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.environ = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(b"k" * 32).decode(),
            # Webhooks are for public https only, unless told so.
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        }
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "MlflowServer":
        command = [*_uv(), "tool", "run", "--python", "3.11", "--from", MLFLOW, "mlflow", "server"]
        command += ["--backend-store-uri", f"sqlite:///{self.home}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.home / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("wb") as log:
            # A session of its own: uv starts mlflow, which starts uvicorn, and all of them have to end.
            self.process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log, start_new_session=True)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process is None:
            return
        for sign in (15, 9):
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def post(self, path: str, **document: Any) -> Any:
        return self._call("POST", path, document)

    def delete(self, path: str, **document: Any) -> Any:
        return self._call("DELETE", path, document)

    def register(self, name: str, **more: Any) -> None:
        self.post("registered-models/create", name=name, **more)

    def add_version(self, name: str, run_id: str = "", source: str = "s3://models/m") -> dict[str, Any]:
        return self.post("model-versions/create", name=name, source=source, run_id=run_id)["model_version"]

    def alias(self, name: str, alias: str, version: str) -> None:
        self.post("registered-models/alias", name=name, alias=alias, version=version)

    def stage(self, name: str, version: str, stage: str) -> None:
        self.post("model-versions/transition-stage", name=name, version=version, stage=stage)

    def add_run(
        self, metrics: dict[str, float | str], params: dict[str, str], tags: dict[str, str] | None = None, end: int = 0
    ) -> str:
        """A finished run; times in epoch milliseconds."""
        tagged = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        run = self.post("runs/create", experiment_id="0", start_time=1_700_000_000_000, tags=tagged)["run"]["info"]["run_id"]
        self.post(
            "runs/log-batch",
            run_id=run,
            metrics=[{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in metrics.items()],
            params=[{"key": key, "value": value} for key, value in params.items()],
        )
        if end:
            self.post("runs/update", run_id=run, status="FINISHED", end_time=end)
        return run

    @contextmanager
    def webhook(self, url: str, secret: str) -> Iterator[None]:
        """A webhook for what is synced. It must end: trying in vain to reach a receiver that is gone delays the others."""
        events = [("MODEL_VERSION", "CREATED"), ("MODEL_VERSION_ALIAS", "CREATED"), ("MODEL_VERSION_ALIAS", "DELETED")]
        listed = [{"entity": entity, "action": action} for entity, action in events]
        made = self.post("webhooks", name="runway", url=url, secret=secret, events=listed)["webhook"]
        time.sleep(1.1)  # the server keeps its list of webhooks for a second
        try:
            yield
        finally:
            self.delete(f"webhooks/{made['webhook_id']}")
            time.sleep(1.1)

    def asked(self) -> list[str]:
        """What was asked of it so far, by method and path, as its own log says."""
        return re.findall(r'"((?:GET|POST|DELETE|PATCH) [^ ?]+)', self.log.read_text(errors="replace"))

    def _call(self, method: str, path: str, document: dict[str, Any]) -> Any:
        answer = httpx.request(method, f"{self.uri}/api/2.0/mlflow/{path}", json=document, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _wait(self) -> None:
        assert self.process
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if httpx.get(f"{self.uri}/health", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"MLflow has not started: {self.log.read_text(errors='replace')[-3000:]}")


def _uv() -> list[str]:
    found = os.environ.get("UV") or shutil.which("uv")
    return [found] if found else [sys.executable, "-m", "uv"]
