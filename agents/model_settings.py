"""The registry's outbox -> runway.models: every change of a model's settings, published once, with the moment it applies from.

A change applies at least a minute after it is published, and that moment never changes once a worker may have seen it. So it
is decided, and kept, just before the transaction to Kafka; whoever begins to be the relay ends what the one before has begun,
reads the topic, and then

- a waiting change whose moment is in the topic is published: it is marked;
- any other is in no worker's hands: its moment is decided anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from agents.models_topic import ModelsTopic, open_models
from runway_streams.config import Config
from runway_streams.duty import Duty
from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.ground_truth.model_settings_store import effective, encode_changes
from runway_streams.registry import outbox
from runway_streams.registry.changes import Registry
from runway_streams.telemetry import Relayed
from schemas.model_settings import ModelSettings

BATCH = 100
"""Models of one transaction."""
BATCH_BYTES = 8 << 20
LOOKED_AT = 1_000
"""Waiting models that are looked at for a batch."""
POLL_S = 0.5
PUBLISH_S = 10.0
"""From the decision to the end of the transaction; beyond this it is given up. The minute is counted from the end of this."""

Seen = Callable[[str], Awaitable[bool]]
"""Whether events of a model were counted. Raises DependencyDown where that is not known yet."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A model's newest waiting change, which no worker knows."""

    model_id: str
    seq: int
    settings: ModelSettings
    seen: bool


@dataclass(slots=True)
class Batch:
    """What is to be done: changes up to a `seq` that the topic has, by model; and what it does not have."""

    found: dict[str, int] = field(default_factory=dict)
    fresh: list[Fresh] = field(default_factory=list)


@dataclass(slots=True)
class Decided:
    """The records to be written, and up to which `seq` each has its model's changes."""

    records: dict[str, bytes] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)


