"""The processes that a team deploys: `runway worker`, `runway api`, `runway batch`."""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from runway_streams.cli.common import AsJson, load_config, parse_hour, print_json
from runway_streams.errors import ConfigError

if TYPE_CHECKING:
    from batch.engine import OpenEngine
    from runway_streams.config import Config


class WorkerName(StrEnum):
    """The workers: each a Faust app, a consumer group and a process of its own."""

    GROUND_TRUTH = "ground-truth"
    ARCHIVE = "archive"


class EngineName(StrEnum):
    """The engines of the nightly batch."""

    DUCKDB = "duckdb"
    SPARK = "spark"


LOCAL = "local[*]"
"""Spark within this process, on all cores."""


def worker(name: Annotated[WorkerName, typer.Argument(help="Which worker to run.")]) -> None:
    """Run one worker until it is stopped.

    ground-truth joins predictions with outcomes; archive writes both topics to RUNWAY_ARCHIVE. Run as many of each as
    there are partitions at most, every one with a RUNWAY_INSTANCE of its own.

    Example: RUNWAY_BOOTSTRAP=kafka:9092 RUNWAY_INSTANCE=worker-1 runway worker ground-truth
    """
    from runway_streams.streaming import run_worker

    run_worker(name.value, load_config())


def api(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
) -> None:
    """Serve the registry and the merged performance of all models over HTTP.

    Example: runway api --host 0.0.0.0 --port 8000
    """
    from api.serve import serve

    serve(load_config(), host, port)


def batch(
    cutoff: Annotated[str | None, typer.Option(help="The hour to run up to, such as 2026-11-22T03:00Z.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Run up to the log's end as it is now.")] = False,
    schedule: Annotated[bool, typer.Option("--schedule", help="Run daily at 02:00 UTC until stopped.")] = False,
    engine: Annotated[EngineName, typer.Option(help="What joins: DuckDB on this machine, or Spark.")] = EngineName.DUCKDB,
    spark_master: Annotated[
        str, typer.Option(help="Spark's master: local[2], spark://HOST:7077 or k8s://https://HOST:443.")
    ] = LOCAL,
    as_json: AsJson = False,
) -> None:
    """Join the archive once more, exactly, and publish the batch view and the ground-truth rows.

    Without an option it runs up to the last hour that the archive has covered. Spark needs runway-streams[spark] and a
    Java 17 or 21; both engines publish the same view.

    Example: runway batch --cutoff 2026-11-22T03:00Z
    """
    if (cutoff is not None) + final + schedule > 1:
        raise ConfigError("--cutoff, --final and --schedule exclude each other.", "Give one of them.")
    hour = None if cutoff is None else parse_hour(cutoff)
    from batch.nightly import run_batch, run_schedule
    from runway_streams.ground_truth.speed_rows import speed_reader

    config = load_config()
    opened = _engine(engine, spark_master, config)
    if schedule:
        run_schedule(config, speed=speed_reader(config), engine=opened)
        return
    report = run_batch(config, cutoff=hour, final=final, speed=speed_reader(config), engine=opened)
    print_json(report.to_json()) if as_json else typer.echo(str(report))


def _engine(name: EngineName, spark_master: str, config: "Config") -> "OpenEngine":
    """The engine, of which nothing is imported that was not asked for."""
    if name is EngineName.SPARK:
        from batch.spark_engine import open_spark

        return partial(open_spark, master=spark_master, archive_url=config.archive_url)
    if spark_master != LOCAL:
        raise ConfigError("--spark-master is of the Spark engine alone.", "Add --engine spark, or leave it out.")
    from batch.duckdb_engine import open_duckdb

    return open_duckdb
