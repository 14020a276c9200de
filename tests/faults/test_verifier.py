"""The verifier agrees with what is right, and with nothing else: every kind of tampering is told."""

import json
from collections import Counter

import pytest

from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.records import mark_key, pack_mark, pack_slim, parse_key, unpack_mark, unpack_slim
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from schemas.model_settings import ModelSettings
from tables.memory_store import MemoryStore
from tests.faults.verifier import Record, differences, different_dead_letters, found_in, lost, truth_of
from tests.traffic import Acknowledged, Traffic, digest

NAMES = {PREDICTIONS: PREDICTIONS, OUTCOMES: OUTCOMES}


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return Traffic(7, pairs=300)


@pytest.fixture(scope="module")
def log(traffic: Traffic) -> dict[str, list[Record]]:
    """Both topics as a broker would have them, in one partition."""
    found: dict[str, list[Record]] = {PREDICTIONS: [], OUTCOMES: []}
    for i, (noun, key, value) in enumerate(traffic.events):
        at = 1_800_000_000_000 + i
        found[noun].append(Record(noun, 0, len(found[noun]), at, key.encode(), value))
    return found


@pytest.fixture
def values(traffic: Traffic, log: dict[str, list[Record]]) -> dict[tuple[int, bytes | None], bytes]:
    """What the product emits of it."""
    history = SettingsHistory()
    for settings in traffic.settings().values():
        history.add(Settings.from_document(ModelSettings(**settings)))
    partition = Partition(MemoryStore(), history, "c", 1)
    for topic, records in log.items():
        batch = [[getattr(record, name) for record in records] for name in ("value", "offset", "log_time")]
        partition.apply(topic, RawBatch(*batch, len(records)))
    partition.commit()
    emitted = partition.outbox | partition.hourly_outbox | {mark_key(): pack_mark(partition.mark(NAMES))}
    return {(0, key): value for key, value in emitted.items()}


@pytest.fixture
def truth(traffic: Traffic, log: dict[str, list[Record]]):
    return truth_of(log[PREDICTIONS], log[OUTCOMES], traffic.settings())


def test_what_is_right_is_found_right(traffic: Traffic, truth, values):
    assert differences(truth, found_in(values)) == []
    statuses = Counter(one.status for one in truth[0].judged)
    assert {name: statuses[name] for name in ("joined", "late", "early")} == {
        name: traffic.expected[name] for name in ("joined", "late", "early")
    }
    assert len(truth[0].judged) == traffic.expected["predictions"]
    assert truth[0].counters["duplicates"] == traffic.expected["duplicates"]
    assert truth[0].counters["conflicts"] == traffic.expected["conflicts"] > 0
    assert len(truth[0].bad) == traffic.expected["bad"] > 0
    assert {one.prediction.task for one in truth[0].judged} == {"binary", "multiclass", "regression"}


def test_every_cell_of_every_record_counts(truth, values):
    slim = {parse_key(place[1]).model: place for place in values if parse_key(place[1]).kind == "slim"}
    assert len(slim) == 3
    for place in slim.values():
        hour = unpack_slim(values[place])
        bin = int(hour.matrix.any(axis=1).argmax())
        for cell in range(hour.matrix.shape[1]):
            matrix = hour.matrix.copy()
            matrix[bin, cell] += 1e-5
            tampered = values | {place: pack_slim(matrix, hour.confusion)}
            assert differences(truth, found_in(tampered)), (place, cell)


@pytest.mark.parametrize("kind", ["slim", "full"])
def test_a_record_that_is_missing_is_told(truth, values, kind: str):
    place = next(place for place in values if parse_key(place[1]).kind == kind)
    del values[place]
    assert any("missing" in told for told in differences(truth, found_in(values)))


def test_a_record_too_many_is_told(truth, values):
    place = next(place for place in values if parse_key(place[1]).kind == "slim")
    values[0, place[1].replace(b"_0", b"_9")] = values[place]
    assert any("must not be" in told for told in differences(truth, found_in(values)))
    assert any("not in the log" in told for told in differences(truth, found_in(values | {(1, place[1]): values[place]})))


def test_a_confusion_of_labels_is_told(truth, values):
    place = next(p for p in values if parse_key(p[1]).kind == "slim" and unpack_slim(values[p]).confusion)
    hour = unpack_slim(values[place])
    bin, predicted, actual, n = hour.confusion[0]
    values[place] = pack_slim(hour.matrix, [(bin, predicted, actual, n + 1), *hour.confusion[1:]])
    assert any("confusion" in told for told in differences(truth, found_in(values)))


@pytest.mark.parametrize("name", ["predictions", "outcomes", "duplicates", "conflicts", "dead_letters.not_json"])
def test_a_counter_that_is_one_off_is_told(truth, values, name: str):
    mark = unpack_mark(values[0, mark_key()])
    mark.counters[name] += 1
    values[0, mark_key()] = pack_mark(mark)
    assert len(differences(truth, found_in(values))) == 1
    assert differences(truth, found_in(values), counters=False) == []


def test_an_event_that_was_acknowledged_and_is_not_there_is_told(log):
    acknowledged = [Acknowledged(r.topic, r.partition, r.offset, digest(r.key, r.value)) for r in log[OUTCOMES]]
    assert lost(acknowledged, log[OUTCOMES]) == []
    assert len(lost(acknowledged, log[OUTCOMES][1:])) == 1
    assert len(lost([acknowledged[0]._replace(digest=1)], log[OUTCOMES])) == 1
    assert lost([acknowledged[0]._replace(offset=-1)], log[OUTCOMES]) == []
    assert len(lost([acknowledged[0]._replace(offset=-1, digest=1)], log[OUTCOMES])) == 1


def test_dead_letters_of_others_and_missing_ones_are_told(truth):
    def letter(topic: str, partition: int, offset: int) -> Record:
        told = {"topic": topic, "partition": partition, "offset": offset}
        return Record("dead-letters", 0, 0, 0, None, json.dumps(told).encode())

    letters = [letter(*place) for place in sorted(truth[0].bad)]
    assert different_dead_letters(truth, letters * 2) == []
    assert len(different_dead_letters(truth, letters[1:])) == 1
    assert len(different_dead_letters(truth, [*letters, letter("predictions", 0, 10**6)])) == 1
