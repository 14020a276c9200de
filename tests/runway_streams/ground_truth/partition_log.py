"""Logs for the partition's tests: raw records of both topics, and beside each what the oracle reads in it."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
from hypothesis import strategies as st

from runway_streams.ground_truth import slim
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Partition, RawBatch
from runway_streams.ground_truth.records import parse_key, unpack_full, unpack_slim
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import BIN, DAY, HOUR, LIFE, MINUTE
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile
from tests import oracle
from tests.oracle import O, P

T0 = 480_000 * HOUR
"""Where the logs begin, in log time."""
CHANGE = T0 + 30 * HOUR
"""When the settings of `flights` change: a window of 12 h instead of 2 h, another threshold."""
PROFILE = ReferenceProfile(
    features={"x": BinProfile([1, 1, 1], edges=[0.0, 1.0]), "c": BinProfile([1, 1], categories=["a", "b"])},
    score=BinProfile([1, 1], edges=[0.5]),
    outcome=BinProfile([1, 1], categories=["0", "1"]),
)
DOCUMENTS = [
    ModelSettings("flights", "binary", "PT2H", segments=["carrier"], profile=PROFILE),
    ModelSettings("flights", "binary", "PT12H", threshold=0.8, segments=["carrier"], profile=PROFILE, effective_from=CHANGE),
    ModelSettings("minutes", "regression"),
    ModelSettings("kinds", "multiclass", labels=["a", "b"]),
]


def history_of(documents=DOCUMENTS):
    history = SettingsHistory()
    for document in documents:
        history.add(Settings.from_document(document))
    return history


@dataclass(frozen=True)
class Record:
    """A raw record and what it says, None where it cannot be used; `features` are the prediction's."""

    raw: bytes
    log_time: int
    said: P | O | None
    features: dict | None = field(default=None, hash=False)


def flights(score, features=None):
    def make(prediction):
        late = prediction.log_time >= CHANGE
        label = "1" if score >= (0.8 if late else 0.5) else "0"
        said = replace(
            prediction, model="flights", task="binary", score=score, label=label, window=(12 if late else 2) * HOUR,
            declared=frozenset({"carrier"}),
        )  # fmt: skip
        return said, {"score": score}, features

    return make


def minutes(value, interval=None):
    def make(prediction):
        lower, upper = interval or (None, None)
        said = replace(prediction, model="minutes", version="2", task="regression", value=value, lower=lower, upper=upper)
        return said, {"value": value} | ({"interval": {"lower": lower, "upper": upper}} if interval else {}), None

    return make


def kinds(scores):
    def make(prediction):
        best = max(sorted(scores), key=scores.get)
        return (
            replace(prediction, model="kinds", task="multiclass", scores=scores, label=best, labels=("a", "b")),
            {"scores": scores},
            None,
        )

    return make


def unset(score):
    def make(prediction):
        said = replace(prediction, model="unset", score=score, value=score, label="1" if score >= 0.5 else "0")
        return said, score, None

    return make


PREDICTED = [
    flights(0.25, {"x": -1, "c": "a"}),
    flights(0.75, {"x": 0.5}),
    flights(1.0, {"x": "five", "c": "z", "unknown": []}),
    flights(0.5, {"x": "1e3", "c": None}),
    flights(0.6),
    minutes(1.0),
    minutes(-2.5, (-3.0, 0.0)),
    kinds({"a": 0.25, "b": 0.75}),
    kinds({"a": 0.5}),
    unset(0.75),
]
ACTUAL = [(1, "1", 1.0), (True, "1", 1.0), ("false", "0", None), (2.5, "2.5", 2.5), (0, "0", 0.0), ("a", "a", None)]
SEGMENTS = [(), (), (("carrier", "AA"),), (("carrier", "UA"), ("region", "eu")), (("region", "us"),)]
PREDICTION_AGES = [-9 * MINUTE, 0, 1, 5 * MINUTE, 5 * MINUTE, HOUR, 2 * HOUR, 11 * HOUR, 3 * DAY]
OUTCOME_AGES = [0, 0, 0, 0, -9 * MINUTE, HOUR]
GAPS = [0, 0, 1, *[20_000] * 6, *[5 * MINUTE] * 6, HOUR, HOUR, 5 * HOUR, 12 * HOUR, LIFE, LIFE + 1]
BAD = [b"{", b"", b"[]", b'{"prediction_id":"a"}']


