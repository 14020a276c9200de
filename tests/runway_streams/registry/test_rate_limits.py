"""Rate limits: several processes over one database together answer exactly the limit; each alone without a database."""

import asyncio
from collections import Counter

import pytest
import sqlalchemy as sa

from runway_streams.database import Database
from runway_streams.registry import rate_limits
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.rate_limits import RateLimiter, Verdict, clear_windows
from runway_streams.registry.tables import rate_windows
from runway_streams.times import HOUR, MINUTE
from tests.clock import Clock

# aiosqlite's thread may answer that it could not connect after the test's loop has ended.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

NOW = 28_000_000 * MINUTE + 15_500
WAIT = Verdict(False, 45)


@pytest.fixture
def clock():
    return Clock(NOW)


async def rows_of(database):
    async with database.read() as connection:
        return (await connection.execute(sa.select(rate_windows))).all()


@pytest.mark.parametrize("limit", [1, 7, 100, 230])
async def test_several_processes_together_allow_exactly_the_limit(database, database_url, tmp_path, clock, limit):
    others = [Database.open(database_url, tmp_path, MIGRATIONS) for _ in range(2)]
    limiters = [RateLimiter(each, limit, clock) for each in (database, *others)]
    found = await asyncio.gather(*(limiters[n % 3].take("key:a") for n in range(3 * limit + 30)))
    assert sum(verdict.allowed for verdict in found) == limit
    assert set(found) == {Verdict(True), WAIT}
    assert [row.taken for row in await rows_of(database)] == [limit]
    for each in others:
        await each.close()


async def test_a_process_asks_in_portions_and_not_at_all_once_all_is_taken(database, clock):
    asked = Counter()
    sa.event.listen(database.engine.sync_engine, "begin", lambda _: asked.update("n"))
    limiter = RateLimiter(database, 400, clock)
    assert sum([(await limiter.take("a")).allowed for _ in range(400)]) == 400
    assert asked["n"] == 20
    assert not (await limiter.take("a")).allowed
    before = asked["n"]
    assert [await limiter.take("a") for _ in range(100)] == [WAIT] * 100
    assert asked["n"] == before


async def test_principals_and_minutes_are_apart(database, clock):
    limiter = RateLimiter(database, 1, clock)
    assert (await limiter.take("a")).allowed
    assert (await limiter.take("b")).allowed
    assert await limiter.take("a") == WAIT
    clock.ms += 44_499
    assert await limiter.take("a") == Verdict(False, 1)
    clock.ms += 1
    assert (await limiter.take("a")).allowed


async def test_what_a_process_knows_is_bounded_and_what_it_forgot_still_counts(database, clock, monkeypatch):
    monkeypatch.setattr(rate_limits, "MAX_PRINCIPALS", 3)
    limiter = RateLimiter(database, 2, clock)
    for name in ("a", "a", "b", "c", "d", "e"):
        assert (await limiter.take(name)).allowed
    assert list(limiter._shares) == ["c", "d", "e"]
    assert await limiter.take("a") == WAIT


async def test_without_a_database_each_process_limits_by_itself(tmp_path, clock):
    (tmp_path / "folder.db").mkdir()
    down = Database.open(f"sqlite:///{tmp_path / 'folder.db'}", tmp_path, MIGRATIONS)
    limiters = [RateLimiter(down, 5, clock) for _ in range(2)]
    for limiter in limiters:
        assert [await limiter.take("a") for _ in range(6)] == [Verdict(True, degraded=True)] * 5 + [
            Verdict(False, 45, degraded=True)
        ]
        assert limiter.degraded
    await down.close()


async def test_a_database_that_comes_back_counts_for_all_again(database, clock, tmp_path):
    (tmp_path / "folder.db").mkdir()
    down = Database.open(f"sqlite:///{tmp_path / 'folder.db'}", tmp_path, MIGRATIONS)
    limiter = RateLimiter(down, 40, clock)
    assert (await limiter.take("a")).degraded
    limiter._database = database
    assert (await limiter.take("b")).degraded  # it is not asked again at once
    clock.ms += MINUTE
    assert not limiter.degraded
    assert await limiter.take("a") == Verdict(True)
    assert len(await rows_of(database)) == 1
    await down.close()


async def test_what_was_given_out_before_the_database_went_counts(database, clock, tmp_path):
    limiter = RateLimiter(database, 40, clock)
    assert [(await limiter.take("a")).degraded for _ in range(2)] == [False] * 2
    (tmp_path / "folder.db").mkdir()
    limiter._database = down = Database.open(f"sqlite:///{tmp_path / 'folder.db'}", tmp_path, MIGRATIONS)
    found = [await limiter.take("a") for _ in range(40)]
    assert sum(verdict.allowed for verdict in found) == 38
    await down.close()


async def test_a_slow_database_does_not_hold_requests(database, clock, monkeypatch):
    monkeypatch.setattr(rate_limits, "ANSWER_S", 0.05)
    limiter = RateLimiter(database, 40, clock)
    async with database.write() as connection:
        await connection.execute(rate_windows.insert().values(principal="a", window=clock.ms // MINUTE, taken=1))
        assert await limiter.take("a") == Verdict(True, degraded=True)
    clock.ms += MINUTE
    assert await limiter.take("a") == Verdict(True)


async def test_old_windows_are_cleared(database, clock):
    limiter = RateLimiter(database, 10, clock)
    await limiter.take("a")
    clock.ms += HOUR
    await limiter.take("a")
    registry = Registry(database, clock, lambda settings: None)
    async with registry.change("system") as change:
        assert await clear_windows(change) == 0
    clock.ms += MINUTE
    async with registry.change("system") as change:
        assert await clear_windows(change) == 1
    assert len(await rows_of(database)) == 1
