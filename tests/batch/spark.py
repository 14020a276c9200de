"""Spark for the batch's tests: one session for the run, told to be quick with little."""

import os
from contextlib import contextmanager

import pytest

from batch.spark_engine import SparkEngine
from batch.spark_session import java_home, spark_session, spark_url
from runway_streams.errors import ConfigError

QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""A JVM that is not worth warming up."""
_SMALL = {
    "spark.sql.shuffle.partitions": "2",
    # Making classes of each query and planning it anew at each stage take most of the time where there are few rows.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}


def need_java():
    """Skips the test where no Java runs Spark; in CI there must be one."""
    try:
        java_home(os.environ)
    except ConfigError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def on_spark(tmp_path_factory):
    """Opens Spark engines in one session."""
    need_java()
    folder = tmp_path_factory.mktemp("spark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", QUICK_JAVA)
        patch.setenv("JAVA_HOME", str(java_home(os.environ)))
        with spark_session("local[2]", "1700MiB", folder, "file:///") as spark:
            for name, value in _SMALL.items():
                spark.conf.set(name, value)

            @contextmanager
            def opened(lake, folder, memory_limit):
                engine = SparkEngine(spark, lake, spark_url(lake.root.as_uri()))
                try:
                    yield engine
                finally:
                    engine.close()

            yield opened
