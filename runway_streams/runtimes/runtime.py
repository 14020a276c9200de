"""Runtime: what every worker holds beside its Faust app, opened on assignment, closed on revocation, ticking twice a second."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable
from typing import Any

from faust.types import TP

from runway_streams.batch_consumer import BatchConsumer
from runway_streams.config import Config
from runway_streams.errors import DependencyDown, Refused
from runway_streams.ground_truth.model_settings_store import SettingsReader
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS
from runway_streams.ground_truth.recovery import TOPICS, refuse_new_log
from runway_streams.ground_truth.settings import NOTICE
from runway_streams.kafka_log import KafkaLog
from runway_streams.times import MINUTE
from runway_streams.topics import require_topics

IDLE_MARGIN = MINUTE
"""A topic that was read to its end is taken to have reached the wall time of the broker's last answer less this."""
START_LIMIT_S = 60.0
FRESH_LIMIT_S = 2.0
"""How long events wait for settings newer than they are; clocks that differ more than this must not stop the flow."""
UNEVEN_LIMIT_S = 20.0
"""For how long partitions that do not match are asked for again: a topic that is being made anew has none for a moment, and a
static member that comes back is given what it had then."""
STALL_S = 120.0
"""A topic-partition that has something to read but has not moved for this long makes the worker not alive."""
_log = logging.getLogger(__name__)


def wall_ms() -> int:
    """The wall clock in ms; the only clock of the workers."""
    return time.time_ns() // 1_000_000


