"""The API's answers against scikit-learn's: every metric of a model's merged totals, of the pairs that the verifier judged."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import isclose

import httpx
import numpy as np
from sklearn import metrics as sk

from runway_streams.config import Config
from runway_streams.devstack.children import free_port
from runway_streams.devstack.first_key import make_first_key
from tests.faults.verifier import Truth
from tests.oracle import Judged
from tests.running import eventually
from tests.traffic import CLASSES

HOUR = 3_600_000
AGREE_LIMIT_S = 30.0


@asynccontextmanager
async def served(config: Config) -> AsyncIterator[httpx.Client]:
    """A real API process of a test's configuration, and a client that it lets in."""
    port = free_port()
    environ = {**os.environ, "RUNWAY_HOME": str(config.home), "RUNWAY_BOOTSTRAP": config.bootstrap,
               "RUNWAY_TOPIC_PREFIX": config.topic_prefix}  # fmt: skip
    key = await make_first_key(config)
    with (config.home / "api.log").open("wb") as log:
        command = [sys.executable, "-m", "runway_streams.cli", "api", "--port", str(port)]
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=20, trust_env=False) as http:
        try:
            await eventually(lambda: _is_ready(http), 60, lambda: (config.home / "api.log").read_text()[-3_000:])
            yield http
        finally:
            process.terminate()
            process.wait(20)


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


async def verify_answers(http: httpx.Client, truth: dict[int, Truth]) -> None:
    """Raises AssertionError with what differs where the API's totals of any model are not those of the verifier's pairs."""
    judged = [one for of in truth.values() for one in of.judged]
    told: list[str] = []

    def agrees() -> bool:
        told[:] = different_answers(http, judged)
        return not told

    await eventually(agrees, AGREE_LIMIT_S, lambda: "\n".join(told[:10]))


def different_answers(http: httpx.Client, judged: list[Judged]) -> list[str]:
    """How the API's totals differ, model by model."""
    told = []
    for model in sorted({one.prediction.model for one in judged}):
        mine = [one for one in judged if one.prediction.model == model]
        answer = http.get(f"/v1/models/{model}/performance", params=_bounds(mine))
        if answer.status_code != 200:
            told.append(f"{model}: {answer.status_code} {answer.text}")
            continue
        told += [f"{model}: {one}" for one in different_totals(answer.json()["totals"], mine)]
    return told


def _bounds(judged: list[Judged]) -> dict[str, str]:
    times = [one.prediction.time for one in judged]
    start, end = min(times) // HOUR, max(times) // HOUR + 1
    told = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(hour * 3600)) for hour in (start, end)]
    return {"start": told[0], "end": told[1], "granularity": "PT1H"}


def different_totals(totals: dict, judged: list[Judged]) -> list[str]:
    """How one model's totals differ from the metrics of these pairs."""
    statuses = Counter(one.status for one in judged)
    wanted = {"predictions": len(judged)} | {name: statuses[name] for name in ("joined", "late", "early")}
    told = [f"{name} is {totals[name]}, must be {n}" for name, n in wanted.items() if totals[name] != n]
    pairs = [one for one in judged if one.status == "joined"]
    if not pairs:
        return told
    got = totals["metrics"]
    task = judged[0].prediction.task or ""
    for name, value in {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[task](pairs).items():
        # The histogram's AUC says itself how far it may be off.
        off = got[name].get("bound") or 0.0
        said = got[name]["value"]
        if said is None or not isclose(said, value, rel_tol=1e-9, abs_tol=1e-9 + off):
            told.append(f"{name} is {got[name]}, must be {value}")
    return told


def _binary(pairs: list[Judged]) -> dict[str, float]:
    truth = np.array([int(one.outcome.label) for one in pairs])
    score = np.array([one.prediction.score for one in pairs])
    label = (score >= 0.5).astype(int)
    return {
        "accuracy": sk.accuracy_score(truth, label),
        "precision": sk.precision_score(truth, label),
        "recall": sk.recall_score(truth, label),
        "f1": sk.f1_score(truth, label),
        "log_loss": sk.log_loss(truth, score, labels=[0, 1]),
        "brier": sk.brier_score_loss(truth, score),
        "ece": _ece(truth, score),
        "auc": sk.roc_auc_score(truth, score),
    }


def _multiclass(pairs: list[Judged]) -> dict[str, float]:
    truth = [one.outcome.label for one in pairs]
    label = [one.prediction.label for one in pairs]
    scores = np.array([[one.prediction.scores[name] for name in CLASSES] for one in pairs])
    right = np.array([a == b for a, b in zip(truth, label, strict=True)])
    averages = {
        f"{name}_{average}": score(truth, label, average=average, zero_division=0)
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score))
        for average in ("macro", "weighted")
    }
    return averages | {
        "accuracy": sk.accuracy_score(truth, label),
        "log_loss": sk.log_loss(truth, scores, labels=CLASSES),
        "brier": sk.brier_score_loss(truth, scores, labels=CLASSES, scale_by_half=False),
        "ece": _ece(right, scores.max(axis=1)),
    }


def _regression(pairs: list[Judged]) -> dict[str, float]:
    truth = np.array([one.outcome.value for one in pairs])
    value = np.array([one.prediction.value for one in pairs])
    covered = [one.prediction.lower <= one.outcome.value <= one.prediction.upper for one in pairs]
    return {
        "mae": sk.mean_absolute_error(truth, value),
        "rmse": sk.root_mean_squared_error(truth, value),
        "bias": float((value - truth).mean()),
        "mape": sk.mean_absolute_percentage_error(truth, value),
        "r2": sk.r2_score(truth, value),
        "coverage": float(np.mean(covered)),
    }


def _ece(truth: np.ndarray, score: np.ndarray) -> float:
    bins = np.minimum((score * 10).astype(int), 9)
    return float(sum(abs(score[bins == b].mean() - truth[bins == b].mean()) * (bins == b).mean() for b in set(bins)))
