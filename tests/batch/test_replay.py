"""Replay over files: every kind of file gives the same answer, and it is the independent one."""

import csv
import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from batch.replay import read_settings, replay
from runway_streams.errors import ConfigError
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.partition import Partition, RawBatch
from runway_streams.ground_truth.performance import performance
from runway_streams.ground_truth.records import parse_key, unpack_full, unpack_slim
from runway_streams.times import event_time
from schemas.prediction import Timestamp
from tables.memory_store import MemoryStore

HOUR = 3600
N = 3_000


@pytest.fixture(scope="module")
def events() -> tuple[list[dict], list[dict]]:
    rng = random.Random(5)
    predictions, outcomes = [], []
    for i in range(N):
        score, time = rng.random(), 1_700_000_000 + 40 * i
        predictions.append({"prediction_id": f"p{i}", "model_id": "m", "timestamp": time, "score": score})
        if rng.random() < 0.9:
            delay = rng.randrange(int(1.2 * HOUR))
            outcomes.append(
                {"prediction_id": f"p{i}", "actual_outcome": int(rng.random() < score), "timestamp": time + delay}
            )
    return predictions, outcomes


def write(path: Path, rows: list[dict]) -> Path:
    match path.suffix:
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case _:
            path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".ndjson"])
def test_every_kind_of_file_gives_the_independent_answer(tmp_path: Path, events, kind: str):
    predictions, outcomes = events
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"model_id": "m", "task": "binary"}))
    told = replay(write(tmp_path / f"p{kind}", predictions), write(tmp_path / f"o{kind}", outcomes), settings)["models"]["m"]

    score = {p["prediction_id"]: p["score"] for p in predictions}
    time = {p["prediction_id"]: p["timestamp"] for p in predictions}
    joined = [o for o in outcomes if o["timestamp"] - time[o["prediction_id"]] <= HOUR]
    truth = [o["actual_outcome"] for o in joined]
    scores = [score[o["prediction_id"]] for o in joined]
    assert (told["predictions"], told["joined"], told["late"]) == (N, len(joined), len(outcomes) - len(joined))
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(truth, [s >= 0.5 for s in scores]))
    assert told["metrics"]["log_loss"]["value"] == pytest.approx(log_loss(truth, scores))
    assert sum(day["joined"] for day in told["days"]) == len(joined)
    assert len(told["days"]) > 1
    for day in told["days"]:
        those = [i for i, o in enumerate(joined) if date_of(time[o["prediction_id"]]) == day["date"]]
        auc = day["metrics"]["auc"]
        assert (auc["n"], day["metrics"]["ece"]["n"]) == (len(those), len(those))
        expected = roc_auc_score([truth[i] for i in those], [scores[i] for i in those])
        assert auc["value"] == pytest.approx(expected, abs=auc["bound"] + 1e-9)


def date_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def test_a_column_that_is_missing_is_named(tmp_path: Path, events):
    predictions, outcomes = events
    without = [{"prediction_id": p["prediction_id"], "timestamp": p["timestamp"], "score": 1.0} for p in predictions[:3]]
    with pytest.raises(ConfigError, match="no column model_id"):
        replay(write(tmp_path / "p.csv", without), write(tmp_path / "o.csv", outcomes))


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path):
    (tmp_path / "p.xlsx").write_text("")
    with pytest.raises(ConfigError, match=r"Give one of \.parquet"):
        replay(tmp_path / "p.xlsx", tmp_path / "p.xlsx")


def test_bad_rows_are_counted(tmp_path: Path, events):
    predictions, outcomes = events
    bad = [
        *predictions[:10],
        {"prediction_id": "x", "model_id": "m", "timestamp": predictions[0]["timestamp"], "score": 7.0},
    ]
    report = replay(write(tmp_path / "p.ndjson", bad), write(tmp_path / "o.ndjson", outcomes))
    assert report["dead_letters"] == 1
    assert report["models"]["m"]["predictions"] == 10


