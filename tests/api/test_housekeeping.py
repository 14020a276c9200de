"""Housekeeping on both databases."""

import sqlalchemy as sa

from api.housekeeping import Housekeeping
from runway_streams.registry.changes import Registry
from runway_streams.registry.leases import clear_leases, take
from runway_streams.registry.tables import leases
from runway_streams.times import HOUR
from tests.running import eventually


async def test_chores_are_done_and_leases_that_ran_out_long_ago_are_gone(database):
    now = 1_000 * HOUR
    registry = Registry(database, lambda: now, lambda settings: None)
    async with registry.change("test") as change:
        await take(change, "alive", "a", 10_000)
        for name, until in (("old", now - HOUR - 1), ("recent", now - HOUR)):
            await change.execute(leases.insert().values(duty=name, holder="a", until=until))
    done = []

    async def count(change):
        done.append(change.now)
        return 1

    keeper = Housekeeping(registry, [clear_leases, count], "a", every_s=60)
    keeper.start()
    try:
        await eventually(lambda: done, 10, lambda: keeper.problem)
        async with registry.read() as connection:
            left = set((await connection.execute(sa.select(leases.c.duty))).scalars())
        assert left == {"alive", "recent", "housekeeping"}
    finally:
        await keeper.stop()
