"""The join and the accumulators alone, over RocksDB and without Kafka: CPU microseconds an event, by what is done.

    uv run python benches/partition.py [--json] [--events 600000]

1,000 models, 10 features each in a reference profile of their own, 4 partitions; an outcome comes when half of all
predictions lie between it and its prediction. Beside it: decoding the same events and nothing else.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.settings import Settings, SettingsHistory, digest_of
from runway_streams.streaming import relax_collector
from runway_streams.times import HOUR
from schemas.model_settings import BinProfile, ReferenceProfile
from schemas.outcome import Outcome
from schemas.prediction import Prediction
from tables.partition_store import Memory, PartitionStore

MODELS, PARTITIONS, BATCH = 1_000, 4, 2_500
COMMIT_EVENTS = 100_000
"""Of all partitions: what a worker under load applies between two commits."""
FEATURES = [f"feature_{i}" for i in range(10)]
NOW = 490_000 * HOUR

Batch = tuple[int, str, list[bytes]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=600_000, help="half predictions, half outcomes")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    report = measure(list(batches(options.events // 2)))
    print(json.dumps(report) if options.json else "\n".join(f"{name:24} {value}" for name, value in report.items()))


def history() -> SettingsHistory:
    """Every model with a profile of its own."""
    found = SettingsHistory()
    for number in range(MODELS):
        edges = [number / MODELS + (i - 4) / 4 for i in range(9)]
        profile = ReferenceProfile({name: BinProfile([1.0] * 10, edges=edges) for name in FEATURES})
        found.add(
            Settings(f"model-{number}", "binary", window=12 * HOUR, profile=profile, profile_digest=digest_of(profile))
        )
    return found


def batches(count: int) -> Iterator[Batch]:
    """`count` predictions and their outcomes, in the order of a log, as (partition, topic, values)."""
    rng = random.Random(7)
    waiting: dict[tuple[int, str], list[bytes]] = {}
    ids = [f"{rng.getrandbits(128):032x}" for _ in range(count)]
    for i in range(count + count // 2):
        for topic, j, make in ((PREDICTIONS, i, _prediction), (OUTCOMES, i - count // 2, _outcome)):
            if 0 <= j < count:
                place = (crc32(ids[j].encode()) % PARTITIONS, topic)
                values = waiting.setdefault(place, [])
                values.append(make(rng, ids[j], j))
                if len(values) == BATCH:
                    yield *place, waiting.pop(place)
    for place, values in waiting.items():
        yield *place, values


def _prediction(rng: random.Random, key: str, j: int) -> bytes:
    features = {name: round(rng.gauss(0, 1), 4) for name in FEATURES}
    event = {"prediction_id": key, "model_id": f"model-{j % MODELS}", "model_version": "7", "timestamp": NOW - 4 * HOUR + j}
    return orjson.dumps({**event, "prediction": {"score": rng.random()}, "features": features})


def _outcome(rng: random.Random, key: str, j: int) -> bytes:
    return orjson.dumps({"prediction_id": key, "actual_outcome": rng.random() < 0.5, "timestamp": NOW - HOUR + j})


def measure(log: list[Batch]) -> dict:
    """Runs the log through four partitions, and through the decoder alone."""
    settings, memory = history(), Memory()
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="runway-bench-") as folder:
        stores = [PartitionStore.open(Path(folder) / str(number), memory) for number in range(PARTITIONS)]
        partitions = [Partition(store, settings, "bench", PARTITIONS) for store in stores]
        relax_collector()
        began = time.perf_counter()
        for number, topic, values in log:
            spent[topic] += _cpu_of(_apply, partitions[number], topic, values)
            if sum(partition.uncommitted for partition in partitions) >= COMMIT_EVENTS:
                spent["commit"] += sum(_cpu_of(_commit, partition) for partition in partitions)
        spent["commit"] += sum(_cpu_of(_commit, partition) for partition in partitions)
        seconds = time.perf_counter() - began
        joined = sum(partition.state.counters["joined"] for partition in partitions)
        for store in stores:
            store.close()
    events = sum(len(values) for *_, values in log)
    spent["decoding_alone"] = sum(_cpu_of(_decode, topic, values) for _, topic, values in log)
    of = {PREDICTIONS: events / 2, OUTCOMES: events / 2}
    micros = {f"us_{name}": round(spent[name] / of.get(name, events) * 1e6, 2) for name in spent}
    return {"events": events, "joined": joined, "events_per_second": round(events / seconds), **micros}


def _cpu_of(function, *arguments) -> float:
    began = time.process_time()
    function(*arguments)
    return time.process_time() - began


def _apply(partition: Partition, topic: str, values: list[bytes]) -> None:
    first = partition.next_offset(topic) or 0
    offsets = range(first, first + len(values))
    partition.apply(topic, RawBatch(values, offsets, [NOW] * len(values), offsets.stop))


def _commit(partition: Partition) -> None:
    partition.commit()
    partition.outbox.clear()


def _decode(topic: str, values: list[bytes]) -> None:
    decode = msgspec.json.Decoder(Prediction if topic == PREDICTIONS else Outcome).decode
    for value in values:
        decode(value)


if __name__ == "__main__":
    main()
