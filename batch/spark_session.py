"""A Spark session as the batch uses it: bounded, quiet, closed to the network where it is local, on a Java that Spark runs on."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from batch.memory import memory_bytes
from runway_streams.errors import ConfigError, DependencyDown

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVAS = (17, 21)
"""The versions of Java that Spark 4 runs on."""
HEAP_SHARE = 0.6
"""Of the memory limit; what a JVM takes beside its heap, and Python, are the rest."""
LISTED_HERE = 100_000
"""Files that are looked up by a local session itself; by tasks, as on a cluster, a thousand take most of a minute."""
LISTING_TASKS = 64
LOCAL_SHUFFLES = 64
"""Parts of a shuffle on one machine; small ones are put together again when their sizes are known."""


@contextmanager
def spark_session(master: str, memory_limit: str, folder: Path, archive_url: str) -> Iterator["SparkSession"]:
    """A session that ends with the context; `folder` is a local folder for what spills.

    Raises ConfigError where PySpark or a fitting Java is missing, DependencyDown where the master does not answer.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError("The Spark engine needs PySpark.", "Install runway-streams[spark].") from error
    os.environ["JAVA_HOME"] = str(java_home(os.environ))
    builder = SparkSession.builder.master(master)
    for name, value in settings(master, memory_limit, folder, archive_url, os.environ).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # whatever a master, a scheduler or the JVM says, by way of several bridges
        raise DependencyDown(
            f"Spark does not start at {master}: {_first_line(error)}.", "Check the master's address and Spark's own log."
        ) from error
    try:
        yield session
    finally:
        session.stop()


def settings(master: str, memory_limit: str, folder: Path, archive_url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What a session is told. Anything else is `spark-defaults.conf`'s, in the folder SPARK_CONF_DIR.

    >>> told = settings("local[2]", "4GiB", Path("/tmp/x"), "file:///lake", {})
    >>> told["spark.driver.memory"], told["spark.ui.enabled"], told["spark.driver.bindAddress"]
    ('2457m', 'false', '127.0.0.1')
    """
    told = {
        "spark.app.name": "runway batch",
        "spark.driver.memory": f"{int(HEAP_SHARE * memory_bytes(memory_limit)) >> 20}m",
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        # Of a small table that is numbered in one part, Spark warns many times a night.
        "spark.log.level": "ERROR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Descriptions of plans are for the pages that are off.
        "spark.sql.maxPlanStringLength": "1000",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        # Few large files rather than one a core.
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(LISTING_TASKS),
        # No checksums and no markers beside the files: the manifest names what counts.
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    }
    if master.startswith("local"):
        told |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        told["spark.sql.shuffle.partitions"] = str(LOCAL_SHUFFLES)
        told["spark.sql.sources.parallelPartitionDiscovery.threshold"] = str(LISTED_HERE)
    if archive_url.startswith("s3:") and (endpoint := environ.get("AWS_ENDPOINT_URL")):
        told["spark.hadoop.fs.s3a.endpoint"] = endpoint
        told["spark.hadoop.fs.s3a.path.style.access"] = "true"
        told["spark.hadoop.fs.s3a.connection.ssl.enabled"] = str(endpoint.startswith("https:")).lower()
    return told


def spark_url(archive_url: str) -> str:
    """The archive's address as Spark knows it, which reads and writes its files by themselves.

    >>> spark_url("file:///data/lake"), spark_url("s3://bucket/runway/")
    ('file:/data/lake', 's3a://bucket/runway')
    """
    parts = urlsplit(archive_url)
    if parts.scheme == "file":
        return "file:" + unquote(parts.path).rstrip("/")
    if parts.scheme in ("s3", "s3a"):
        return f"s3a://{parts.netloc}{parts.path}".rstrip("/")
    raise ConfigError(
        f"The Spark engine does not know archives such as {archive_url!r}.",
        "It reads file:///FOLDER, which all of Spark's machines must share, and s3://BUCKET/PREFIX.",
    )


def java_home(environ: Mapping[str, str]) -> Path:
    """The Java to run Spark with: JAVA_HOME's, or else that of `java` on the path. Raises ConfigError where neither is
    of a fitting version."""
    home = environ.get("JAVA_HOME")
    found = []
    for java in (Path(home, "bin", "java") if home else None, shutil.which("java", path=environ.get("PATH", ""))):
        if java is None or not Path(java).is_file():
            continue
        version = java_version(Path(java))
        if version in JAVAS:
            return Path(java).resolve().parent.parent
        found.append(f"{java} is {version or 'of no version that it tells'}")
    raise ConfigError(
        f"Spark needs Java 17 or 21; {' and '.join(found) or 'there is none'}.",
        "Install one and set JAVA_HOME to its folder.",
    )


def java_version(java: Path) -> int | None:
    """The major version that a `java` tells."""
    try:
        told = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
