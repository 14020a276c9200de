"""Lag: events written but not yet processed, seen from outside the workers, so that a dead worker's lag grows."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from batch.lake import Lake
from batch.segments import read_progress
from runway_streams.background import Background
from runway_streams.config import Config, kafka_client_options
from runway_streams.errors import RunwayError
from runway_streams.kafka_down import kafka_errors
from runway_streams.topics import count_partitions
from schemas.metrics_record import Mark

INTERVAL_S = 10.0
NOUNS = ("predictions", "outcomes")
GROUND_TRUTH, ARCHIVE = "runway-ground-truth", "runway-archive"

Lag = dict[tuple[str, str, int], int]
_log = logging.getLogger(__name__)


class LagMonitor(Background):
    """Every ten seconds: the log's ends, less what the marks and the archive's progress say. Keeps the last answer while
    Kafka does not answer, and says so in `problem`."""

    task_name = "lag monitor"

    def __init__(self, config: Config, marks: Callable[[], Mapping[int, Mark]], open_lake: Callable[[], Lake]):
        self.lag: Lag = {}
        self.problem = ""
        self._config, self._marks, self._open_lake = config, marks, open_lake

    async def _run(self) -> None:
        while True:
            try:
                consumer = AIOKafkaConsumer(enable_auto_commit=False, **kafka_client_options(self._config))
                async with kafka_errors(self._config):
                    try:
                        await consumer.start()
                        while True:
                            await self._measure(consumer)
                            await asyncio.sleep(INTERVAL_S)
                    finally:
                        await consumer.stop()
            except RunwayError as error:
                if not self.problem:
                    _log.warning("Lag: %s", error)
                self.problem = str(error)
            await asyncio.sleep(INTERVAL_S)

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        counts = await count_partitions(self._config)
        names = {noun: self._config.topic(noun) for noun in NOUNS}
        partitions = [TopicPartition(name, number) for name in names.values() for number in range(counts.get(name, 0))]
        ends = await consumer.end_offsets(partitions) if partitions else {}
        begins = await consumer.beginning_offsets(partitions) if partitions else {}
        archived = await asyncio.to_thread(self._archived, partitions, {name: noun for noun, name in names.items()})
        self.lag = lag_of(ends, begins, self._marks(), archived)
        self.problem = ""

    def _archived(self, partitions: list[TopicPartition], nouns: Mapping[str, str]) -> dict[TopicPartition, int]:
        lake = self._open_lake()
        found = {partition: read_progress(lake, nouns[partition.topic], partition.partition) for partition in partitions}
        return {partition: progress.next_offset for partition, progress in found.items() if progress}


def lag_of(
    ends: Mapping[TopicPartition, int],
    begins: Mapping[TopicPartition, int],
    marks: Mapping[int, Mark],
    archived: Mapping[TopicPartition, int],
) -> Lag:
    """Lag by (group, topic, partition): the end less the next offset; of all that is left where nothing was said yet.

    >>> place = TopicPartition("p", 0)
    >>> lag_of({place: 9}, {place: 2}, {0: Mark({"p": 8}, 0, 0, {})}, {})
    {('runway-ground-truth', 'p', 0): 1, ('runway-archive', 'p', 0): 7}
    """
    lag: Lag = {}
    for place, end in ends.items():
        mark = marks.get(place.partition)
        joined = mark.offsets.get(place.topic) if mark else None
        for group, reached in ((GROUND_TRUTH, joined), (ARCHIVE, archived.get(place))):
            lag[group, place.topic, place.partition] = max(end - (begins[place] if reached is None else reached), 0)
    return lag
