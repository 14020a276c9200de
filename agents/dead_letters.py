"""Bad events -> runway.dead-letters: reason, origin, key, headers and raw bytes of every event that could not be used."""

import hashlib
from collections.abc import Callable, Sequence

import msgspec
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.events import BadEvent
from schemas.dead_letter import HEADERS_LIMIT, KEY_LIMIT, RAW_LIMIT, DeadLetter, Part

DETAIL_LIMIT = 1_000
"""Characters of a detail that are kept: some quote the event."""
Headers = Sequence[tuple[str, bytes | None]]
Origin = Callable[[int], tuple[bytes | None, Headers]]
"""The key and the headers of the record at an offset."""

_encode = msgspec.json.Encoder().encode


class DeadLetters:
    """Writes dead letters and waits until Kafka has them: an offset is never committed before."""

    def __init__(self, producer: AIOKafkaProducer, topic: str):
        self._producer, self._topic = producer, topic

    async def send(self, topic: str, partition: int, events: Sequence[BadEvent], origin: Origin) -> None:
        """Writes the bad events of one topic-partition; the key is their place in the log, so that a repeat is seen.

        Raises DependencyDown where Kafka does not take them.
        """
        try:
            sent = [
                await self._producer.send(
                    self._topic,
                    _encode(dead_letter(topic, partition, event, *origin(event.offset))),
                    key=_key(topic, partition, event),
                )
                for event in events
            ]
            for one in sent:
                await one
        except KafkaError as error:
            raise DependencyDown(
                f"{self._topic} cannot be written: {error!r}.",
                "Nothing is lost: the worker reads on from its last commit when it is started again.",
            ) from error


def dead_letter(topic: str, partition: int, event: BadEvent, key: bytes | None, headers: Headers) -> DeadLetter:
    """The document of one bad event.

    >>> dead_letter("runway.outcomes", 0, BadEvent(7, 1000, "not_json", "No JSON.", b"{"), b"a", []).size
    1
    """
    raw = event.raw
    kept = _headers_that_fit(headers)
    over: dict[Part, bool] = {
        "raw": len(raw or b"") > RAW_LIMIT,
        "key": len(key or b"") > KEY_LIMIT,
        "headers": len(kept) < len(headers),
    }
    return DeadLetter(
        reason=event.reason,
        detail=event.detail[:DETAIL_LIMIT],
        topic=topic,
        partition=partition,
        offset=event.offset,
        log_time=event.log_time,
        size=len(raw or b""),
        sha256=hashlib.sha256(raw or b"").hexdigest(),
        raw=None if raw is None else raw[:RAW_LIMIT],
        key=None if key is None else key[:KEY_LIMIT],
        headers=kept,
        cut=[part for part, is_cut in over.items() if is_cut],
    )


def _headers_that_fit(headers: Headers) -> list[tuple[str, bytes | None]]:
    kept, left = [], HEADERS_LIMIT
    for name, value in headers:
        left -= len(name.encode()) + len(value or b"")
        if left < 0:
            break
        kept.append((name, value))
    return kept


def _key(topic: str, partition: int, event: BadEvent) -> bytes:
    return orjson.dumps([topic, partition, event.offset])
