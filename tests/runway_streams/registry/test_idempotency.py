"""Idempotency: a POST with a key is done once, however often and at whatever moment it comes."""

import asyncio

import pytest
import sqlalchemy as sa

from runway_streams.database import Database
from runway_streams.registry.changes import Registry
from runway_streams.registry.idempotency import StoredAnswer, begin, check_key, clear_answers, digest_of, finish
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.refusals import Conflict, Invalid, Mismatch
from runway_streams.registry.tables import idempotency, leases
from runway_streams.times import DAY
from tests.clock import Clock

NOW = 1_700_000_000_000
DIGEST = digest_of("POST", "/v1/models", b"{}")
ANSWER = StoredAnswer(201, {"ETag": '"1"'}, b'{"a":1}')


@pytest.fixture
def clock():
    return Clock(NOW)


async def post(registry, *, principal="key:a", key="k", digest=DIGEST, duty="d", fail=False):
    """A POST that adds a lease; which answers whether it ran, and what it answered."""
    async with registry.change(principal) as change:
        stored = await begin(change, principal, key, digest)
        if stored:
            return False, stored
        await change.execute(leases.insert().values(duty=duty, holder=principal, until=1))
        await asyncio.sleep(0.01)
        if fail:
            raise ZeroDivisionError
        await finish(change, principal, key, ANSWER)
        return True, ANSWER


async def count_of(registry, table):
    async with registry.read() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(table))


async def test_a_repeat_is_answered_as_before_and_does_nothing(registry):
    assert await post(registry) == (True, ANSWER)
    assert await post(registry) == (False, ANSWER)
    assert await count_of(registry, leases) == 1


async def test_of_many_at_one_moment_in_several_processes_one_runs(registry, database_url, tmp_path):
    other = Database.open(database_url, tmp_path, MIGRATIONS)
    both = (registry, Registry(other, registry.now, registry.check_settings))
    found = await asyncio.gather(*(post(both[n % 2]) for n in range(12)))
    assert sorted(ran for ran, _ in found) == [False] * 11 + [True]
    assert all(answer == ANSWER for _, answer in found)
    assert await count_of(registry, leases) == 1
    await other.close()


async def test_one_that_fails_leaves_nothing_and_may_be_tried_again(registry):
    with pytest.raises(ZeroDivisionError):
        await post(registry, fail=True)
    assert await count_of(registry, idempotency) == 0
    assert await post(registry) == (True, ANSWER)


async def test_while_one_fails_another_that_waits_for_it_runs(registry):
    has_begun, may_fail = asyncio.Event(), asyncio.Event()

    async def fail():
        async with registry.change("key:a") as change:
            assert await begin(change, "key:a", "k", DIGEST) is None
            has_begun.set()
            await may_fail.wait()
            raise ZeroDivisionError

    failing = asyncio.create_task(fail())
    await has_begun.wait()
    waiting = asyncio.create_task(post(registry))
    await asyncio.sleep(0.05)  # so that it waits, as a rule; what comes out is the same if not
    may_fail.set()
    with pytest.raises(ZeroDivisionError):
        await failing
    assert await waiting == (True, ANSWER)


async def test_the_key_of_another_request_is_refused(registry):
    await post(registry)
    with pytest.raises(Mismatch):
        await post(registry, digest=digest_of("POST", "/v1/models", b"{ }"))


async def test_keys_are_a_principals_own(registry):
    await post(registry)
    assert await post(registry, principal="key:b", duty="e") == (True, ANSWER)
    assert await post(registry, principal="key:", key="ak", duty="f") == (True, ANSWER)


async def test_an_answer_is_kept_for_a_day(registry, clock):
    await post(registry)
    clock.ms += DAY - 1
    assert await post(registry) == (False, ANSWER)
    async with registry.change("system") as change:
        assert await clear_answers(change) == 0
    clock.ms += 1
    assert await post(registry, duty="e") == (True, ANSWER)
    clock.ms += DAY
    async with registry.change("system") as change:
        assert await clear_answers(change) == 1


async def test_a_request_without_a_known_end_is_not_done_again(registry):
    async with registry.change("key:a") as change:
        await begin(change, "key:a", "k", DIGEST)
    with pytest.raises(Conflict):
        await post(registry)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\n", "ä", "a\0"])
def test_keys_are_short_and_printable(key):
    with pytest.raises(Invalid):
        check_key(key)
