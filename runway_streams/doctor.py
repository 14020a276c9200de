"""`runway doctor`: everything that an installation needs, one line and one remedy each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from runway_streams.config import Config, running_stack
from runway_streams.errors import RunwayError
from runway_streams.topics import Level, inspect_topics

if TYPE_CHECKING:
    from runway_streams.dependency.metaflow.runs import MetaflowRuns

ARCHIVE_LIMIT_S = 20.0
METAFLOW_LIMIT_S = 20.0
# It runs daily; two hours for the run itself.
LATE_BATCH = timedelta(hours=26)
LATE_CHANGE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Check:
    """What was found out about one part."""

    level: Level
    part: str
    sentence: str
    remedy: str = ""


async def examine(config: Config) -> list[Check]:
    """Check every part, in the order of the data flow; a part that is down stops no other check."""
    checks = (_kafka(config), _archive(config), _batch(config), _registry(config), _lineage(config), _api(config))
    return [check for part in checks async for check in part]


async def _kafka(config: Config) -> AsyncIterator[Check]:
    try:
        findings = await inspect_topics(config)
    except RunwayError as error:
        yield Check("fail", "kafka", error.sentence, error.remedy)
        return
    yield Check("ok", "kafka", f"Kafka at {config.bootstrap} answers.")
    for finding in findings:
        yield Check(finding.level, finding.topic, finding.sentence, finding.remedy)


async def _archive(config: Config) -> AsyncIterator[Check]:
    try:
        await asyncio.wait_for(asyncio.to_thread(_write_probe, config), ARCHIVE_LIMIT_S)
    except (OSError, RunwayError) as error:  # a time-out is an OSError too
        yield Check(
            "fail",
            "archive",
            f"The archive {config.archive_url} cannot be written: {_reason(error)}.",
            "Check RUNWAY_ARCHIVE, the rights of this user and, for S3, the AWS_* variables.",
        )
        return
    yield Check("ok", "archive", f"The archive {config.archive_url} can be written.")


def _reason(error: Exception) -> str:
    """What an error says first; object stores go on with what helps to debug them.

    >>> _reason(RunwayError("The archive cannot be opened: no account\\n\\nDebug source: ...")), _reason(TimeoutError())
    ('The archive cannot be opened: no account', 'no answer')
    """
    return next(iter(str(error).splitlines()), "no answer").rstrip(".")


def _write_probe(config: Config) -> None:
    from batch.lake import open_lake

    lake, path = open_lake(config.archive_url), f"doctor/{config.instance_id}"
    lake.put(path, b"written by `runway doctor`")
    lake.delete(path)


async def _batch(config: Config) -> AsyncIterator[Check]:
    try:
        published = await asyncio.wait_for(asyncio.to_thread(_last_published, config), ARCHIVE_LIMIT_S)
    except (OSError, RunwayError) as error:
        yield Check("fail", "batch", f"The batch view cannot be read: {_reason(error)}.", "Check RUNWAY_ARCHIVE.")
        return
    yield judge_batch(published, datetime.now(UTC))


def _last_published(config: Config) -> datetime | None:
    from batch.lake import open_lake
    from batch.manifest import read_current

    snapshot = read_current(open_lake(config.archive_url))
    return None if snapshot is None else datetime.fromtimestamp(snapshot.created_at / 1000, UTC)


def judge_batch(published: datetime | None, now: datetime) -> Check:
    """Whether the last batch, published at that time, is recent enough."""
    remedy = "Run `runway batch`, and keep `runway batch --schedule` running."
    if published is None:
        return Check("warn", "batch", "No batch has been published yet.", remedy)
    age = now - published
    sentence = f"The last batch was published {age.total_seconds() / 3600:.1f} h ago."
    return Check("warn" if age > LATE_BATCH else "ok", "batch", sentence, remedy if age > LATE_BATCH else "")


async def _registry(config: Config) -> AsyncIterator[Check]:
    from runway_streams.database import Database
    from runway_streams.ground_truth.model_settings_store import wall_clock
    from runway_streams.registry import keys, outbox
    from runway_streams.registry.migrate import MIGRATIONS

    try:
        database = Database.open(config.database, config.home, MIGRATIONS)
        async with aclosing(database), database.read() as connection:
            waiting, since = await outbox.backlog(connection)
            has_key = await keys.any_alive(connection, wall_clock())
    except RunwayError as error:
        yield Check("fail", "registry", error.sentence, error.remedy)
        return
    yield judge_outbox(waiting, None if since is None else wall_clock() - since)
    if not has_key:
        yield Check("warn", "registry", "Nobody has a key to the API.", "Run `runway keys create NAME --role admin`.")


def judge_outbox(waiting: int, age_ms: int | None) -> Check:
    """Whether what was changed in the registry reaches the workers.

    >>> judge_outbox(0, None).level, judge_outbox(3, 300_000).level
    ('ok', 'warn')
    """
    if age_ms is None or age_ms < LATE_CHANGE.total_seconds() * 1000:
        return Check(
            "ok", "registry", f"The registry's database answers; {waiting} changes are on their way to the workers."
        )
    sentence = f"{waiting} changes of models wait to be told to the workers, the oldest for {age_ms / 60_000:.0f} minutes."
    return Check("warn", "registry", sentence, "Run `runway api`: each API process can publish them.")


async def _lineage(config: Config) -> AsyncIterator[Check]:
    from api.lineage_parts import open_lineage
    from runway_streams.ground_truth.model_settings_store import wall_clock

    try:
        lineage = open_lineage(config, wall_clock)
    except RunwayError as error:
        yield Check("fail", "lineage", error.sentence, error.remedy)
        return
    async with aclosing(lineage):
        try:
            await lineage.graph.store.prepare()
            await lineage.graph.store.nodes(["model:doctor"])
            waiting, aside = await lineage.graph.queue.size(), await lineage.graph.queue.aside()
            runs = (await lineage.discoveries.counts()).get("pending", 0)
        except RunwayError as error:
            yield Check("fail", "lineage", error.sentence, error.remedy)
            return
        yield judge_lineage(waiting, aside, runs, follows_metaflow=lineage.metaflow is not None)
        if lineage.metaflow is None:
            return
        yield await _metaflow(lineage.metaflow)


async def _metaflow(metaflow: "MetaflowRuns") -> Check:
    try:
        await asyncio.wait_for(metaflow.ping(), METAFLOW_LIMIT_S)
    except TimeoutError:
        return Check("fail", "metaflow", f"Metaflow has not answered within {METAFLOW_LIMIT_S:.0f} s.", "See that it runs.")
    except RunwayError as error:
        return Check("fail", "metaflow", error.sentence, error.remedy or "Check RUNWAY_METAFLOW.")
    return Check("ok", "metaflow", "Metaflow answers.")


def judge_lineage(waiting: int, aside: int, runs: int, *, follows_metaflow: bool) -> Check:
    """Whether what was told of lineage is in the graph.

    >>> judge_lineage(0, 0, 0, follows_metaflow=False).level, judge_lineage(3, 0, 0, follows_metaflow=True).level
    ('ok', 'warn')
    >>> judge_lineage(0, 2, 0, follows_metaflow=True).sentence
    '2 reports were set aside: the lineage graph did not take them.'
    """
    if waiting:
        return Check(
            "warn", "lineage", f"{waiting} reports wait for the lineage graph.", "Run `runway api`: it brings them."
        )
    if aside:
        return Check(
            "warn",
            "lineage",
            f"{aside} reports were set aside: the lineage graph did not take them.",
            "The log of `runway api` and the table lineage_reports say why; delete their rows there.",
        )
    if runs and not follows_metaflow:
        return Check("warn", "lineage", f"{runs} runs wait to be asked for.", "Set RUNWAY_METAFLOW for `runway api`.")
    return Check("ok", "lineage", f"The lineage graph answers; {runs} runs are still to be asked for.")


async def _api(config: Config) -> AsyncIterator[Check]:
    from runway_streams.devstack.stack import readiness

    stack = running_stack(config.home)
    if stack is None:
        return
    told = await asyncio.to_thread(readiness, stack["api"])
    if told == "ready":
        yield Check("ok", "api", f"The API at {stack['api']} is ready.")
    else:
        log = config.home / "logs" / "api.log"
        yield Check("fail", "api", f"The API at {stack['api']} is not ready: {told}.", f"Read {log}.")
