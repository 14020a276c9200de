"""Replay over files: every kind of file gives the same answer, and it is the independent one."""

import csv
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, log_loss

from batch.replay import replay
from runway_streams.errors import ConfigError

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
