"""The speed view: follows `runway.metrics` into a SpeedStore, and knows how complete that is."""

import asyncio
import logging
from collections.abc import Callable

from aiokafka import ConsumerRecord

from api.speed_store import KEEP_HOURS, SpeedStore
from runway_streams.background import Background
from runway_streams.config import Config
from runway_streams.errors import RunwayError
from runway_streams.times import HOUR, MINUTE
from runway_streams.topic_reader import TopicReader, open_topic

RETRY_LIMIT_S = 10.0
TIDY_MS = MINUTE
BREATH = 500
"""Records that are taken in before others get a turn on the event loop: about 2 ms."""

Clock = Callable[[], int]
_log = logging.getLogger(__name__)


class SpeedView(Background):
    """Reads all partitions, committed records alone, without a consumer group; starts over when the connection is lost.

    It begins at the oldest log hour that the batch does not own, for nothing about an hour is written before it. `ready`
    once it has read to the ends as they were at its start. `complete_from` is the first log hour that the topic still
    has whole; None where nothing was ever deleted.
    """

    task_name = "speed view"

    def __init__(self, config: Config, now: Clock, owned_before: Callable[[], int | None]):
        self.store = SpeedStore()
        self.ready = False
        self.problem = "runway.metrics was not read yet"
        self.complete_from: int | None = None
        self.partitions = 0
        self._config, self._now, self._owned_before = config, now, owned_before
        self._tidied = 0

    async def _run(self) -> None:
        wait = 0.5
        while True:
            try:
                async with open_topic(self._config, "metrics") as topic:
                    await self._follow(topic)
            except RunwayError as error:
                wait = min(2 * wait, RETRY_LIMIT_S) if self.problem else 0.5
                self.problem = str(error)
                _log.warning("Speed view: %s Trying again in %.1f s.", error, wait)
            await asyncio.sleep(wait)

    async def _follow(self, topic: TopicReader) -> None:
        """Reads into a new store and puts it in the old one's place once it is as far: answers never go back."""
        store = SpeedStore()
        self.partitions = len(topic.partitions)
        self.complete_from = await _complete_from(topic)
        await topic.seek_to_time(self._read_from())
        ends = await topic.consumer.end_offsets(topic.partitions)
        while not await topic.reached(ends):
            await self._take(store, await topic.poll())
        self.store, self.ready, self.problem = store, True, ""
        while True:
            await self._take(store, await topic.poll(timeout_ms=100))
            await self._tidy(store)

    async def _take(self, store: SpeedStore, records: list[ConsumerRecord]) -> None:
        for first in range(0, len(records), BREATH):
            for record in records[first : first + BREATH]:
                store.apply(record.partition, record.key, record.value)
            await asyncio.sleep(0)

    async def _tidy(self, store: SpeedStore) -> None:
        now = self._now()
        if now - self._tidied < TIDY_MS:
            return
        self._tidied = now
        for _ in store.tidy(now, self._owned_before()):
            await asyncio.sleep(0)

    def _read_from(self) -> int:
        hours = [self._now() // HOUR - KEEP_HOURS, self._owned_before() or 0]
        return max(min(hours), 0) * HOUR


async def _complete_from(topic: TopicReader) -> int | None:
    """A record about log hour h is written in h or later, so all hours after the oldest record's are whole."""
    begins = await topic.consumer.beginning_offsets(topic.partitions)
    if not any(begins.values()):
        return None
    oldest = await topic.consumer.offsets_for_times(dict.fromkeys(topic.partitions, 0))
    times = [place.timestamp for partition, place in oldest.items() if place is not None and begins[partition]]
    return max(times) // HOUR + 1 if times else None
