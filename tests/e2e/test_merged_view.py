"""Events from a foreign client, in disorder, with copies and bad ones, through the workers, the batch and the API: the
merged answers are those of an independent computation, metric by metric."""

import asyncio
import json
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from sklearn import metrics as sk

from batch.ground_truth_rows import export
from batch.nightly import run_batch
from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from runway_streams.devstack.first_key import make_first_key
from runway_streams.ground_truth.speed_rows import speed_reader
from schemas.model import Model
from tests.running import caught_up, eventually, worker
from tests.traffic import BAD

pytestmark = pytest.mark.kafka
HOUR = 3_600_000
N = 1_500
CLASSES = ["cat", "dog", "fox"]
MODELS = [
    Model("spam", task="binary", join_window="PT2H", segments=["region"]),
    Model("species", task="multiclass", labels=CLASSES),
    Model("price", task="regression"),
]


@dataclass
class Sent:
    """One prediction and what became of it, as the test knows it."""

    model: str
    region: str
    time: int
    prediction: dict
    actual: object
    delay: int | None

    def status(self) -> str | None:
        if self.delay is None:
            return None
        window = 2 * HOUR if self.model == "spam" else HOUR
        return "early" if self.delay < 0 else "joined" if self.delay <= window else "late"


def make(rng: random.Random, now: int) -> list[Sent]:
    sent = []
    for _ in range(N):
        for model in ("spam", "species", "price"):
            time_ = now - rng.randrange(5 * HOUR, 8 * HOUR)
            delay = rng.choice([None, -5_000, *[rng.randrange(HOUR) for _ in range(8)], 2 * HOUR + 1 + rng.randrange(HOUR)])
            sent.append(Sent(model, rng.choice(["eu", "us"]), time_, *_told(model, rng), delay))
    return sent


def _told(model: str, rng: random.Random) -> tuple[dict, object]:
    if model == "spam":
        score = rng.betavariate(2, 2)
        return {"score": score}, int(rng.random() < score)
    if model == "species":
        weights = [rng.random() + 0.01 for _ in CLASSES]
        scores = {c: w / sum(weights) for c, w in zip(CLASSES, weights, strict=True)}
        return {"scores": scores}, rng.choices(CLASSES, weights)[0]
    value = rng.gauss(100, 20)
    return {"value": value, "interval": {"lower": value - 12, "upper": value + 12, "level": 0.8}}, value + rng.gauss(1, 10)


def send(config: Config, sent: list[Sent], rng: random.Random) -> None:
    producer = Producer({"bootstrap.servers": config.bootstrap, "partitioner": "murmur2_random", "compression.type": "lz4"})
    records = []
    for i, one in enumerate(sent):
        key = f"{one.model}-{i}"
        event = {"prediction_id": key, "model_id": one.model, "model_version": "1", "timestamp": one.time,
                 "prediction": one.prediction, "segment": {"region": one.region}, "unknown": [1]}  # fmt: skip
        records += [("predictions", key, event)] * rng.choice([1, 1, 1, 2])
        if one.delay is not None:
            outcome = {"prediction_id": key, "actual_outcome": one.actual, "timestamp": one.time + one.delay}
            records += [("outcomes", key, outcome)] * rng.choice([1, 1, 1, 2])
    rng.shuffle(records)
    for i, (noun, key, event) in enumerate(records):
        producer.produce(config.topic(noun), json.dumps(event).encode(), key)
        if i % 50 == 0:
            producer.produce(config.topic(rng.choice(["predictions", "outcomes"])), rng.choice(BAD), key)
        producer.poll(0)
    producer.flush(30)


async def api(config: Config) -> tuple[subprocess.Popen, httpx.Client]:
    port = free_port()
    environ = {**os.environ, "RUNWAY_HOME": str(config.home), "RUNWAY_BOOTSTRAP": config.bootstrap,
               "RUNWAY_TOPIC_PREFIX": config.topic_prefix}  # fmt: skip
    log = open(config.home / "api.log", "wb")  # noqa: SIM115
    command = [sys.executable, "-m", "runway_streams.cli", "api", "--port", str(port)]
    headers = {"Authorization": f"Bearer {await make_first_key(config)}"}
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20, trust_env=False)
    return subprocess.Popen(command, env=environ, stdout=log, stderr=log), client


async def register(http: httpx.Client) -> None:
    """Registers the models, and waits until the workers can know them."""
    await eventually(lambda: _is_ready(http), 60)
    for model in MODELS:
        answer = http.post("/v1/models", content=msgspec.json.encode(model))
        assert answer.status_code == 201, answer.text
    for model in MODELS:
        await eventually(lambda path=f"/v1/models/{model.model_id}": http.get(path).json()["settings"]["published"], 30)


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def totals(http: httpx.Client, model: str, now: int, **query: str) -> dict:
    bounds = {"start": _rfc(now - 12 * HOUR), "end": _rfc(now), "granularity": "PT1H"}
    answer = http.get(f"/v1/models/{model}/performance", params=bounds | query)
    assert answer.status_code == 200, answer.text
    return answer.json()["totals"]


def _rfc(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))


