"""Bad events -> runway.dead-letters: reason, origin and raw bytes of every event that could not be used."""

import hashlib
from collections.abc import Sequence

import msgspec
import orjson
from aiokafka import AIOKafkaProducer

from runway_streams.ground_truth.events import BadEvent
from schemas.dead_letter import RAW_LIMIT, DeadLetter

_encode = msgspec.json.Encoder().encode


class DeadLetters:
    """Writes dead letters and waits until Kafka has them: an offset is never committed before."""

    def __init__(self, producer: AIOKafkaProducer, topic: str):
        self._producer, self._topic = producer, topic

    async def send(self, topic: str, partition: int, events: Sequence[BadEvent]) -> None:
        """Writes the bad events of one topic-partition; the key is their place in the log, so that a repeat is seen."""
        sent = [
            await self._producer.send(
                self._topic, _encode(dead_letter(topic, partition, event)), key=_key(topic, partition, event)
            )
            for event in events
        ]
        for one in sent:
            await one


def dead_letter(topic: str, partition: int, event: BadEvent) -> DeadLetter:
    """The document of one bad event.

    >>> dead_letter("runway.outcomes", 0, BadEvent(7, 1000, "not_json", "No JSON.", b"{")).size
    1
    """
    return DeadLetter(
        reason=event.reason,
        detail=event.detail,
        topic=topic,
        partition=partition,
        offset=event.offset,
        log_time=event.log_time,
        size=len(event.raw),
        sha256=hashlib.sha256(event.raw).hexdigest(),
        raw=event.raw[:RAW_LIMIT],
    )


def _key(topic: str, partition: int, event: BadEvent) -> bytes:
    return orjson.dumps([topic, partition, event.offset])
