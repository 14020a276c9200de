"""Dead letters: reads `runway.dead-letters` as it stands, a page or a place at a time, by model, topic, reason and time."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from runway_streams.config import Config
from runway_streams.errors import ConfigError, RunwayError
from runway_streams.topic_reader import TopicReader, open_topic
from schemas.dead_letter import DeadLetter

PAGE_LIMIT = 1_000
"""Dead letters of one page."""

_MODEL = re.compile(rb'"model_id"\s*:\s*"((?:[^"\\]|\\.){1,256})"')
_PLACE = re.compile(r"(\d{1,9}):(\d{1,18})")
_decode = msgspec.json.Decoder(DeadLetter).decode


class Place(NamedTuple):
    """Where a dead letter stands in `runway.dead-letters`.

    >>> str(Place.parse("0:17"))
    '0:17'
    """

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Reads PARTITION:OFFSET. Raises ConfigError where it is none."""
        found = _PLACE.fullmatch(text)
        if not found:
            raise ConfigError(f"{text!r} is no place.", "Give PARTITION:OFFSET as `runway dead-letters list` shows it.")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, its place, and when it was written, in ms."""

    place: Place
    written: int
    letter: DeadLetter

    @property
    def model(self) -> str | None:
        """The model that the event names, as far as that can be read; outcomes name none."""
        return model_of(self.letter.raw or b"")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters: `topic` is predictions or outcomes, `since` a time of writing in ms. Empty takes all."""

    model: str | None = None
    topic: str | None = None
    reason: str | None = None
    since: int | None = None

    def takes(self, found: Letter, config: Config) -> bool:
        """Whether a dead letter is one of them."""
        return (
            (self.since is None or found.written >= self.since)
            and (self.topic is None or found.letter.topic == config.topic(self.topic))
            and (self.reason is None or found.letter.reason == self.reason)
            and (self.model is None or found.model == self.model)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters in the order of their places; `after` is where the next page begins, None where this is the last.
    `unreadable` records on the way were no dead letters."""

    letters: list[Letter]
    after: Place | None
    unreadable: int


async def read_page(config: Config, wanted: Filter, limit: int, after: Place | None = None) -> Page:
    """The first `limit` dead letters behind a place, at most PAGE_LIMIT.

    Raises DependencyDown where Kafka does not answer or has no such topic.
    """
    letters: list[Letter] = []
    unreadable = 0
    async for found in scan(config, wanted.since, after):
        if isinstance(found, Place):
            unreadable += 1
        elif wanted.takes(found, config):
            if len(letters) == min(limit, PAGE_LIMIT):
                return Page(letters, letters[-1].place, unreadable)
            letters.append(found)
    return Page(letters, None, unreadable)


async def read_one(config: Config, place: Place) -> Letter:
    """The dead letter at a place. Raises RunwayError where there is none (any more)."""
    before = Place(place.partition, place.offset - 1)
    async for found in scan(config, None, before):
        if isinstance(found, Letter) and found.place == place:
            return found
        break
    raise RunwayError(
        f"{config.topic('dead-letters')} has no dead letter at {place}.",
        "See `runway dead-letters list`; they are kept for 30 days.",
    )


async def scan(config: Config, since: int | None = None, after: Place | None = None) -> AsyncIterator[Letter | Place]:
    """All dead letters behind a place or since a time, up to the end as it is now, partition by partition; of a record that
    is none its place alone."""
    async with open_topic(config, "dead-letters") as topic:
        if since is not None:
            await topic.seek_to_time(since)
        for partition in topic.partitions:
            if after is not None and partition.partition < after.partition:
                continue
            one = replace(topic, partitions=[partition])
            topic.consumer.pause(*(other for other in topic.partitions if other != partition))
            topic.consumer.resume(partition)
            if after is not None and partition.partition == after.partition:
                await _seek_behind(one, after)
            async for record in one.to_end():
                yield _letter(record)


async def _seek_behind(topic: TopicReader, after: Place) -> None:
    """Goes on behind a place, or where the topic begins or ends if that is nearer."""
    (partition,) = topic.partitions
    begin = (await topic.consumer.beginning_offsets([partition]))[partition]
    end = (await topic.consumer.end_offsets([partition]))[partition]
    position = await topic.consumer.position(partition)
    topic.consumer.seek(partition, min(max(after.offset + 1, begin, position), end))


def _letter(record: ConsumerRecord) -> Letter | Place:
    place = Place(record.partition, record.offset)
    try:
        return Letter(place, record.timestamp, _decode(record.value or b""))
    except msgspec.DecodeError:
        return place


def model_of(raw: bytes) -> str | None:
    """The model that an event names, were it no more than a piece of JSON.

    >>> model_of(b'{"model_id": "fraud", "timestamp": NaN}'), model_of(b"{"), model_of(b'{"model_id": 7}')
    ('fraud', None, None)
    """
    found = _MODEL.search(raw)
    if found is None:
        return None
    try:
        name: Any = msgspec.json.decode(b'"' + found[1] + b'"')
    except msgspec.DecodeError:
        return found[1].decode(errors="backslashreplace")
    return str(name)


def printable(data: bytes | str) -> str:
    """Text that does nothing to a terminal: what is not printable is escaped, newlines too.

    >>> printable(b'{"a": "\\x1b[31m\\xff"}')
    '{"a": "\\\\x1b[31m\\\\xff"}'
    """
    text = data if isinstance(data, str) else data.decode(errors="backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