class SettingsRelay(Duty):
    """Publishes what waits in the outbox. Runs in every API process; one of them at a time does the work.

    While Kafka or the database is away, changes wait. One that cannot be published yet does not keep those of other models back.
    """

    task_name = "settings relay"
    duty = "settings-relay"

    def __init__(self, registry: Registry, config: Config, seen: Seen, holder: str):
        super().__init__(registry, holder)
        self.published = 0
        self._config, self._seen = config, seen
        self._waiting = 0
        self._oldest: int | None = None
        self._left: dict[str, str] = {}

    def relayed(self) -> Relayed:
        """What telemetry shows."""
        age = 0.0 if self._oldest is None else max(0.0, (self.registry.now() - self._oldest) / 1000)
        return Relayed(waiting=self._waiting, oldest_s=age, published=self.published)

    async def _beside(self) -> None:
        async with self.registry.read() as connection:
            self._waiting, self._oldest = await outbox.backlog(connection)

    async def _work(self) -> None:
        async with open_models(self._config) as topic:
            await self.restore(topic)
            while True:
                busy = await self.relay(topic)
                await self._beside()
                self.left_out = next(iter(self._left.values()), "")
                self._went_well()
                if not busy:
                    await asyncio.sleep(POLL_S)

    async def relay(self, topic: ModelsTopic) -> bool:
        """Publishes one batch, and says whether there was anything to publish."""
        batch = await self.look(topic)
        await self.mark(batch.found)
        async with asyncio.timeout(PUBLISH_S):
            decided = await self.decide(topic, batch.fresh)
            if decided.records:
                await topic.write(decided.records)
        await self.mark(decided.seqs)
        return bool(batch.found or decided.records)

    async def restore(self, topic: ModelsTopic) -> None:
        """Publishes again, as they were, the changes of models that the topic has lost: it was made anew, say."""
        async with self.registry.read() as connection:
            lost = [name for name in await outbox.published_models(connection) if name not in topic.records]
        for start in range(0, len(lost), BATCH):
            async with self.registry.read() as connection:
                changes = {name: await outbox.published_of(connection, name) for name in lost[start : start + BATCH]}
            async with asyncio.timeout(PUBLISH_S):
                await topic.write({name: encode_changes(some) for name, some in changes.items()})

    async def look(self, topic: ModelsTopic) -> Batch:
        """What waits, the longest waiting first, and what of it the topic has."""
        async with self.registry.read() as connection:
            models = await outbox.waiting(connection, LOOKED_AT)
            rows = await outbox.waiting_of(connection, models)
        found, missing = compare(rows, lambda model_id: {change.effective_from for change in topic.changes(model_id)})
        self._left = {}
        chosen = await self._choose(topic, missing)
        async with self.registry.read() as connection:
            settings = await outbox.settings_at(connection, [missing[model_id] for model_id in chosen])
        fresh = [
            Fresh(model_id, missing[model_id], settings[missing[model_id]], seen)
            for model_id, seen in chosen.items()
            if missing[model_id] in settings  # else somebody has published it meanwhile
        ]
        return Batch(found, fresh)

    async def _choose(self, topic: ModelsTopic, missing: Iterable[str]) -> dict[str, bool]:
        """The first models for which it is known whether they were seen, and whether they were."""
        chosen: dict[str, bool] = {}
        for model_id in missing:
            if len(chosen) == BATCH:
                break
            try:
                chosen[model_id] = model_id in topic.records or await self._seen(model_id)
            except DependencyDown as error:
                self._left[model_id] = str(error)
        return chosen

    async def decide(self, topic: ModelsTopic, fresh: list[Fresh]) -> Decided:
        """Notes from when on the changes apply, as long as the duty is ours."""
        decided = Decided()
        if not fresh:
            return decided
        async with self.registry.change(self.duty) as change:
            await self.lease.renew(change)
            size = 0
            for one in fresh:
                changes = topic.changes(one.model_id)
                new = applying(one, changes, change.now)
                try:
                    record = encode_changes([*changes, new])
                except RunwayError as error:
                    self._left[one.model_id] = str(error)
                    continue
                size += len(record)
                if size > BATCH_BYTES and decided.records:
                    break
                if not await outbox.decide(change, one.model_id, one.seq, new.effective_from or 0):
                    continue
                decided.records[one.model_id], decided.seqs[one.model_id] = record, one.seq
        return decided

    async def mark(self, seqs: dict[str, int]) -> None:
        """Notes that the topic has each model's changes up to a `seq`, as long as the duty is ours."""
        if not seqs:
            return
        async with self.registry.change(self.duty) as change:
            await self.lease.renew(change)
            count = [await outbox.mark_published(change, model_id, seq) for model_id, seq in seqs.items()]
        self.published += sum(count)


def applying(one: Fresh, changes: list[ModelSettings], now: int) -> ModelSettings:
    """The settings with the moment from which they apply: a minute after they are surely published, and after those before.

    >>> one = Fresh("m", 1, ModelSettings("m"), seen=True)
    >>> applying(one, [], 5).effective_from, applying(one, [ModelSettings("m", effective_from=90_000)], 5).effective_from
    (70005, 90001)
    """
    new = effective(one.settings, one.seen, now + round(PUBLISH_S * 1000))
    last = max((change.effective_from or 0 for change in changes), default=-1)
    return msgspec.structs.replace(new, effective_from=max(new.effective_from or 0, last + 1))


def compare(
    rows: Iterable[outbox.Waiting], moments: Callable[[str], set[int | None]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Which waiting changes the topic has, and which not: by model, the last of either. `moments` are those that it has.

    >>> rows = [outbox.Waiting("a", 1, 60), outbox.Waiting("a", 2, None), outbox.Waiting("b", 3, 70)]
    >>> compare(rows, lambda model_id: {0, 60})
    ({'a': 1}, {'a': 2, 'b': 3})
    """
    found: dict[str, int] = {}
    missing: dict[str, int] = {}
    known: dict[str, set[int | None]] = {}
    for row in rows:
        if row.effective_from is not None and row.model_id not in known:
            known[row.model_id] = moments(row.model_id)
        if row.effective_from is not None and row.effective_from in known[row.model_id]:
            found[row.model_id] = row.seq
        else:
            missing[row.model_id] = row.seq
    return found, missing
