"""Deliveries in the database: one process of all takes each, and they are forgotten when a copy would be too old."""

import asyncio

import pytest
import sqlalchemy as sa

from runway_streams.registry.changes import Registry
from runway_streams.registry.mlflow.webhook import Delivery
from runway_streams.registry.tables import webhook_deliveries
from runway_streams.registry.webhook_deliveries import StoredDeliveries


@pytest.fixture
def registry(database):
    return Registry(database, lambda: 0, lambda settings: None)


async def test_of_many_that_claim_one_gets_it_until_it_is_released(registry):
    delivery = Delivery("a", 1_300.0)
    claims = await asyncio.gather(*(StoredDeliveries(registry).claim(delivery, 1_000.0) for _ in range(10)))
    assert claims.count(True) == 1
    await StoredDeliveries(registry).release(delivery)
    assert await StoredDeliveries(registry).claim(delivery, 1_000.0)


async def test_what_would_be_too_old_is_forgotten(registry):
    deliveries = StoredDeliveries(registry)
    for number in range(5):
        assert await deliveries.claim(Delivery(str(number), 1_300.0), 1_000.0)
    assert not await deliveries.claim(Delivery("0", 1_300.0), 1_300.0), "it would still be genuine"
    assert await deliveries.claim(Delivery("later", 1_700.0), 1_301.0)
    async with registry.read() as connection:
        assert list(await connection.scalars(sa.select(webhook_deliveries.c.delivery_id))) == ["later"]