class Runtime(ABC):
    """One worker's state and its connections. Subclasses say what is opened for a partition and done in a tick."""

    def __init__(self, app: Any, config: Config, now: Callable[[], int] = wall_ms):
        self.app, self.config, self.now = app, config, now
        self.names = {topic: config.topic(topic) for topic in TOPICS}
        self.short_names = {full: topic for topic, full in self.names.items()}
        self.settings = SettingsReader(config)
        self.log = KafkaLog(config)
        self._started = asyncio.Event()
        self._owning = asyncio.Lock()
        """Held by whoever changes what is open: Faust may ask for positions again, or revoke, while state is still opening."""
        self._moved: dict[TP, tuple[int, float]] = {}
        self._uneven_since: float | None = None

    @property
    def consumer(self) -> BatchConsumer:
        return self.app.consumer

    async def start(self) -> None:
        """Checks the topics, reads the models' settings to their end. Raises Refused with what to do."""
        await require_topics(self.config)
        self.settings.start()
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await self.settings.ready()
        except TimeoutError:
            raise DependencyDown(f"The models' settings could not be read: {self.settings.problem}.") from None
        await self.connect()
        self._started.set()

    async def stop(self) -> None:
        """Lets go of everything."""
        async with self._owning:
            await self.keep(set())
        await self.disconnect()
        await self.settings.stop()

    async def positions(self, tps: set[TP]) -> dict[TP, int]:
        """Opens the state of the assigned partitions, and no other, and tells where each topic goes on."""
        await self._started.wait()
        numbers = await self._same_partitions(tps)
        async with self._owning:
            await self.keep(numbers)
            opened = await self.open(numbers)
        if closed := {tp for tp in tps if tp.partition not in opened}:
            self.consumer.pause_partitions(closed)
        return {
            TP(self.names[topic], number): offset for number, offsets in opened.items() for topic, offset in offsets.items()
        }

    async def revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        """Closes the state: every rebalance revokes everything."""
        self._moved.clear()
        async with self._owning:
            await self.keep(set())

    async def may_process(self, log_time: int) -> bool:
        """Waits until the settings of this log time are known and nothing holds the flow; False where a rebalance came.

        Changes are announced a minute ahead, so a minute's lag would do; but a new model's first settings apply at once, and
        for them it waits until the settings were read after the events were written.
        """
        deadline = time.monotonic() + FRESH_LIMIT_S
        while self.held() or not self._knows_settings(log_time, time.monotonic() > deadline):
            if self.app.rebalancing or self.app.should_stop:
                return False
            await asyncio.sleep(0.02)
        return True

    def _knows_settings(self, log_time: int, late: bool) -> bool:
        return self.settings.fresh_until() >= (log_time - NOTICE if late else log_time)

    async def read_again(self, topic: str, partition: int, offset: int) -> int:
        """Seeks back to an offset that was dropped on the way, and numbers the seek; 0 where a rebalance came, after which the
        state's offsets are sought."""
        if self.app.rebalancing or self.app.should_stop:
            return 0
        _log.warning("%s-%d: reading again from offset %d: what came next was dropped on the way.", topic, partition, offset)
        return await self.consumer.read_again(TP(topic, partition), offset)

    async def refuse_new_log(self, topic: str, partition: int, reached: int) -> None:
        """Asked where a batch begins before the offset that was reached: a batch that was read twice does, and a topic that was
        deleted and made anew. Raises Refused in the second case, for its events would be taken for old ones."""
        refuse_new_log(topic, partition, reached, (await self.log.ranges(partition))[self.short_names[topic]].end)

    def idle_until(self, tp: TP, applied: int | None) -> int | None:
        """Up to which log time a topic-partition is known to be complete, where it was read and applied to its end."""
        told = self.consumer._thread.read_to_end_at(tp)
        delivered = self.consumer.delivered.get(tp)
        if told is None or (delivered is not None and (applied or 0) < delivered):
            return None
        return int(told[1]) - IDLE_MARGIN

    def note_progress(self, tp: TP, offset: int) -> None:
        """Remembers since when a topic-partition stands where it stands; at the log's end it may."""
        before = self._moved.get(tp)
        if before is None or before[0] != offset or self.held() or self._may_stand(tp):
            self._moved[tp] = (offset, time.monotonic())

    def _may_stand(self, tp: TP) -> bool:
        thread = self.consumer._thread
        return tp in thread.refused or thread.read_to_end_at(tp) is not None

    def stalled(self) -> list[str]:
        """What has something to read but does not move: restarting the worker helps, nothing is lost by it."""
        now = time.monotonic()
        return [
            f"{tp.topic}-{tp.partition} has stood at offset {offset} for {now - since:.0f} s with more to read."
            for tp, (offset, since) in self._moved.items()
            if now - since > STALL_S
        ]

    def even(self, tps: set[TP] | None) -> set[TP] | None:
        """Which topic-partitions to fetch: by default all."""
        return tps

    def unreadable(self) -> list[str]:
        """Which topic-partitions stand at a batch that cannot be read."""
        return [str(why) for why in self.consumer._thread.refused.values()] if self._started.is_set() else []

    def held(self) -> bool:
        """Whether the flow must wait."""
        return False

    async def _same_partitions(self, tps: set[TP]) -> set[int]:
        """The partitions given of both topics; none while the group is asked for others. Raises Refused where that is in vain."""
        by_topic = {full: {tp.partition for tp in tps if tp.topic == full} for full in self.short_names}
        predictions, outcomes = (by_topic[self.names[topic]] for topic in (PREDICTIONS, OUTCOMES))
        if predictions == outcomes:
            self._uneven_since = None
            return predictions
        now = time.monotonic()
        if self._uneven_since is None:
            self._uneven_since = now
        told = (
            f"The group gave this worker the partitions {sorted(predictions)} of the predictions but {sorted(outcomes)} of the "
            "outcomes."
        )
        if now - self._uneven_since > UNEVEN_LIMIT_S:
            raise Refused(
                told,
                "All workers of a group must run the same version, both topics need equal partition counts, and neither may be "
                "deleted while workers run: see `runway topics check`.",
            )
        _log.warning("%s Asking for others.", told)
        await self.consumer.ask_for_partitions_again()
        return set()

    @abstractmethod
    async def connect(self) -> None: ...
    @abstractmethod
    async def disconnect(self) -> None: ...
    @abstractmethod
    async def open(self, numbers: set[int]) -> dict[int, dict[str, int]]:
        """Opens partitions; returns where each topic goes on, without those that are refused."""

    @abstractmethod
    async def keep(self, numbers: set[int]) -> None:
        """Closes what is open, apart from these partitions."""

    @abstractmethod
    async def consume(self, batches: AsyncIterable[Any]) -> None: ...
    @abstractmethod
    async def tick(self) -> float:
        """What is done twice a second; returns for how many seconds it has held the event loop."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Why the worker is not ready, as sentences; empty where it is."""
