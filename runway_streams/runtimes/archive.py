"""The archive worker: its open segments."""

import logging
from collections.abc import AsyncIterable, Callable
from typing import Any

from faust.types import TP

from agents.archive import SegmentWriters, archive
from runway_streams.config import Config
from runway_streams.errors import Refused
from runway_streams.ground_truth.recovery import TOPICS, refuse_new_log
from runway_streams.runtimes.runtime import Runtime, wall_ms

_log = logging.getLogger(__name__)


class ArchiveRuntime(Runtime):
    """Predictions and outcomes into Parquet segments."""

    def __init__(self, app: Any, config: Config, now: Callable[[], int] = wall_ms):
        super().__init__(app, config, now)
        self.writers = SegmentWriters(config, now)
        self.refused: dict[int, Refused] = {}

    async def connect(self) -> None:
        await self.log.start()

    async def disconnect(self) -> None:
        await self.log.stop()

    async def log_begin(self, topic: str, partition: int) -> int:
        """The first offset that the log still has."""
        return (await self.log.ranges(partition))[topic].begin

    async def open(self, numbers: set[int]) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {}
        for number in sorted(numbers):
            try:
                starts = {topic: await self.writers.open(topic, number) for topic in TOPICS}
                log = await self.log.ranges(number)
                for topic in TOPICS:
                    refuse_new_log(self.names[topic], number, self.writers.archived(topic, number), log[topic].end)
                found[number] = starts
                self.refused.pop(number, None)
            except Refused as refused:
                _log.error("Partition %d is refused. %s", number, refused)
                self.refused[number] = refused
        self.writers.keep(found.keys())
        return found

    async def keep(self, numbers: set[int]) -> None:
        self.refused = {number: why for number, why in self.refused.items() if number in numbers}
        self.writers.keep(numbers)

    async def consume(self, batches: AsyncIterable[Any]) -> None:
        await self._started.wait()
        await archive(batches, self.writers, self.settings.history, self, self.short_names.__getitem__)

    async def tick(self) -> float:
        """Tells how far idle topics have come, and flushes what a final batch asked for."""
        for topic, number in self.writers.open_ones():
            tp, offset = TP(self.names[topic], number), self.writers.next_offset(topic, number)
            self.note_progress(tp, offset)
            until = self.idle_until(tp, offset)
            if until is not None:
                await self.writers.idle(topic, number, until)
        await self.writers.answer_flush_request()
        return 0.0

    def problems(self) -> list[str]:
        found = [f"Partition {number} is refused. {why}" for number, why in self.refused.items()]
        found += self.unreadable()
        return found if self._started.is_set() else [*found, "The worker is starting."]
