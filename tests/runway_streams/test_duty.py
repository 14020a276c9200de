"""Duties: done by one at a time, taken up again after an outage."""

import asyncio

from runway_streams import duty
from runway_streams.database import Database
from runway_streams.duty import Duty
from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.model_settings_store import wall_clock
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from tests.postgres import PostgresServer
from tests.running import eventually


class Count(Duty):
    duty = task_name = "count"
    every_s = 0.02

    def __init__(self, registry, holder):
        super().__init__(registry, holder)
        self.done, self.broken, self.left = 0, False, ""

    async def step(self):
        if self.broken:
            raise DependencyDown("It is away.")
        self.done += 1
        self.left_out = self.left
        return False


async def test_one_at_a_time_and_the_next_takes_over(database, monkeypatch):
    monkeypatch.setattr(duty, "ASK_S", 0.1)
    registry = Registry(database, wall_clock, lambda settings: None)
    parts = [Count(registry, str(number)) for number in range(3)]
    for part in parts:
        part.start()
    try:
        while parts:
            await eventually(lambda: any(part.leads for part in parts), 10)
            await asyncio.sleep(0.3)
            (leader,) = [part for part in parts if part.leads]
            parts.remove(leader)
            await leader.stop()
            assert leader.done > 1
    finally:
        for part in parts:
            await part.stop()


async def test_what_is_away_is_tried_again_and_said(database):
    part = Count(Registry(database, wall_clock, lambda settings: None), "a")
    part.broken = True
    part.start()
    try:
        await eventually(lambda: part.problem == "It is away.", 10)
        assert part.done == 0
        part.broken = False
        await eventually(lambda: part.done and not part.problem, 10)
    finally:
        await part.stop()


async def test_what_alone_could_not_be_done_is_said_while_the_rest_goes_on(database):
    part = Count(Registry(database, wall_clock, lambda settings: None), "a")
    part.left = "One of them is odd."
    part.start()
    try:
        await eventually(lambda: part.done > 2 and part.problem == "One of them is odd.", 10)
        part.left = ""
        await eventually(lambda: not part.problem, 10)
    finally:
        await part.stop()


async def test_a_database_that_goes_and_comes_back_is_a_pause(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.setattr(duty, "LEASE_MS", 1_000)
    with PostgresServer(tmp_path_factory.mktemp("bounced")) as server:
        database = Database.open(server.url(), tmp_path, MIGRATIONS)
        await database.prepare()
        part = Count(Registry(database, wall_clock, lambda settings: None), "a")
        part.start()
        try:
            await eventually(lambda: part.leads, 10)
            await asyncio.to_thread(server.stop, "immediate")
            await eventually(lambda: "does not answer" in part.problem and not part.leads, 15, lambda: part.problem)
            await asyncio.to_thread(server.start)
            await eventually(lambda: part.leads and not part.problem, 15, lambda: part.problem)
        finally:
            await part.stop()
        await database.close()