def test_settings_that_apply_later_are_told_too(tmp_path: Path):
    """What the join read by them is also reported by them; profiles that differ have bins of their own."""
    predictions = [
        {"prediction_id": f"p{i}", "model_id": "m", "timestamp": 1_700_000_000 + 60 * i, "score": 0.3} for i in range(20)
    ]
    outcomes = [{**p, "actual_outcome": "late", "timestamp": p["timestamp"] + 1} for p in predictions]
    named = {"model_id": "m", "task": "binary", "labels": ["late", "on_time"], "positive_label": "late", "threshold": 0.2}
    profiles = [{"score": {"edges": edges, "counts": [1.0] * (len(edges) + 1)}} for edges in ([0.5], [0.1, 0.5])]
    times = [1_600_000_000_000, 1_700_000_600_000]
    settings = tmp_path / "settings.json"
    settings.write_text(
        json.dumps([named | {"profile": p, "effective_from": t} for p, t in zip(profiles, times, strict=True)])
    )
    told = replay(write(tmp_path / "p.ndjson", predictions), write(tmp_path / "o.ndjson", outcomes), settings)["models"]["m"]
    assert told["metrics"]["recall"] == {"value": 1.0, "n": 20, "ci": told["metrics"]["recall"]["ci"]}


def test_settings_that_cannot_be_read_are_one_sentence(tmp_path: Path, events):
    files = [write(tmp_path / "p.csv", events[0][:1]), write(tmp_path / "o.csv", events[1][:1])]
    with pytest.raises(ConfigError, match=r"missing\.json cannot be read"):
        replay(*files, tmp_path / "missing.json")


# -- the same events, however they are written -------------------------------------------------------------------------

SETTINGS = [
    {"model_id": "binary", "task": "binary", "labels": ["late", "on_time"], "positive_label": "late", "threshold": 0.4},
    {"model_id": "classes", "task": "multiclass", "labels": ["a", "b", 'Ä, "b"']},
    {"model_id": "regression", "task": "regression", "join_window": "PT3H"},
]
MODELS = ["binary", "classes", "regression", "guessed"]
NAMES = ["1", "007", "1.0", "x y", 'Ä, "b"']
WORDS = [
    "late",
    "on_time",
    "a",
    "b",
    'Ä, "b"',
    " late ",
    "two\nlines",
    "{",
    "[1]",
    "null",
    "nan",
    "toast",
    "0.7",
    "1",
    "true",
]
START = 1_700_000_000_000

scores = st.integers(1, 99).map(lambda n: n / 100)
words = st.sampled_from(WORDS)
numbers = st.one_of(st.integers(-5, 200), st.integers(-50, 50).map(lambda n: n / 8))
intervals = st.tuples(st.integers(0, 5), st.integers(4, 9)).map(lambda ends: {"lower": ends[0] / 2, "upper": ends[1] / 2})
forms = st.one_of(
    scores,
    words,
    numbers,
    st.booleans(),
    st.fixed_dictionaries({}, optional={"label": words, "score": scores, "value": scores, "interval": intervals}).filter(
        bool
    ),
    st.dictionaries(words, scores, min_size=1, max_size=3).map(lambda found: {"scores": found}),
    st.just({"score": 7.0}),
)
EVENT = {"prediction_id": st.sampled_from([f"{i:02}" for i in range(12)]), "ms": st.integers(0, 40 * HOUR * 1000)}
OPTIONAL = {"log_time": st.integers(START, START + 40 * HOUR * 1000)}
predictions_of = st.fixed_dictionaries(
    EVENT | {"model_id": st.sampled_from(MODELS), "prediction": forms},
    optional=OPTIONAL
    | {
        "model_version": st.sampled_from(NAMES),
        "segment": st.dictionaries(st.sampled_from(["country", "a b"]), st.sampled_from(NAMES), min_size=1),
        "features": st.dictionaries(st.sampled_from(["x", "y"]), scores, min_size=1),
        "feature_timestamps": st.just({"x": "2023-11-14T22:13:20Z"}),
        "entity_id": st.sampled_from(NAMES),
    },
)
outcomes_of = st.fixed_dictionaries(EVENT | {"actual_outcome": st.one_of(words, numbers, st.booleans())}, optional=OPTIONAL)
notations = st.sampled_from(["ms", "s", "rfc", "mixed"])


