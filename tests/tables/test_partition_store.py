"""The state on disk: what a row costs, and what is shared."""

import random
import subprocess
import sys

import msgspec

from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.settings import SettingsHistory
from tables.partition_store import Memory, PartitionStore

ROWS = 200_000
T0 = 1_700_000_000_000


def records(rng):
    """Predictions with a score, a segment and an unpredictable id, and outcomes for half of them."""
    ids = [f"{rng.getrandbits(128):032x}" for _ in range(ROWS)]
    predictions = [
        msgspec.json.encode({
            "prediction_id": key, "model_id": f"model-{rng.randrange(1000)}", "model_version": "7", "timestamp": T0 + i,
            "prediction": {"label": rng.randrange(2), "score": rng.random()}, "segment": {"carrier": "AA"},
        })
        for i, key in enumerate(ids)
    ]  # fmt: skip
    outcomes = [
        msgspec.json.encode({"prediction_id": key, "timestamp": T0 + 60_000 + i, "actual_outcome": rng.randrange(2)})
        for i, key in enumerate(ids[: ROWS // 2])
    ]
    return predictions, outcomes


def feed(partition, topic, raws):
    for start in range(0, len(raws), 20_000):
        part = raws[start : start + 20_000]
        offsets = range(start, start + len(part))
        partition.apply(topic, RawBatch(part, offsets, [T0 + 60_000 + i for i in offsets], start + len(part)))
        partition.commit()
        partition.outbox.clear()


def test_a_row_takes_at_most_150_bytes_beyond_its_key(tmp_path):
    store = PartitionStore.open(tmp_path / "0", Memory(8 << 20, 16 << 20))
    predictions, outcomes = records(random.Random(1))
    partition = Partition(store, SettingsHistory())
    feed(partition, PREDICTIONS, predictions)
    feed(partition, OUTCOMES, outcomes)
    assert partition.state.counters["joined"] == ROWS // 2
    store._db.flush()
    store._db.compact_range(None, None)
    size = store.size()
    assert size["rows"] == ROWS
    assert size["bytes"] / ROWS - 32 <= 150
    store.close()


def test_partitions_share_one_cache(tmp_path):
    memory = Memory(8 << 20, 16 << 20)
    stores = [PartitionStore.open(tmp_path / str(i), memory) for i in range(2)]
    assert memory.cache_bytes == 8 << 20
    capacities = {store._db.property_int_value("rocksdb.block-cache-capacity") for store in stores}
    assert capacities == {8 << 20}
    for store in stores:
        store.close()


def test_the_store_loads_no_framework():
    code = "import sys, tables.partition_store; print(*{'faust', 'starlette', 'duckdb', 'neo4j'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
