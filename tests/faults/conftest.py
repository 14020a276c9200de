"""What the fault tests share: a seed that is printed, and workers that are ended with the test."""

import random

import pytest

from runway_streams.config import Config
from tests.running import WorkerProcess


@pytest.fixture
def seed() -> int:
    chosen = random.SystemRandom().randrange(1 << 30)
    print(f"seed {chosen}")
    return chosen


@pytest.fixture
def start():
    """Starts workers and ends those that are left."""
    started: list[WorkerProcess] = []

    def new(config: Config, instance: str = "worker-0", **environ: str) -> WorkerProcess:
        started.append(WorkerProcess(config, instance=instance, **environ).start())
        return started[-1]

    yield new
    for process in started:
        process.stop()
