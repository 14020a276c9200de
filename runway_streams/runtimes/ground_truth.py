"""The ground-truth worker: its partitions, their emitters, and what it says of itself."""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced
from faust.types import TP

from agents.dead_letters import DeadLetters
from agents.ground_truth import ground_truth
from agents.metrics import MetricsEmitter
from batch.archived_log import ArchivedLog
from batch.lake import open_lake
from runway_streams.allocator import give_back_freed_memory
from runway_streams.config import Config, kafka_client_options
from runway_streams.errors import Refused
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS
from runway_streams.ground_truth.recovery import TOPICS
from runway_streams.partitioner_check import PartitionerCheck
from runway_streams.runtimes.checkpoint_uploads import CheckpointUploads
from runway_streams.runtimes.runtime import START_LIMIT_S, Runtime, wall_ms
from runway_streams.times import MINUTE
from tables.checkpoints import Checkpoints
from tables.open_partitions import BAD_SHARE, OpenPartition, OpenPartitions
from tables.partition_store import Memory

AHEAD_LIMIT = 10 * MINUTE
"""How far one topic may be read ahead of the other, in log time, while the other still has something to read."""
TELL_EVERY_S = 60.0
LOSSES = {
    "other": "%d events are counted under __other__: more models, versions and segments are open than are kept. "
    "See whether a producer makes up ids.",
    "segments_dropped": "%d segment values were not kept: declare the keys that matter in the model's settings.",
    "unbelieved": "%d events have a log time more than a day ahead of this machine's clock; they are taken as of the last one "
    "that is not. Look at the brokers' clocks, and at this one.",
    "gaps": "%d offsets are missing in the log and were stepped over.",
}
IDLE_EVERY_S = 1.0
"""A partition without new events writes its mark this often."""
HOURLY_EVERY_S = 60.0
HOURLY_SOON_S = 5.0
HOURLY_FEW = 500
"""Histograms are emitted once a minute; where only so few have changed, after five seconds."""
STOP_READING_AFTER_S = 10.0
"""After this long without a successful emission no further batches are taken: an emission is never dropped."""
_log = logging.getLogger(__name__)


