"""A real API process for fault tests, changes of the registry through it, and what `runway.models` has of them."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter

import httpx
import msgspec

from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from runway_streams.topic_reader import open_topic
from schemas.model_settings import ModelSettings

changes_in = msgspec.json.Decoder(list[ModelSettings]).decode


class Api:
    """`runway api` of a configuration, with some code before it."""

    def __init__(self, config: Config):
        self.config, self.port = config, str(free_port())
        self.log = config.home / "api.log"
        self.process: subprocess.Popen | None = None

    def start(self, before: str = "from runway_streams.cli import main\n") -> None:
        environ = {**os.environ, "RUNWAY_HOME": str(self.config.home), "RUNWAY_BOOTSTRAP": self.config.bootstrap,
                   "RUNWAY_TOPIC_PREFIX": self.config.topic_prefix, "RUNWAY_DATABASE": self.config.database or ""}  # fmt: skip
        with self.log.open("ab") as told:
            command = [sys.executable, "-c", before + "\nmain()", "api", "--port", self.port]
            self.process = subprocess.Popen(command, env=environ, stdout=told, stderr=told)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


async def register(client: httpx.AsyncClient, model: str) -> bool:
    """Registers a model; True where that was acknowledged."""
    try:
        return (await client.post("/v1/models", json={"model_id": model})).status_code == 201
    except httpx.HTTPError:
        return False


async def published(config: Config) -> Counter[str]:
    """How many changes of each model were ever written to `runway.models`, over all records."""
    moments: set[tuple[str, int | None]] = set()
    records: Counter[str] = Counter()
    async with open_topic(config, "models") as topic:
        async for record in topic.to_end():
            records[record.key.decode()] += 1
            moments |= {(change.model_id, change.effective_from) for change in changes_in(record.value)}
    assert Counter(model for model, _ in moments) == records, "each record says one change more"
    return records


async def drained(config: Config, acknowledged: set[str], limit: float = 60) -> Counter[str]:
    """Waits until every acknowledged change was published."""
    deadline = time.monotonic() + limit
    while not acknowledged <= (found := await published(config)).keys():
        assert time.monotonic() < deadline, acknowledged - found.keys()
        await asyncio.sleep(0.3)
    return found


def client_of(api: Api, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", headers=headers, timeout=10, trust_env=False)
