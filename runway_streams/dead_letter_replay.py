"""Replay of dead letters: sends events back to the topic and partition they came from, as they were, a bounded number of times."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from runway_streams.config import Config, kafka_client_options
from runway_streams.dead_letters import Filter, Letter, Place, scan
from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.recovery import TOPICS
from runway_streams.topics import count_partitions
from schemas.dead_letter import DeadLetter

HEADER = "runway-replays"
"""The header that counts how often an event was replayed."""
MAX_REPLAYS = 3
"""An event that was replayed this often stays a dead letter, so that nothing goes round for ever."""
REPLAY_LIMIT = 100_000
"""Dead letters of one replay."""
UNACKNOWLEDGED = 500
"""Events that may be under way: bounds memory."""


@dataclass
class Selection:
    """What a replay would send, counted by (topic, reason), and why it leaves out others; `more` where there were more than
    its limit."""

    places: list[Place] = field(default_factory=list)
    by_origin: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    more: bool = False


async def select(config: Config, wanted: Filter, places: Collection[Place] = (), limit: int = REPLAY_LIMIT) -> Selection:
    """Looks for what a replay would send: the dead letters at these places, or without places all that the filter takes.

    Raises DependencyDown where Kafka does not answer.
    """
    partitions = await count_partitions(config)
    chosen = Selection()
    origins: set[tuple[str, int, int]] = set()
    async for found in _matching(config, wanted, places):
        letter = found.letter
        origin = (letter.topic, letter.partition, letter.offset)
        why = why_not(letter, config, partitions)
        if origin in origins:
            why = "is a copy of another, written after a crash"
        if why:
            chosen.left_out[why] += 1
        elif len(chosen.places) == min(limit, REPLAY_LIMIT):
            chosen.more = True
            break
        else:
            origins.add(origin)
            chosen.places.append(found.place)
            chosen.by_origin[letter.topic, letter.reason] += 1
    missing = set(places) - set(chosen.places) if places else set()
    unseen = len(missing) - sum(chosen.left_out.values())
    if unseen > 0 and not chosen.more:
        chosen.left_out["is not there (any more)"] += unseen
    return chosen


async def replay(config: Config, chosen: Selection) -> int:
    """Sends what was selected and returns how many events Kafka has acknowledged.

    Raises DependencyDown with how many were sent where Kafka goes away.
    """
    producer = AIOKafkaProducer(**kafka_client_options(config), acks="all", enable_idempotence=True)
    sent = 0
    try:
        async with producer:
            under_way: list[asyncio.Future] = []
            async for found in _matching(config, Filter(), chosen.places):
                letter = found.letter
                under_way.append(
                    await producer.send(
                        letter.topic, letter.raw, letter.key, partition=letter.partition, headers=counted_headers(letter)
                    )
                )
                if len(under_way) == UNACKNOWLEDGED:
                    sent += len(await asyncio.gather(*under_way))
                    under_way.clear()
            return sent + len(await asyncio.gather(*under_way))
    except KafkaError as error:
        raise DependencyDown(
            f"Kafka at {config.bootstrap} stopped taking events after {sent} of {len(chosen.places)}: {error!r}.",
            "Look at the dead letters again, and replay those that are left.",
        ) from error


def why_not(letter: DeadLetter, config: Config, partitions: dict[str, int]) -> str | None:
    """Why a dead letter cannot be sent again, as the end of a sentence; None where it can.

    `partitions` are the existing topics with how many partitions each has.
    """
    replays = replays_of(letter)
    reasons = {
        # Whoever may write dead letters must not make us write anywhere else.
        "comes from no topic of events": letter.topic not in {config.topic(topic) for topic in TOPICS},
        "comes from a partition that is not there": not 0 <= letter.partition < partitions.get(letter.topic, 0),
        "was too large to be kept whole": bool(letter.cut),
        "has neither a key nor a value, which our client does not send": letter.raw is None and letter.key is None,
        f"has a {HEADER} header that is no number": replays is None,
        f"was replayed {MAX_REPLAYS} times already": replays is not None and replays >= MAX_REPLAYS,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def replays_of(letter: DeadLetter) -> int | None:
    """How often an event was replayed before it became this dead letter; None where its header is no number."""
    said = [value for name, value in letter.headers if name == HEADER]
    if not said:
        return 0
    text = said[-1] or b""
    return int(text) if text.isdigit() and len(text) < 4 else None


def counted_headers(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    """The event's own headers in their order, and behind them how often it was replayed, this time included."""
    own = [(name, value) for name, value in letter.headers if name != HEADER]
    return [*own, (HEADER, str((replays_of(letter) or 0) + 1).encode())]


async def _matching(config: Config, wanted: Filter, places: Collection[Place]) -> AsyncIterator[Letter]:
    """The dead letters at these places, or without places all that the filter takes."""
    if places:
        left = set(places)
        first = min(left)
        async for found in scan(config, after=Place(first.partition, first.offset - 1)):
            if isinstance(found, Letter) and found.place in left:
                left.remove(found.place)
                yield found
            if not left:
                return
        return
    async for found in scan(config, wanted.since):
        if isinstance(found, Letter) and wanted.takes(found, config):
            yield found
