"""Leases, on both databases: one holder at a time, whoever asks and however many."""

import asyncio

import pytest

from runway_streams.errors import DependencyDown
from runway_streams.registry import leases
from runway_streams.registry.leases import Lease, LostLease

DUTY = "d"


async def take(registry, holder, for_ms=10_000):
    async with registry.change("test") as change:
        return await leases.take(change, DUTY, holder, for_ms)


async def test_a_duty_is_held_renewed_and_taken_over_once_its_time_has_run_out(registry, clock):
    assert await take(registry, "a")
    assert not await take(registry, "b")
    clock.ms += 9_000
    assert await take(registry, "a")
    clock.ms += 9_999
    assert not await take(registry, "b")
    clock.ms += 1
    assert await take(registry, "b")
    assert not await take(registry, "a")


async def test_a_duty_that_is_let_go_is_free_and_only_its_holder_lets_go(registry):
    assert await take(registry, "a")
    async with registry.change("test") as change:
        await leases.release(change, DUTY, "b")
    assert not await take(registry, "b")
    async with registry.change("test") as change:
        await leases.release(change, DUTY, "a")
    assert await take(registry, "b")


async def test_renewing_what_another_has_taken_over_is_refused(registry, clock):
    await take(registry, "a")
    clock.ms += 20_000
    async with registry.change("test") as change:
        await leases.renew(change, DUTY, "a", 10_000)  # late, but nobody was faster
    clock.ms += 20_000
    await take(registry, "b")
    with pytest.raises(LostLease):
        async with registry.change("test") as change:
            await leases.renew(change, DUTY, "a", 10_000)


async def test_of_many_at_once_one_takes_a_new_duty_and_one_takes_over_an_old_one(registry, clock):
    for _ in range(3):
        won = await asyncio.gather(*(take(registry, str(number)) for number in range(20)))
        assert won.count(True) == 1
        clock.ms += 10_000


async def test_work_ends_when_the_lease_is_lost(registry, clock):
    lease = Lease(registry, DUTY, "a", 60)
    assert await lease.take()
    ended = asyncio.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    working = asyncio.create_task(lease.while_held(work()))
    await asyncio.sleep(0.1)
    assert not await take(registry, "b"), "it is renewed beside the work"
    clock.ms += 60
    assert await take(registry, "b")
    with pytest.raises(LostLease):
        await asyncio.wait_for(working, 5)
    assert ended.is_set()


@pytest.mark.parametrize("error", [DependencyDown("Kafka is away."), ZeroDivisionError()])
async def test_what_the_work_raises_comes_out(registry, error):
    async def work():
        raise error

    with pytest.raises(type(error)):
        await Lease(registry, DUTY, "a", 1_000).while_held(work())
