"""What a soak measures every other second: memory and file handles of each process, and how far the marks lie behind the log."""

from typing import Any

import psutil
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from runway_streams.config import Config
from runway_streams.ground_truth.records import mark_key, unpack_mark

ASK_LIMIT_S = 2.0


class Sampler:
    """Follows the marks in `runway.metrics`, and asks for the ends of both topics."""

    def __init__(self, config: Config):
        self._names = [config.topic(noun) for noun in ("predictions", "outcomes")]
        self._consumer = Consumer(
            {"bootstrap.servers": config.bootstrap, "group.id": "soak", "enable.auto.commit": False,
             "isolation.level": "read_committed", "log_level": 2}
        )  # fmt: skip
        metrics = config.topic("metrics")
        self._numbers = list(self._consumer.list_topics(metrics, timeout=30).topics[metrics].partitions)
        self._consumer.assign([TopicPartition(metrics, number, OFFSET_BEGINNING) for number in self._numbers])
        self._marks: dict[int, dict[str, int]] = {}

    def sample(self, pids: dict[str, int]) -> dict[str, Any]:
        """`rss` in bytes and `files` by process; `lag` in events, None while the broker does not answer."""
        found = {name: told for name, pid in pids.items() if (told := _process(pid))}
        return {
            "rss": {name: rss for name, (rss, _) in found.items()},
            "files": {name: files for name, (_, files) in found.items()},
            "lag": self._lag(),
        }

    def _lag(self) -> int | None:
        while messages := self._consumer.consume(5_000, 0.1):
            for message in messages:
                if not message.error() and message.key() == mark_key():
                    self._marks[message.partition()] = unpack_mark(message.value()).offsets
        lag = 0
        for topic in self._names:
            for number in self._numbers:
                try:
                    _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, number), ASK_LIMIT_S)
                except KafkaException:
                    return None
                lag += max(0, end - self._marks.get(number, {}).get(topic, 0))
        return lag


def _process(pid: int) -> tuple[int, int] | None:
    try:
        process = psutil.Process(pid)
        return process.memory_info().rss, process.num_fds()
    except psutil.Error:
        return None
