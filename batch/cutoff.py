"""Cutoffs: up to where in the log a snapshot goes, and how a final one asks the archive for the log's end."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field

import msgspec

from batch.lake import Lake
from batch.segments import SCHEMAS, Progress, Segment, progress_path, read_progress
from runway_streams.config import Config, kafka_client_options
from runway_streams.errors import DependencyDown, Refused
from runway_streams.times import HOUR, format_time

FLUSH_REQUEST = "archive/flush-request.json"
FLUSH_LIMIT_S = 120
"""How long a final batch waits for the archive to flush."""
POLL_S = 0.25

Offsets = dict[str, dict[str, int]]
"""Topic -> partition -> next offset."""


@dataclass
class Cutoff:
    """Snapshot `hour` holds all records of log hours before it; a final one all that is archived, `reached` at least.

    `clock` is the log time in ms that every topic-partition has passed.
    """

    hour: int
    clock: int
    final: bool = False
    sequence: int = 0
    reached: Offsets = field(default_factory=dict)

    def includes(self, segment: Segment) -> bool:
        """Whether a closed segment belongs to the snapshot."""
        return self.final or segment.log_hour < self.hour


def newest_cutoff(lake: Lake, wanted: int | None = None) -> Cutoff:
    """The wanted log hour, or the newest that every partition's archive has passed. Raises Refused where the archive is
    not that far."""
    progress = read_all_progress(lake)
    clock = min(one.clock for one in progress.values())
    newest = clock // HOUR
    if wanted is None:
        wanted = newest
    if wanted > newest:
        topic, partition = min(progress, key=lambda key: progress[key].clock)
        raise Refused(
            f"The archive of {topic}, partition {partition}, has only reached {format_time(clock)}; "
            f"a snapshot up to {format_time(wanted * HOUR)} would leave records out.",
            "See that the archive worker runs, or choose an earlier cutoff.",
        )
    return Cutoff(wanted, wanted * HOUR)


def read_all_progress(lake: Lake) -> dict[tuple[str, int], Progress]:
    """Every topic-partition's progress. Raises Refused where one that must be there is not."""
    found = {(topic, partition): read_progress(lake, topic, partition) for topic, partition in _partitions(lake)}
    if not found:
        raise Refused("Nothing has been archived yet.", "Start the archive with `runway worker archive`.")
    partitions = 1 + max(partition for _, partition in found)
    progress: dict[tuple[str, int], Progress] = {}
    for topic in SCHEMAS:
        for partition in range(partitions):
            one = found.get((topic, partition))
            if one is None:
                raise Refused(
                    f"The archive has not begun with {topic}, partition {partition}.",
                    "See that the archive worker runs and owns all partitions of both topics.",
                )
            progress[topic, partition] = one
    return progress


def request_flush(config: Config, lake: Lake, limit_s: float = FLUSH_LIMIT_S) -> Cutoff:
    """Asks the archive to close everything up to the log's end as it is now, and waits until it has."""
    return await_flush(lake, asyncio.run(end_offsets(config)), limit_s)


def await_flush(lake: Lake, ends: Offsets, limit_s: float = FLUSH_LIMIT_S) -> Cutoff:
    """Writes the request and waits for every partition's `progress.json` to answer it."""
    request = uuid.uuid4().hex
    lake.put(FLUSH_REQUEST, msgspec.json.encode({"id": request, "offsets": ends}))
    waiting = {(topic, int(partition)) for topic, partitions in ends.items() for partition in partitions}
    progress: dict[tuple[str, int], Progress] = {}
    deadline = time.monotonic() + limit_s
    while waiting:
        for key in sorted(waiting):
            one = read_progress(lake, *key)
            if one is not None and one.flushed == request and one.next_offset >= ends[key[0]][str(key[1])]:
                progress[key] = one
        waiting -= progress.keys()
        if waiting and time.monotonic() > deadline:
            topic, partition = min(waiting)
            raise DependencyDown(
                f"The archive has not flushed {topic}, partition {partition}, within {limit_s:.0f} s.",
                "See that the archive worker runs (`runway doctor`), then run the batch again.",
            )
        if waiting:
            time.sleep(POLL_S)
    clocks = [one.clock for one in progress.values()]
    return Cutoff(max(clocks) // HOUR, min(clocks), final=True, reached=_reached(progress))


async def end_offsets(config: Config) -> Offsets:
    """The end offsets of both topics as they are now."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from runway_streams.kafka_down import kafka_errors

    topics = {topic: config.topic(topic) for topic in SCHEMAS}
    consumer = AIOKafkaConsumer(**kafka_client_options(config), isolation_level="read_committed")
    async with kafka_errors(config):
        try:
            await consumer.start()
            # Only what it is subscribed to does a consumer fetch metadata of.
            consumer.subscribe(list(topics.values()))
            ends: Offsets = {}
            for topic, name in topics.items():
                partitions = [TopicPartition(name, number) for number in await _partitions_of(consumer, name)]
                found = await consumer.end_offsets(partitions)
                ends[topic] = {str(partition.partition): offset for partition, offset in found.items()}
            return ends
        finally:
            await consumer.stop()


async def _partitions_of(consumer, name: str) -> set[int]:
    for _ in range(40):
        found = consumer.partitions_for_topic(name)
        if found:
            return found
        await consumer._client.force_metadata_update()
        await asyncio.sleep(POLL_S)
    raise Refused(f"The topic {name} does not exist.", "Create it with `runway topics create`.")


def _partitions(lake: Lake) -> list[tuple[str, int]]:
    found = []
    for topic in SCHEMAS:
        for path in lake.paths(f"archive/{topic}"):
            partition = int(path.split("/")[2])
            if path == progress_path(topic, partition):
                found.append((topic, partition))
    return found


def _reached(progress: dict[tuple[str, int], Progress]) -> Offsets:
    reached: Offsets = {topic: {} for topic in SCHEMAS}
    for (topic, partition), one in progress.items():
        reached[topic][str(partition)] = one.open_since
    return reached