def id_at(number, log_time):
    return f"id-{number}"


def id_of_one_life(number, log_time):
    """An id whose records all lie within LIFE of one another."""
    return f"id-{number}-{log_time // LIFE}"


@st.composite
def log_times(draw, most):
    size = draw(st.integers(0, most))
    gaps = draw(st.lists(st.sampled_from(GAPS), min_size=size, max_size=size))
    return [T0 + sum(gaps[: i + 1]) for i in range(len(gaps))]


@st.composite
def prediction_records(draw, name, log_time, order):
    if draw(st.integers(0, 14)) == 0:
        return Record(draw(st.sampled_from(BAD)), log_time, None)
    key = name(draw(st.integers(0, 8)), log_time)
    bare = P(
        key,
        log_time,
        log_time - draw(st.sampled_from(PREDICTION_AGES)),
        (0, order),
        segments=draw(st.sampled_from(SEGMENTS)),
    )
    said, prediction, features = draw(st.sampled_from(PREDICTED))(bare)
    document = {"prediction_id": key, "model_id": said.model, "model_version": said.version, "timestamp": said.time}
    document |= {"prediction": prediction, "segment": dict(said.segments)} | ({"features": features} if features else {})
    return Record(msgspec.json.encode(document), log_time, said, features)


@st.composite
def outcome_records(draw, name, log_time, order):
    if draw(st.integers(0, 14)) == 0:
        return Record(draw(st.sampled_from(BAD)), log_time, None)
    key = name(draw(st.integers(0, 8)), log_time)
    actual, label, value = draw(st.sampled_from(ACTUAL))
    said = O(key, log_time, log_time - draw(st.sampled_from(OUTCOME_AGES)), (1, order), label, value)
    return Record(
        msgspec.json.encode({"prediction_id": key, "actual_outcome": actual, "timestamp": said.time}), log_time, said
    )


@st.composite
def logs(draw, name=id_at, most=30):
    """Both topics of a partition: topic -> records."""
    return {
        PREDICTIONS: [draw(prediction_records(name, t, i)) for i, t in enumerate(draw(log_times(most)))],
        OUTCOMES: [draw(outcome_records(name, t, i)) for i, t in enumerate(draw(log_times(most)))],
    }


def said_in(records):
    return [record.said for record in records if record.said is not None]


def feed(partition, log, topic, count):
    """Gives the partition the next `count` records of a topic; returns the bad events."""
    start = partition.next_offset(topic) or 0
    records = log[topic][start : start + count]
    offsets = list(range(start, start + len(records)))
    batch = RawBatch([r.raw for r in records], offsets, [r.log_time for r in records], start + len(records))
    return partition.apply(topic, batch)


def feed_all(partition, log):
    """The rest of the log, the older topic first, a few records at a time, and a commit."""
    while left := [topic for topic in log if (partition.next_offset(topic) or 0) < len(log[topic])]:
        feed(partition, log, min(left, key=lambda topic: log[topic][partition.next_offset(topic) or 0].log_time), 5)
    partition.commit()


def expire(partition):
    """Both topics fall silent until everything has expired; commits until no row is left."""
    for topic in (PREDICTIONS, OUTCOMES):
        partition.idle(topic, 2 * T0)
    for _ in range(3):
        partition.commit()


@dataclass
class Seen:
    """What a store holds, in the oracle's terms."""

    rows: dict = field(default_factory=dict)
    confusion: dict = field(default_factory=dict)
    histograms: dict = field(default_factory=dict)
    partial: set = field(default_factory=set)