def in_notation(events: list[dict], notation: str) -> list[dict]:
    """The events with their `ms` after START written as their `timestamp`."""
    found = []
    for i, event in enumerate(events):
        ms = START + event["ms"]
        kind = ("ms", "s", "rfc")[i % 3] if notation == "mixed" else notation
        moment = datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
        time = {"ms": ms, "s": ms // 1000, "rfc": moment.isoformat()}[kind]
        found.append({name: value for name, value in event.items() if name != "ms"} | {"timestamp": time})
    return found


def write_as(path: Path, events: list[dict]) -> Path:
    """As lines, as an array, or as a table: in Parquet a column is typed where all its values are of one type."""
    if path.suffix == ".ndjson":
        return write(path, events)
    if path.suffix == ".json":
        path.write_text(json.dumps(events, indent=1))
        return path
    columns = {name: [event.get(name) for event in events] for event in events for name in event}
    texts = {name: [text(name, value) for value in column] for name, column in columns.items()}
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([list(texts), *zip(*texts.values(), strict=True)])
    else:
        typed = {name: column for name, column in columns.items() if is_typed(column)}
        pq.write_table(pa.table(texts | typed), path)
    return path


def is_typed(column: list) -> bool:
    kinds = {type(value) for value in column if value is not None}
    return len(kinds) == 1 and kinds != {str}


def text(name: str, value) -> str | None:
    """As JSON where it is no string, or one that would say something else as JSON."""
    if value is None or name in ("prediction_id", "model_id", "model_version", "entity_id"):
        return value
    return value if isinstance(value, str) and value not in ("0.7", "1", "true") else json.dumps(value)


def directly(predictions: list[dict], outcomes: list[dict], settings: Path) -> dict:
    """What a partition says to the events' bytes."""
    history = read_settings(settings)
    partition = Partition(MemoryStore(), history)
    for topic, events in (("predictions", predictions), ("outcomes", outcomes)):
        placed = sorted(((log_time_of(event), event) for event in events), key=lambda pair: pair[0])
        values = [json.dumps({k: v for k, v in event.items() if k != "log_time"}).encode() for _, event in placed]
        partition.apply(topic, RawBatch(values, range(len(values)), [time for time, _ in placed], len(values)))
    partition.commit()
    rows, confusion, families = {}, {}, {}
    for raw, record in partition.store.iter_records():
        key = parse_key(raw)
        for day in (None, key.event_hour // 24) if not key.segment_key else ():
            at = key.model, day
            if key.kind == "full":
                for name, cells in unpack_full(record).families.items():
                    families.setdefault(at, {})[name] = families.get(at, {}).get(name, 0) + cells
                continue
            found = unpack_slim(record)
            rows[at] = slim.merge(np.vstack([rows.get(at, slim.empty(1)), found.matrix]))
            for _, predicted, actual, n in found.confusion:
                confusion.setdefault(at, Counter())[predicted, actual] += n
    told: dict = {"counters": partition.state.counters, "models": {}}
    for (model, day), row in rows.items():
        counts = {name: int(row[0][slim.INDEX[name]]) for name in ("predictions", "joined", "late", "early")}
        at = model, day
        metrics = performance(row[0], confusion.get(at, {}), history.at(model, START), families.get(at))
        told["models"].setdefault(model, {})[day] = counts | {"metrics": metrics}
    return told


def log_time_of(event: dict) -> int:
    if "log_time" in event:
        return event["log_time"]
    return event_time(msgspec.convert(event["timestamp"], Timestamp))


def by_day(report: dict) -> dict:
    days = {None: report} | {
        int(datetime.fromisoformat(day["date"]).replace(tzinfo=UTC).timestamp()) // (24 * HOUR): day
        for day in report["days"]
    }
    names = ("predictions", "joined", "late", "early", "metrics")
    return {day: {name: found[name] for name in names} for day, found in days.items()}


def rounded(value):
    """Sums depend on the order of their terms in the last digits."""
    if isinstance(value, dict):
        return {name: rounded(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(member) for member in value]
    return round(value, 9) + 0.0 if isinstance(value, float) else value


@given(
    st.lists(predictions_of, min_size=1, max_size=40),
    st.lists(outcomes_of, min_size=1, max_size=40),
    notations,
    st.booleans(),
)
def test_the_same_events_give_the_same_answer_however_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, predictions: list[dict], outcomes: list[dict], notation: str, twice: bool
):
    folder = tmp_path_factory.mktemp("same")
    predictions, outcomes = in_notation(predictions, notation), in_notation(outcomes, notation)
    if twice:
        predictions, outcomes = predictions * 2, outcomes * 2
    settings = folder / "settings.json"
    settings.write_text(json.dumps(SETTINGS))
    expected = directly(predictions, outcomes, settings)
    for kind in (".ndjson", ".json", ".csv", ".parquet"):
        files = [write_as(folder / f"{name}{kind}", events) for name, events in (("p", predictions), ("o", outcomes))]
        told = replay(*files, settings)
        assert told["counters"] == expected["counters"], kind
        assert rounded({m: by_day(report) for m, report in told["models"].items()}) == rounded(expected["models"]), kind
