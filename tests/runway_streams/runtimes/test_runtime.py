"""Opening and closing of partitions: Faust asks and revokes whenever it likes, and what is open follows the assignment."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from runway_streams.config import Config
from runway_streams.errors import Refused
from runway_streams.runtimes import runtime as runtimes
from runway_streams.runtimes.runtime import Runtime


class SlowRuntime(Runtime):
    """Opens a partition only once it is let; notes what it does."""

    def __init__(self, tmp_path):
        super().__init__(app=None, config=Config(home=tmp_path))
        self.log: list[str] = []
        self.is_open: set[int] = set()
        self.let = asyncio.Event()
        self._started.set()

    async def connect(self): ...
    async def disconnect(self): ...
    async def consume(self, batches): ...
    async def tick(self):
        return 0.0

    def problems(self):
        return []

    async def open(self, numbers):
        for number in sorted(numbers - self.is_open):
            self.log.append(f"opening {number}")
            await self.let.wait()
            self.is_open.add(number)
        return {number: {"predictions": 7, "outcomes": 8} for number in numbers}

    async def keep(self, numbers):
        for number in sorted(self.is_open - numbers):
            self.log.append(f"closing {number}")
            self.is_open.remove(number)

    def assigned(self, *numbers: int) -> set[TP]:
        return {TP(name, number) for number in numbers for name in self.names.values()}


async def test_a_partition_that_is_asked_for_twice_at_a_time_is_opened_once(tmp_path):
    runtime = SlowRuntime(tmp_path)
    both = [asyncio.create_task(runtime.positions(runtime.assigned(2, 3))) for _ in range(2)]
    await asyncio.sleep(0)
    runtime.let.set()
    first, second = await asyncio.gather(*both)
    assert runtime.log == ["opening 2", "opening 3"], "a second emitter would have fenced the first"
    assert first == second
    assert first[TP(runtime.names["outcomes"], 3)] == 8


async def test_a_revocation_waits_for_an_opening_and_closes_what_it_has_opened(tmp_path):
    runtime = SlowRuntime(tmp_path)
    opening = asyncio.create_task(runtime.positions(runtime.assigned(0)))
    await asyncio.sleep(0)
    revoking = asyncio.create_task(runtime.revoked(None, runtime.assigned(0)))
    await asyncio.sleep(0)
    assert not revoking.done()
    runtime.let.set()
    await asyncio.gather(opening, revoking)
    assert runtime.log == ["opening 0", "closing 0"]


async def test_what_is_no_longer_assigned_is_closed_whoever_opened_it(tmp_path):
    runtime = SlowRuntime(tmp_path)
    runtime.let.set()
    await runtime.positions(runtime.assigned(0, 1))
    await runtime.positions(runtime.assigned(1, 2))
    assert runtime.log == ["opening 0", "opening 1", "closing 0", "opening 2"]
    assert runtime.is_open == {1, 2}


async def test_an_opening_that_fails_leaves_the_next_one_free(tmp_path):
    runtime = SlowRuntime(tmp_path)
    opening = asyncio.create_task(runtime.positions(runtime.assigned(0)))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    runtime.let.set()
    await runtime.positions(runtime.assigned(0))
    assert runtime.log == ["opening 0", "opening 0"]


async def test_partitions_of_one_topic_alone_are_closed_and_others_asked_for_within_a_limit(tmp_path, monkeypatch):
    runtime = SlowRuntime(tmp_path)
    runtime.let.set()
    asked, paused = [], set()

    async def ask():
        asked.append(True)

    runtime.app = SimpleNamespace(
        consumer=SimpleNamespace(ask_for_partitions_again=ask, pause_partitions=lambda tps: paused.update(tps))
    )
    await runtime.positions(runtime.assigned(0))
    one = {TP(runtime.names["outcomes"], 0)}
    assert await runtime.positions(one) == {}
    assert (runtime.log[-1], asked, paused) == ("closing 0", [True], one)
    await runtime.positions(runtime.assigned(0))
    monkeypatch.setattr(runtimes, "UNEVEN_LIMIT_S", -1.0)
    with pytest.raises(Refused, match=r"partitions \[\] of the predictions but \[0\] of the outcomes"):
        await runtime.positions(one)
