"""What a peer has answered so far, read from its output topic: the last total of every key."""

import orjson

from benches.support.workload import Totals
from runway_streams.ground_truth.records import mark_key, parse_key, unpack_mark, unpack_slim
from runway_streams.ground_truth.slim import INDEX


class Answer:
    """Totals by model version, from keys "model|version" or "model|version|partition" with {"joined", "correct"}."""

    def __init__(self) -> None:
        self.events: int | None = None
        """How many events are in the answer, where the output itself says it."""
        self._last: dict[tuple, tuple[int, int]] = {}

    def add(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        """One record of the output topic."""
        if key and value:
            found = orjson.loads(value)
            self._last[tuple(key.decode().split("|"))] = found["joined"], found["correct"]

    def totals(self) -> Totals:
        """The sum of all partitions."""
        total: Totals = {}
        for (model, version, *_), (joined, correct) in self._last.items():
            before = total.get(f"{model}|{version}", (0, 0))
            total[f"{model}|{version}"] = before[0] + joined, before[1] + correct
        return total


class RunwayAnswer(Answer):
    """The same from the records of `runway.metrics`; its marks tell how far they have come."""

    def __init__(self) -> None:
        super().__init__()
        self._done: dict[int, int] = {}

    def add(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        """One record of `runway.metrics`."""
        found = parse_key(key)
        if found is None or value is None:
            return
        if key == mark_key():
            counters = unpack_mark(value).counters
            self._done[partition] = counters.get("predictions", 0) + counters.get("outcomes", 0)
            self.events = sum(self._done.values())
        elif found.kind == "slim" and not found.segment_key:
            record = unpack_slim(value)
            correct = sum(n for _, predicted, actual, n in record.confusion if predicted == actual)
            joined = int(record.matrix[:, INDEX["joined"]].sum())
            self._last[found.model, found.version, partition, found.event_hour, found.log_hour] = joined, correct
