"""The faults of a soak, and the workers that it does them to: each waits until the harm is done, and a supervisor starts again
what has ended."""

import asyncio
import random
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from runway_streams.config import Config
from runway_streams.devstack.kafka import EmbeddedKafka
from tests.faults.kill_points import POINTS, FaultyWorker
from tests.running import WorkerProcess

STEADY = "steady"
TOUCHED = ("worker-1", "worker-2")
SESSION_S = 6
POINT_LIMIT_S = 20.0
ELSEWHERE = {"before_segment", "after_segment", "in_rebuild", "in_restore"}
"""Points that a ground-truth worker does not come to by itself."""


class Crew:
    """The workers of a soak: one that is left alone, and two that are not."""

    def __init__(self, config: Config, kafka: EmbeddedKafka, rng: random.Random):
        self.config, self.kafka, self.rng = config, kafka, rng
        self.workers = {name: self._new(name) for name in (STEADY, *TOUCHED)}
        self._resting: set[str] = set()

    def start(self) -> None:
        """All of them."""
        for process in self.workers.values():
            process.start()

    def stop(self) -> None:
        """All of them, the frozen ones too."""
        self._resting = set(self.workers)
        for process in self.workers.values():
            if process.alive():
                process.process.send_signal(signal.SIGCONT)
            process.stop()

    def revive(self) -> None:
        """What every supervisor does."""
        for name, process in self.workers.items():
            if not process.alive() and name not in self._resting:
                self.workers[name] = self._new(name).start()

    def alive(self) -> bool:
        """For `caught_up`: somebody always is."""
        self.revive()
        return True

    def tail(self) -> str:
        """The last words of all."""
        return "\n".join(process.tail() for process in self.workers.values())

    def pids(self) -> dict[str, int]:
        """Of those that run."""
        return {name: process.process.pid for name, process in self.workers.items() if process.alive()}

    def one(self) -> str:
        """A worker that may be touched."""
        return self.rng.choice(TOUCHED)

    @contextmanager
    def resting(self, name: str) -> Iterator[None]:
        """While a fault has it in its hands the supervisor leaves a worker alone."""
        self._resting.add(name)
        try:
            yield
        finally:
            self._resting.discard(name)

    def _new(self, name: str) -> WorkerProcess:
        return WorkerProcess(self.config, instance=name, **environ(self.config))


def environ(config: Config) -> dict[str, str]:
    """Short sessions, a checkpoint every ten seconds, and caches that are full after minutes: what grows then is a leak."""
    return {
        "RUNWAY_STATE_MEMORY_MIB": "60",
        "RUNWAY_SESSION_TIMEOUT": str(SESSION_S),
        "RUNWAY_ARCHIVE": config.archive_url,
        "RUNWAY_CHECKPOINT_INTERVAL": "10",
    }


async def kill(crew: Crew) -> None:
    """SIGKILL, and a start at once."""
    process = crew.workers[crew.one()]
    if process.alive():
        process.kill()


async def restart(crew: Crew) -> None:
    """SIGTERM, and a start."""
    await asyncio.to_thread(crew.workers[crew.one()].stop)


async def freeze(crew: Crew) -> None:
    """SIGSTOP until the others have taken over, then SIGCONT."""
    process = crew.workers[crew.one()]
    if not process.alive():
        return
    process.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(SESSION_S + crew.rng.uniform(1, 6))
    finally:
        process.process.send_signal(signal.SIGCONT)


async def leave(crew: Crew) -> None:
    """A worker fewer for a while, in good order or not."""
    name = crew.one()
    with crew.resting(name):
        if crew.rng.random() < 0.5 and crew.workers[name].alive():
            crew.workers[name].kill()
        else:
            await asyncio.to_thread(crew.workers[name].stop)
        await asyncio.sleep(crew.rng.uniform(1, 15))


async def wipe(crew: Crew) -> None:
    """Its volume is gone."""
    name = crew.one()
    with crew.resting(name):
        if crew.workers[name].alive():
            crew.workers[name].kill()
        shutil.rmtree(crew.config.home / "state" / name, ignore_errors=True)


async def die_at_a_point(crew: Crew) -> None:
    """Started anew, it kills itself at one of the named points, or runs into a bug there."""
    name = crew.one()
    point = crew.rng.choice(sorted(POINTS.keys() - ELSEWHERE))
    nth, action = crew.rng.randint(1, 2 + POINTS[point].most), crew.rng.choice(["KILL", "KILL", "RAISE"])
    with crew.resting(name):
        await asyncio.to_thread(crew.workers[name].stop)
        process = FaultyWorker(crew.config, point, nth, action, instance=name, **environ(crew.config))
        crew.workers[name] = process.start()
        for _ in range(int(POINT_LIMIT_S / 0.2)):
            if not process.alive():
                return
            await asyncio.sleep(0.2)
        await asyncio.to_thread(process.stop)


async def bounce_the_broker(crew: Crew) -> None:
    """In good order."""
    await asyncio.to_thread(crew.kafka.stop)
    await asyncio.to_thread(crew.kafka.start)


async def kill_the_broker(crew: Crew) -> None:
    """SIGKILL."""
    await asyncio.to_thread(crew.kafka.kill)
    await asyncio.sleep(crew.rng.uniform(0, 5))
    await asyncio.to_thread(crew.kafka.start)


FAULTS: dict[str, Callable[[Crew], Awaitable[None]]] = {
    function.__name__: function
    for function in (kill, restart, freeze, leave, wipe, die_at_a_point, bounce_the_broker, kill_the_broker)
}