async def test_merged_answers_equal_an_independent_computation(topics):
    config = await topics(partitions=2)
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    now = int(time.time() * 1000)
    sent = make(rng, now)
    with worker(config) as speed, worker(config, "archive") as archive:
        process, http = await api(config)
        try:
            await register(http)
            await asyncio.to_thread(send, config, sent, rng)
            await caught_up(config, speed)
            await eventually(lambda: _predictions(http, "price", now) == N, 60, archive.tail)
            await eventually(lambda: _histograms_are_there(http, now), 60, speed.tail)
            for model in ("spam", "species", "price"):
                check(model, sent, totals(http, model, now, view="speed"), {"joined"})
            check("spam", [s for s in sent if s.region == "eu"], totals(http, "spam", now, segment="region:eu"), {"joined"})
            report = await asyncio.to_thread(run_batch, config, final=True, speed=speed_reader(config))
            assert report.joined == sum(s.status() == "joined" for s in sent)
            exported = await asyncio.to_thread(export, config, "price", now - 12 * HOUR, now, config.home / "price.parquet")
            check_export(pq.read_table(config.home / "price.parquet"), sent, exported)
            await eventually(lambda: _source(http, now) == "batch", 60)
            for model in ("spam", "species", "price"):
                check(model, sent, totals(http, model, now), {"joined", "late"})
            check(
                "spam",
                [s for s in sent if s.region == "eu"],
                totals(http, "spam", now, segment="region:eu"),
                {"joined", "late"},
            )
        finally:
            process.terminate()
            process.wait(20)


def _predictions(http: httpx.Client, model: str, now: int) -> int:
    try:
        return totals(http, model, now)["predictions"]
    except (AssertionError, httpx.HTTPError):
        return -1


def _histograms_are_there(http: httpx.Client, now: int) -> bool:
    told = totals(http, "spam", now)
    return told["metrics"]["ece"]["n"] == told["joined"]


def _source(http: httpx.Client, now: int) -> str:
    return totals(http, "spam", now)["source"]


def check_export(table: pa.Table, sent: list[Sent], rows: int) -> None:
    """One row a prediction, with what became of it."""
    mine = [s for s in sent if s.model == "price"]
    assert rows == table.num_rows == len(mine)
    assert Counter(table["status"].to_pylist()) == Counter(s.status() or "unmatched" for s in mine)


def check(model: str, sent: list[Sent], told: dict, measured: set[str]) -> None:
    mine = [s for s in sent if s.model == model]
    assert told["predictions"] == len(mine)
    for status in ("joined", "late", "early"):
        assert told[status] == sum(s.status() == status for s in mine), status
    pairs = [s for s in mine if s.status() in measured]
    got = {name: m["value"] for name, m in told["metrics"].items() if isinstance(m, dict) and "value" in m}
    {"spam": check_binary, "species": check_multiclass, "price": check_regression}[model](pairs, got, told)


def check_binary(pairs: list[Sent], got: dict, told: dict) -> None:
    truth = np.array([s.actual for s in pairs])
    score = np.array([s.prediction["score"] for s in pairs])
    label = score >= 0.5
    assert [told[cell] for cell in ("tn", "fp", "fn", "tp")] == sk.confusion_matrix(truth, label).ravel().tolist()
    near(got["accuracy"], sk.accuracy_score(truth, label))
    near(got["precision"], sk.precision_score(truth, label))
    near(got["recall"], sk.recall_score(truth, label))
    near(got["f1"], sk.f1_score(truth, label))
    near(got["log_loss"], sk.log_loss(truth, score))
    near(got["brier"], sk.brier_score_loss(truth, score))
    near(got["ece"], ece(truth, score))
    assert abs(got["auc"] - sk.roc_auc_score(truth, score)) <= told["metrics"]["auc"]["bound"] + 1e-12


def check_multiclass(pairs: list[Sent], got: dict, told: dict) -> None:
    truth = [s.actual for s in pairs]
    scores = np.array([[s.prediction["scores"][c] for c in CLASSES] for s in pairs])
    label = [CLASSES[i] for i in scores.argmax(axis=1)]
    near(got["accuracy"], sk.accuracy_score(truth, label))
    near(got["log_loss"], sk.log_loss(truth, scores, labels=CLASSES))
    near(got["brier"], sk.brier_score_loss(truth, scores, labels=CLASSES, scale_by_half=False))
    near(got["ece"], ece(np.array([t == said for t, said in zip(truth, label, strict=True)]), scores.max(axis=1)))
    matrix = sk.confusion_matrix(truth, label, labels=told["confusion"]["labels"])
    assert sorted(np.array(told["confusion"]["matrix"]).ravel()) == sorted(matrix.ravel())
    assert any(math.isclose(value, sk.f1_score(truth, label, average="macro")) for value in flat(told["metrics"]))


def check_regression(pairs: list[Sent], got: dict, told: dict) -> None:
    truth = np.array([s.actual for s in pairs])
    value = np.array([s.prediction["value"] for s in pairs])
    near(got["mae"], sk.mean_absolute_error(truth, value))
    near(got["rmse"], sk.root_mean_squared_error(truth, value))
    near(got["bias"], float((value - truth).mean()))
    near(got["mape"], sk.mean_absolute_percentage_error(truth, value))
    near(got["r2"], sk.r2_score(truth, value))
    near(got["coverage"], float((np.abs(value - truth) <= 12).mean()))


def ece(truth: np.ndarray, score: np.ndarray) -> float:
    bins = np.minimum((score * 10).astype(int), 9)
    return sum(abs(score[bins == b].mean() - truth[bins == b].mean()) * (bins == b).mean() for b in set(bins))


def near(got: float, expected: float) -> None:
    assert math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-9), (got, expected)


def flat(tree) -> list[float]:
    if isinstance(tree, dict):
        return [x for value in tree.values() for x in flat(value)]
    if isinstance(tree, list):
        return [x for value in tree for x in flat(value)]
    return [tree] if isinstance(tree, float) else []
