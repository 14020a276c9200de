"""What accumulators remember of segments between two commits: it changes no count, and ends with the commit."""

from runway_streams.ground_truth.accumulators import Accumulators
from runway_streams.ground_truth.events import PredictionEvent, read_predictions
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.records import parse_key, unpack_slim
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.ground_truth.slim import INDEX
from runway_streams.times import HOUR
from tables.memory_store import MemoryStore

NOW = 490_000 * HOUR


def history() -> SettingsHistory:
    found = SettingsHistory()
    found.add(Settings("m", segments=frozenset(["region", "plan"])))
    return found


def predictions(count: int, found: SettingsHistory, log_time: int = NOW, model: str = "m") -> list[PredictionEvent]:
    raw = b'{"prediction_id":"a","model_id":"%s","timestamp":%d,"prediction":true,"segment":{"region":"eu","plan":"p"}}'
    events, bad = read_predictions([raw % (model.encode(), NOW)] * count, range(count), [log_time] * count, found)
    assert not bad
    return events


def counts(records: list[tuple[bytes, bytes]]) -> dict[tuple[str, str, str], float]:
    """Predictions by (model, segment key, segment value)."""
    read = {parse_key(key): unpack_slim(value).matrix[:, INDEX["predictions"]].sum() for key, value in records}
    return {(key.model, key.segment_key, key.segment_value): n for key, n in read.items() if key}


def test_a_segment_that_is_remembered_counts_as_one_that_is_not():
    found = history()
    accumulators = Accumulators(MemoryStore(), found, PartitionState())
    for model in ("m", "n", "m", "m"):
        accumulators.count_predictions(predictions(2, found, model=model))
    slim, _ = accumulators.pack()
    segments = {("", ""), ("region", "eu"), ("plan", "p")}
    assert counts(slim) == {(model, *own): n for model, n in (("m", 6), ("n", 2)) for own in segments}
    accumulators.count_predictions(predictions(1, found))
    slim, _ = accumulators.pack()
    assert counts(slim) == {("m", *own): 7 for own in segments}


def test_what_is_remembered_of_segments_ends_with_the_commit_and_with_a_change_of_settings():
    found = history()
    accumulators = Accumulators(MemoryStore(), found, PartitionState())
    accumulators.count_predictions(predictions(3, found))
    assert len(accumulators._kept) == 1
    accumulators.pack()
    assert not accumulators._kept
    accumulators.count_predictions(predictions(3, found))
    found.add(Settings("m", effective_from=NOW + 1))
    accumulators.count_predictions(predictions(1, found))
    assert not accumulators._kept, "The hour has two settings now: nothing holds for all of it."