class GroundTruthRuntime(Runtime):
    """Predictions and outcomes into rows, accumulators and `runway.metrics`."""

    def __init__(self, app: Any, config: Config, now: Callable[[], int] = wall_ms):
        super().__init__(app, config, now)
        memory = Memory.of(config.state_memory_mib)
        self.partitions = OpenPartitions(config.state_dir / "partitions", self.settings.history, self.names, memory)
        self.partitions.written_in = config.written_in
        self.emitters: dict[int, MetricsEmitter] = {}
        self.uploads: CheckpointUploads | None = None
        self.accept_gap = config.accept_gap
        self.fenced = 0
        self.partitioners = PartitionerCheck(0)
        self._told_partitioners = False
        self._told_losses: dict[str, int] = {}
        self._told_losses_at = 0.0
        self._failing_since: dict[int, float] = {}
        self._producer: AIOKafkaProducer | None = None
        self._dead_letters: DeadLetters | None = None

    async def connect(self) -> None:
        await self.log.start()
        lake = open_lake(self.config.archive_url)
        self.partitions.archive = ArchivedLog(lake, self.settings.history, self.config.state_dir / "replay")
        if self.config.checkpoint_every_s:
            self.partitions.checkpoints = Checkpoints(lake, self.log.cluster_id)
            self.uploads = CheckpointUploads(self.partitions.checkpoints, self.config.checkpoint_every_s, self.now)
        self._producer = AIOKafkaProducer(**kafka_client_options(self.config), acks="all", enable_idempotence=True)
        await self._producer.start()
        self._dead_letters = DeadLetters(self._producer, self.config.topic("dead-letters"))

    async def disconnect(self) -> None:
        await self.log.stop()
        if self._producer is not None:
            await self._producer.stop()

    async def open(self, numbers: set[int]) -> dict[int, dict[str, int]]:
        new = {number for number in numbers if self.partitions.get(number) is None}
        if any(number >= self.log.partitions for number in new):
            await self.log.describe()  # partitions were added: the states will refuse to go on
        emitters = {number: MetricsEmitter(self.config, number) for number in new if self.partitions.claim(number)}
        try:
            # The former owners are fenced now: what they have emitted by then is what our state must reach.
            await asyncio.gather(*(emitter.start() for emitter in emitters.values()))
            marks = await self.log.marks(set(emitters)) if emitters else {}
            for number, emitter in sorted(emitters.items()):
                if await self.partitions.open(number, self.log, marks.get(number), self.accept_gap, self.now()):
                    self.emitters[number] = emitter
        finally:
            unused = [emitter for number, emitter in emitters.items() if self.emitters.get(number) is not emitter]
            await asyncio.gather(*(emitter.stop() for emitter in unused))
        return {number: self.partitions.positions(number) for number in numbers if self.partitions.get(number)}

    async def keep(self, numbers: set[int]) -> None:
        self.partitions.forget_refused(numbers)
        closing = [opened.number for opened in self.partitions if opened.number not in numbers]
        for number in closing:
            await self._close(number)
        if closing:
            give_back_freed_memory()

    async def _close(self, number: int) -> None:
        opened = self.partitions.get(number)
        assert opened is not None
        if self.uploads:
            self.uploads.stop()
        # First: an emission under way still needs the state.
        emitter = self.emitters.pop(number, None)
        if emitter is not None:
            await emitter.stop()
        async with opened.lock:
            self.partitions.close(number)
        self._failing_since.pop(number, None)

    async def consume(self, batches: AsyncIterable[Any]) -> None:
        await self._started.wait()
        assert self._dead_letters is not None
        self.partitioners = PartitionerCheck(self.log.partitions)
        short_name = self.short_names.__getitem__
        await ground_truth(batches, self.partitions, self._dead_letters, self, short_name, self.partitioners)

    async def tick(self) -> float:
        """Commits and emits every partition."""
        differing = self.partitioners.problem()
        if differing and not self._told_partitioners:
            _log.error(differing)
        self._told_partitioners = differing is not None
        self._tell_losses()
        return sum(await asyncio.gather(*(self._commit_and_emit(opened) for opened in self.partitions)))

    def _tell_losses(self) -> None:
        """Says, at most once a minute, what has lost its own place since it was last said."""
        now = time.monotonic()
        if now - self._told_losses_at < TELL_EVERY_S:
            return
        self._told_losses_at = now
        for name, sentence in LOSSES.items():
            total = sum(opened.partition.state.counters.get(name, 0) for opened in self.partitions)
            grown = total - self._told_losses.get(name, 0)
            if grown > 0 and name in self._told_losses:
                _log.error(sentence, grown)
            self._told_losses[name] = total

    def held(self) -> bool:
        """True while `runway.metrics` has been down for a while: then reading stops."""
        oldest = min(self._failing_since.values(), default=None)
        return oldest is not None and time.monotonic() - oldest > STOP_READING_AFTER_S

    def even(self, tps: set[TP] | None) -> set[TP] | None:
        """Leaves out a topic that was read far ahead of the other, while the other has more to read."""
        if not tps:
            return tps
        ahead = {tp for opened in self.partitions if (tp := self._ahead(opened)) is not None}
        return (tps - ahead) or tps

    def problems(self) -> list[str]:
        found = [f"Partition {number} is refused. {why}" for number, why in self.partitions.refused.items()]
        found += self.unreadable()
        if not self._started.is_set():
            found.append("The worker is starting.")
        if self.held():
            found.append("runway.metrics cannot be written; reading has stopped.")
        if differing := self.partitioners.problem():
            found.append(differing)
        for opened in self.partitions:
            share = opened.bad_share()
            if share > BAD_SHARE:
                found.append(
                    f"Partition {opened.number}: {share:.0%} of the last events are bad (limit {BAD_SHARE:.0%}); "
                    f"see {self.config.topic('dead-letters')}."
                )
        return found

    def _ahead(self, opened: OpenPartition) -> TP | None:
        times = opened.partition.state.log_times
        predictions, outcomes = times.get(PREDICTIONS), times.get(OUTCOMES)
        if predictions is None or outcomes is None or abs(predictions - outcomes) <= AHEAD_LIMIT:
            return None
        ahead, behind = (PREDICTIONS, OUTCOMES) if predictions > outcomes else (OUTCOMES, PREDICTIONS)
        if self.consumer._thread.read_to_end_at(TP(self.names[behind], opened.number)):
            return None
        return TP(self.names[ahead], opened.number)

    async def _commit_and_emit(self, opened: OpenPartition) -> float:
        for topic in TOPICS:
            tp = TP(self.names[topic], opened.number)
            offset = opened.partition.next_offset(topic) or 0
            self.note_progress(tp, offset)
            until = self.idle_until(tp, offset)
            if until is not None:
                opened.partition.idle(topic, until)
        idle = not opened.partition.uncommitted and not opened.partition.outbox
        if idle and time.monotonic() - opened.last_emitted < IDLE_EVERY_S:
            return 0.0
        async with opened.lock:
            if self.partitions.get(opened.number) is not opened or not opened.whole:
                return 0.0
            began = time.monotonic()
            with opened.changing():
                opened.partition.commit()
            busy = time.monotonic() - began
        emitter = self.emitters.get(opened.number)
        if emitter is not None and opened.may_emit():
            await self._emit(opened, emitter)
        return busy

    async def _emit(self, opened: OpenPartition, emitter: MetricsEmitter) -> None:
        now = time.monotonic()
        waits = HOURLY_SOON_S if len(opened.partition.hourly_outbox) <= HOURLY_FEW else HOURLY_EVERY_S
        hourly = now - opened.last_full >= waits
        try:
            await emitter.emit(opened.partition, hourly)
        except ProducerFenced:
            if self.emitters.get(opened.number) is not emitter:
                return  # a rebalance came in between: the partition is another's
            self.fenced += 1
            raise Refused(
                f"Another worker owns partition {opened.number} now; this one was away too long and ends.",
                "Nothing is lost: start it again, it will join the group anew.",
            ) from None
        except (KafkaError, TimeoutError, OSError) as error:
            if self.emitters.get(opened.number) is not emitter:
                return
            self._failing_since.setdefault(opened.number, now)
            _log.warning("Partition %d: runway.metrics cannot be written (%r); trying again.", opened.number, error)
            await self._renew(opened.number)
            return
        self._failing_since.pop(opened.number, None)
        opened.last_emitted = now
        if hourly:
            opened.last_full = now
        if self.uploads:
            self.uploads.offer(opened.number, opened.store, now)

    async def _renew(self, number: int) -> None:
        """A transactional producer that failed cannot go on; a new one takes its id."""
        former = self.emitters.pop(number, None)
        if former is None:
            return
        replacement = MetricsEmitter(self.config, number)
        self.emitters[number] = replacement
        try:
            await former.stop()
            async with asyncio.timeout(START_LIMIT_S):
                await replacement.start()
        except (KafkaError, TimeoutError, OSError) as error:
            _log.warning("Partition %d: no new producer yet: %r", number, error)
