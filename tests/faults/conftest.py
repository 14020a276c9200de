"""What the fault tests share: a seed that is printed, and workers that are ended with the test."""

import os
import random

import pytest

from runway_streams.config import Config
from tests.running import WorkerProcess


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"seed {chosen}: run again with FAULT_SEED={chosen}")
    return chosen


@pytest.fixture
def start():
    """Starts workers and ends those that are left."""
    started: list[WorkerProcess] = []

    def new(config: Config, instance: str = "worker-0", name: str = "ground-truth", **environ: str) -> WorkerProcess:
        started.append(WorkerProcess(config, name, instance, **environ).start())
        return started[-1]

    yield new
    for process in started:
        process.stop()
