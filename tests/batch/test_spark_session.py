"""Which Java, and what a session is told. Sessions themselves are tried in tests/e2e/test_spark_batch.py."""

import pytest

from batch.spark_session import java_home, settings, spark_url
from runway_streams.errors import ConfigError


def java(folder, version):
    """A home with a `java` that tells a version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    program.chmod(0o755)
    return folder


def test_the_first_java_that_fits(tmp_path):
    old, new, fits = java(tmp_path / "8", "1.8.0_42"), java(tmp_path / "25", "25.0.2"), java(tmp_path / "21", "21.0.1")
    path = {"PATH": str(fits / "bin")}
    assert java_home(path) == fits
    assert java_home(path | {"JAVA_HOME": str(java(tmp_path / "17", "17.0.15"))}) == tmp_path / "17"
    assert java_home(path | {"JAVA_HOME": str(new)}) == fits
    assert java_home(path | {"JAVA_HOME": str(tmp_path / "none")}) == fits
    with pytest.raises(ConfigError, match=r"Java 17 or 21; .*/25/bin/java is 25 and .*/8/bin/java is 1\. Install one"):
        java_home({"JAVA_HOME": str(new), "PATH": str(old / "bin")})
    with pytest.raises(ConfigError, match="there is none"):
        java_home({"PATH": str(tmp_path)})


def test_only_archives_that_spark_reads():
    assert spark_url("file:///a%20b/lake") == "file:/a b/lake"
    for url in ("memory:///", "gs://bucket/x"):
        with pytest.raises(ConfigError, match="does not know archives"):
            spark_url(url)


def test_a_local_session_listens_to_nobody_and_a_cluster_keeps_its_own_settings(tmp_path):
    local = settings("local[2]", "1GiB", tmp_path, "file:///lake", {})
    cluster = settings("spark://host:7077", "1GiB", tmp_path, "file:///lake", {})
    assert {local[f"spark.driver.{name}"] for name in ("host", "bindAddress")} == {"127.0.0.1"}
    assert local.keys() - cluster.keys() == {
        "spark.driver.host", "spark.driver.bindAddress", "spark.sql.shuffle.partitions",
        "spark.sql.sources.parallelPartitionDiscovery.threshold",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no amount of memory"):
        settings("local", "4 buckets", tmp_path, "file:///lake", {})


def test_an_s3_endpoint_is_passed_on(tmp_path):
    told = settings("local", "1GiB", tmp_path, "s3://b/x", {"AWS_ENDPOINT_URL": "http://store:9000"})
    assert told["spark.hadoop.fs.s3a.endpoint"] == "http://store:9000"
    assert told["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert not any("s3a" in name for name in settings("local", "1GiB", tmp_path, "s3://b/x", {}))
