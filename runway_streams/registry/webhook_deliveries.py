"""Webhook deliveries: which ones were taken, remembered for all processes as long as a copy would not be refused for its age."""

from runway_streams.database import insert_new
from runway_streams.registry.changes import Registry
from runway_streams.registry.mlflow.sink import ACTOR
from runway_streams.registry.mlflow.webhook import Delivery
from runway_streams.registry.tables import webhook_deliveries


class StoredDeliveries:
    """See `mlflow/webhook.py`'s `Deliveries`: one process of all claims a delivery."""

    def __init__(self, registry: Registry):
        self._registry = registry

    async def claim(self, delivery: Delivery, now: float) -> bool:
        """See Deliveries; forgets what lies behind its `until`."""
        async with self._registry.change(ACTOR) as change:
            over = webhook_deliveries.c.until < round(now * 1000)
            await change.execute(webhook_deliveries.delete().where(over))
            row = {"delivery_id": delivery.id, "until": round(delivery.until * 1000)}
            return await insert_new(change.connection, webhook_deliveries, **row)

    async def release(self, delivery: Delivery) -> None:
        """See Deliveries."""
        async with self._registry.change(ACTOR) as change:
            mine = webhook_deliveries.c.delivery_id == delivery.id
            await change.execute(webhook_deliveries.delete().where(mine))
