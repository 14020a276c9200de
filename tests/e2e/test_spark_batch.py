"""`runway batch --engine spark` as it is run: the API serves of its snapshot what it serves of DuckDB's."""

import os
import subprocess
import sys

import msgspec
import orjson
import pytest

from api import performance
from api.query import Query
from batch.lake import FolderLake
from batch.nightly import run_batch
from batch.view import load_view
from runway_streams.config import Config
from runway_streams.ground_truth.settings import Settings
from runway_streams.times import HOUR
from tests.api.conftest import merged_view
from tests.batch.log import T0, archive
from tests.batch.spark import QUICK_JAVA, need_java
from tests.batch.test_nightly import H0
from tests.batch.test_view import log

pytestmark = pytest.mark.kafka
MODELS = {"binary": {}, "regression": {}, "multiclass": {"labels": ("a", "b")}}


def runway_batch(config, *options):
    environ = {
        **os.environ,
        "RUNWAY_HOME": str(config.home),
        "RUNWAY_BOOTSTRAP": config.bootstrap,
        "RUNWAY_TOPIC_PREFIX": config.topic_prefix,
        "RUNWAY_BATCH_MEMORY": "1700MiB",
        "JAVA_TOOL_OPTIONS": QUICK_JAVA,
    }
    command = [sys.executable, "-m", "runway_streams.cli", "batch", *options]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=280, check=False)


def served(config, model):
    """All that the API answers for a model, by the hour."""
    history = Settings(model, task=model, segments=frozenset(["region"]), **MODELS[model])
    view = merged_view((), load_view(FolderLake(config.home / "lake"), config.home / "cache"), history)
    found = [
        performance.answer(view, Query(model, T0 - HOUR, T0 + 40 * HOUR, HOUR, **narrowed), T0 + 100 * HOUR)
        for narrowed in ({}, {"version": "1"}, {"segment": ("region", "us")})
    ]
    return orjson.loads(msgspec.json.encode(found))


async def test_the_api_serves_of_either_engine_the_same(topics, tmp_path):
    need_java()
    on_kafka = await topics(partitions=2)
    spark, duckdb = on_kafka, Config(home=tmp_path / "duckdb")
    for config in (spark, duckdb):
        archive(FolderLake(config.home / "lake"), *log(), until=H0 + 60)
    done = runway_batch(spark, "--engine", "spark", "--spark-master", "local[2]", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    report = orjson.loads(done.stdout)
    wanted = run_batch(duckdb).to_json()
    for name in ("snapshot", "cutoff", "predictions", "outcomes", "joined", "late", "early", "duplicates"):
        assert report[name] == wanted[name]
    assert not list((spark.home / "scratch" / "batch").iterdir())
    for model in MODELS:
        theirs, ours = served(duckdb, model), served(spark, model)
        assert theirs[0]["totals"]["joined"] > 30
        assert_close(ours, theirs)


def assert_close(found, wanted):
    """Equal but for the last digits of sums."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert_close(found[name], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for pair in zip(found, wanted, strict=True):
            assert_close(*pair)
    else:
        assert found == (pytest.approx(wanted, rel=1e-11, abs=1e-12) if isinstance(wanted, float) else wanted)


async def test_a_master_that_does_not_answer_is_told_in_a_sentence(topics, tmp_path):
    need_java()
    config = await topics(partitions=1)
    archive(FolderLake(config.home / "lake"), [], [], until=H0 + 60)
    done = runway_batch(config, "--engine", "spark", "--spark-master", "nowhere://x")
    assert done.returncode != 0
    assert "Spark does not start at nowhere://x" in done.stderr
    assert "Traceback" not in done.stderr
    done = runway_batch(config, "--spark-master", "local[2]")
    assert "--spark-master is of the Spark engine alone" in done.stderr