def seen(records, from_hour=0):
    """Decodes the records of a store (or an outbox), those of log hours from `from_hour` on."""
    found = Seen()
    for raw, value in records:
        key = parse_key(raw)
        whose = (key.model, key.version, key.segment_key, key.segment_value)
        if key.log_hour < from_hour:
            continue
        if key.kind == "full":
            for name, cells in unpack_full(value).families.items():
                for cell in np.flatnonzero(cells).tolist():
                    found.histograms[(*whose, key.event_hour * HOUR, key.log_hour, name, cell)] = cells[cell]
            continue
        record = unpack_slim(value)
        for bin in np.flatnonzero(record.matrix.any(axis=1)).tolist():
            row = dict(zip(slim.FIELDS, record.matrix[bin].tolist(), strict=True))
            found.rows[(*whose, key.event_hour * HOUR + bin * BIN, key.log_hour)] = row
        for bin, predicted, actual, n in record.confusion:
            found.confusion[(*whose, key.event_hour * HOUR + bin * BIN, key.log_hour, predicted, actual)] = n
        if record.partial:
            found.partial.add((*whose, key.event_hour, key.log_hour))
    return found


def expected(log):
    """What the oracle counts in a log."""
    judged = oracle.judge(said_in(log[PREDICTIONS]), said_in(log[OUTCOMES]), far=False)
    rows = {key: {name: row[name] for name in slim.FIELDS} for key, row in oracle.rows(judged).items()}
    confusion = {key: joined for key, (joined, _) in oracle.confusion(judged).items() if joined}
    histograms = {key: joined for key, (joined, _) in oracle.histograms(judged).items() if joined}
    features = {record.said: record.features for record in log[PREDICTIONS] if record.said is not None}
    return Seen(rows, confusion, histograms | profile_counts(judged, features))


def profile_counts(judged, features):
    """The counts in the bins of PROFILE: of features and scores of all predictions, of scores by outcome of joined ones."""
    cells = Counter()
    for one in judged:
        p = one.prediction
        if p.model != "flights":
            continue
        for segment in (("", ""), *(s for s in p.segments if s[0] in p.declared)):
            key = oracle.key_of(p, segment, HOUR)
            given = features[p] or {}
            cells[(*key, "feature:x", {None: 3, -1: 0, 0.5: 1, "five": 4, "1e3": 2}[given.get("x")])] += 1
            cells[(*key, "feature:c", {None: 2, "a": 0, "z": 3}[given.get("c")])] += 1
            cells[(*key, "score", int(p.score > 0.5))] += 1
            if one.status == "joined" and one.outcome.label in ("0", "1"):
                cells[(*key, "joint", 2 * int(p.score > 0.5) + int(one.outcome.label))] += 1
    return dict(cells)


def assert_same(found, wanted):
    """Counts are equal; sums and moments too, but for the last bits."""
    assert found.rows.keys() == wanted.rows.keys()
    for key, row in wanted.rows.items():
        assert found.rows[key] == pytest.approx(row, rel=1e-9, abs=1e-9), key
    assert found.confusion == wanted.confusion
    assert found.histograms.keys() == wanted.histograms.keys()
    assert found.histograms == pytest.approx(wanted.histograms, rel=1e-9, abs=1e-9)


def expected_counters(log):
    """The counters of a log once all its rows have expired."""
    predictions, outcomes = said_in(log[PREDICTIONS]), said_in(log[OUTCOMES])
    judged = oracle.judge(predictions, outcomes, far=False)
    statuses = Counter(one.status for one in judged)
    by_id = defaultdict(list)
    for outcome in outcomes:
        by_id[outcome.id].append(outcome)
    outcome_heads = sum(len(oracle.heads(records)) for records in by_id.values())
    matched = sum(one.outcome is not None for one in judged)
    return {
        "predictions": len(log[PREDICTIONS]),
        "outcomes": len(log[OUTCOMES]),
        "duplicates": len(predictions) - len(judged) + len(outcomes) - outcome_heads,
        "unmatched": outcome_heads - matched,
        **{name: statuses[name] for name in ("joined", "late", "early")},
    }


def fresh(store, history=None):
    return Partition(store, history or history_of(), "cluster", 1)
