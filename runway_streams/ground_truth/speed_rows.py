"""What the speed layer has counted, for the batch's reconciliation: one merged slim row an event hour and log hour."""

import asyncio
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from runway_streams.config import Config
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.records import Key, parse_key, unpack_slim_many
from runway_streams.times import BINS_PER_HOUR
from runway_streams.topic_reader import open_topic

SpeedKey = tuple[str, str, int, int]
"""(model, version, event hour, log hour)"""
SpeedRows = Mapping[SpeedKey, NDArray[np.float64]]
UNPACK = 2_000
"""Records that are unpacked at a time: 12 x WIDTH float64 each."""
READ_LIMIT_S = 600.0


def read_speed_rows(config: Config) -> SpeedRows:
    """The totals of every model in `runway.metrics` as it is now, all partitions and bins of an hour merged."""
    return asyncio.run(_read(config))


def speed_reader(config: Config) -> Callable[[int, int], SpeedRows]:
    """Reads the rows of the log hours [first, end) when it is called: what the batch reconciles with."""

    def read(first: int, end: int) -> SpeedRows:
        return {key: row for key, row in read_speed_rows(config).items() if first <= key[3] < end}

    return read


async def _read(config: Config) -> SpeedRows:
    newest: dict[tuple[int, Key], bytes] = {}
    async with asyncio.timeout(READ_LIMIT_S), open_topic(config, "metrics") as topic:
        async for record in topic.to_end():
            key = parse_key(record.key)
            if key and key.kind == "slim" and not key.segment_key:
                if record.value is None:
                    newest.pop((record.partition, key), None)
                else:
                    newest[record.partition, key] = record.value
    return merge_records(newest)


def merge_records(newest: Mapping[tuple[int, Key], bytes]) -> SpeedRows:
    """Merges the records of all partitions."""
    merged: dict[SpeedKey, NDArray[np.float64]] = {}
    whose = [(key.model, key.version, key.event_hour, key.log_hour) for _, key in newest]
    records = list(newest.values())
    for first in range(0, len(records), UNPACK):
        matrices, _ = unpack_slim_many(records[first : first + UNPACK])
        count = len(matrices)
        hours = slim.merge(matrices.reshape(-1, slim.WIDTH), np.repeat(np.arange(count), BINS_PER_HOUR), count)
        for key, row in zip(whose[first : first + UNPACK], hours, strict=True):
            merged[key] = slim.merge(np.stack([merged[key], row]))[0] if key in merged else row
    return merged
