"""The store of model settings: the compacted topic `runway.models`, written by the registry's relay, followed by everyone.

A record's key is the model's id, its value the JSON array of the model's last 32 changes, newest last: compaction keeps
the last record of a key alone, and events of yesterday are read by the settings of yesterday.
"""

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from aiokafka import ConsumerRecord

from runway_streams.background import Background
from runway_streams.config import Config
from runway_streams.errors import RunwayError
from runway_streams.ground_truth.settings import NOTICE, Settings, SettingsHistory
from runway_streams.times import format_time
from runway_streams.topic_reader import TopicReader, open_topic
from schemas.model_settings import ModelSettings

CHANGES = SettingsHistory.CHANGES
REFRESH_S = 0.05
RETRY_LIMIT_S = 10.0
MAX_RECORD_BYTES = 1_000_000
"""32 changes with profiles must fit into one record; the oldest give way where they do not."""

Clock = Callable[[], int]
_log = logging.getLogger(__name__)
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_one = msgspec.json.Decoder(ModelSettings).decode


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def effective(settings: ModelSettings, seen: bool, now: int) -> ModelSettings:
    """The settings with the log time (ms) from which they apply.

    >>> effective(ModelSettings("m"), seen=False, now=5).effective_from
    0
    >>> effective(ModelSettings("m"), seen=True, now=5).effective_from
    60005
    """
    earliest = now + NOTICE if seen else 0
    asked = settings.effective_from
    if asked is not None and asked < earliest:
        raise RunwayError(
            f"effective_from of {settings.model_id}: {format_time(asked)} is earlier than {format_time(earliest)}.",
            "A model that already has events changes a minute ahead at the earliest: leave it out, or give a later time.",
        )
    return msgspec.structs.replace(settings, effective_from=earliest if asked is None else asked)


def encode_changes(changes: list[ModelSettings]) -> bytes:
    """The record's value: the last 32 changes, fewer where they would not fit into a record."""
    changes = sorted(changes, key=lambda change: change.effective_from or 0)[-CHANGES:]
    while True:
        value = msgspec.json.encode(changes)
        if len(value) <= MAX_RECORD_BYTES:
            return value
        if len(changes) == 1:
            raise RunwayError(
                f"The settings of {changes[0].model_id} have {len(value)} bytes; at most {MAX_RECORD_BYTES} are taken.",
                "Use fewer bins in the profile.",
            )
        changes = changes[1:]


class SettingsReader(Background):
    """Follows `runway.models` without a consumer group.

        async with SettingsReader(config) as reader:
            await reader.ready()
            reader.history.at("fraud", log_time)

    Lost connections are taken up again, after 10 s at most.
    """

    task_name = "settings reader"

    def __init__(self, config: Config, now: Clock = wall_clock):
        self.history = SettingsHistory()
        self.unreadable = 0
        self.problem = "runway.models was not read yet"
        self._config, self._now = config, now
        self._fresh_until = 0
        self._is_ready = asyncio.Event()

    def fresh_until(self) -> int:
        """The wall time (ms) up to which every published change is known; 0 before the first reading."""
        return self._fresh_until

    async def ready(self) -> None:
        """Returns once the topic was read to its end."""
        await self._is_ready.wait()

    async def __aenter__(self) -> "SettingsReader":
        self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    async def _run(self) -> None:
        wait = 0.5
        while True:
            try:
                async with open_topic(self._config, "models") as topic:
                    while True:
                        await self._catch_up(topic)
                        wait = 0.5
                        await asyncio.sleep(REFRESH_S)
            except RunwayError as error:
                self.problem = str(error)
                _log.warning("Settings: %s Trying again in %.1f s.", error, wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, RETRY_LIMIT_S)

    async def _catch_up(self, topic: TopicReader) -> None:
        asked = self._now()
        async for record in topic.to_end():
            for change in _changes_of(record, self._count_unreadable):
                self._add(change)
        self._fresh_until = asked
        self.problem = ""
        self._is_ready.set()

    def _add(self, change: ModelSettings) -> None:
        try:
            self.history.add(Settings.from_document(change))
        except RunwayError as error:
            self._count_unreadable(str(error))

    def _count_unreadable(self, why: str) -> None:
        self.unreadable += 1
        _log.error("Settings that cannot be used are left out: %s", why)


def _changes_of(record: ConsumerRecord, unreadable: Callable[[str], None]) -> list[ModelSettings]:
    changes, problems = read_changes(record.value or b"[]")
    for problem in problems:
        unreadable(f"{record.topic}, offset {record.offset}: {problem}")
    return changes


def read_changes(value: bytes) -> tuple[list[ModelSettings], list[str]]:
    """The changes in a record of `runway.models`, oldest first, and what cannot be read: one that cannot hides no other.

    >>> changes, problems = read_changes(b'[{"model_id":"m","join_window":"PT5M"},{"model_id":7}]')
    >>> [change.model_id for change in changes], problems
    (['m'], ['change 2: Expected `str`, got `int` - at `$.model_id`'])
    """
    try:
        raws = _decode_list(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return [], [str(error)]
    changes: list[ModelSettings] = []
    problems: list[str] = []
    for number, raw in enumerate(raws, 1):
        try:
            changes.append(_decode_one(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problems.append(f"change {number}: {error}")
    return changes, problems
