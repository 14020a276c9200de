"""The models' topic -> runway.models: its one writer, who fences whoever was it before and knows the last record of every model."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from runway_streams.config import Config, kafka_client_options
from runway_streams.ground_truth.model_settings_store import read_changes
from runway_streams.kafka_down import kafka_errors
from runway_streams.topic_reader import open_topic
from schemas.model_settings import ModelSettings

TIMEOUT_MS = 10_000
"""After this the broker gives a transaction up."""
START_LIMIT_S = 20.0
READ_LIMIT_S = 60.0
STOP_LIMIT_S = 3.0
_ending: set[asyncio.Task] = set()
"""The loop alone would forget them."""
_log = logging.getLogger(__name__)


class ModelsTopic:
    """Writes records in transactions. Bound: it holds what the topic holds, the last record of each model, as bytes."""

    def __init__(self, config: Config, producer: AIOKafkaProducer, records: dict[str, bytes]):
        self.records = records
        self._topic, self._producer = config.topic("models"), producer

    def changes(self, model_id: str) -> list[ModelSettings]:
        """The published changes of a model, newest last, without those that cannot be read."""
        changes, problems = read_changes(self.records.get(model_id, b"[]"))
        for problem in problems:
            _log.error("%s: of %s is left out, and gone with the next change: %s", self._topic, model_id, problem)
        return changes

    async def write(self, records: Mapping[str, bytes]) -> None:
        """Writes all records or none. After an error nobody knows which: the topic must be opened again, which settles it."""
        await self._producer.begin_transaction()
        sent = [await self._producer.send(self._topic, value, key=key.encode()) for key, value in records.items()]
        await asyncio.gather(*sent)
        await self._producer.commit_transaction()
        self.records.update(records)


@asynccontextmanager
async def open_models(config: Config) -> AsyncIterator[ModelsTopic]:
    """Begins to be the writer: `init_transactions` fences the former one and ends what it has begun; then the topic is read, and
    what it says stays true. Raises DependencyDown where Kafka does not answer, also while it is used."""
    producer = AIOKafkaProducer(
        **kafka_client_options(config),
        transactional_id=f"{config.topic_prefix}registry-outbox",
        transaction_timeout_ms=TIMEOUT_MS,
        request_timeout_ms=TIMEOUT_MS,
        acks="all",
        max_request_size=1 << 20,
    )
    async with kafka_errors(config):
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await producer.start()
            async with asyncio.timeout(READ_LIMIT_S):
                records = await _read(config)
            yield ModelsTopic(config, producer, records)
        finally:
            await _end(producer)


async def _end(producer: AIOKafkaProducer) -> None:
    """Ends a producer, as soon as Kafka is there where it is not: a client that waits for its answer cannot be stopped. Whatever
    it has begun comes to nothing, for the next writer fences it."""
    ending = asyncio.create_task(producer.stop())
    _ending.add(ending)
    ending.add_done_callback(_ending.discard)
    await asyncio.wait([ending], timeout=STOP_LIMIT_S)


async def _read(config: Config) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    async with open_topic(config, "models") as topic:
        async for record in topic.to_end():
            key = (record.key or b"").decode(errors="replace")
            if record.value is None:
                records.pop(key, None)
            else:
                records[key] = record.value
    return records
