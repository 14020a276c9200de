"""The topics: what each must be like, how they are created, and what is wrong with those that exist."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from runway_streams.config import Config, kafka_client_options
from runway_streams.errors import ConfigError, DependencyDown, Refused, RunwayError
from runway_streams.kafka_down import kafka_errors

DAY_MS = 24 * 60 * 60 * 1000
MIB = 1024 * 1024

DEFAULT_PARTITIONS = 4
LEAST_RETENTION_MS = 7 * DAY_MS
REQUEST_TIMEOUT_MS = 15_000
VISIBLE_LIMIT_S = 30.0

_TOPIC_ALREADY_EXISTS = 36

_COMMON = {
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": str(MIB),
}
_EVENTS = {"cleanup.policy": "delete", "retention.ms": str(8 * DAY_MS), "retention.bytes": "-1"}
# The log cleaner leaves the newest segment alone: small ones keep a compacted topic short to read.
_COMPACT = {"segment.ms": str(DAY_MS // 24), "segment.bytes": str(64 * MIB)}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `partitions` is None where it must have as many as the predictions have."""

    noun: str
    settings: Mapping[str, str]
    partitions: int | None = None


PREDICTIONS = Topic("predictions", _EVENTS)
OUTCOMES = Topic("outcomes", _EVENTS)
METRICS = Topic("metrics", {**_EVENTS, **_COMPACT, "cleanup.policy": "compact,delete"})
MODELS = Topic("models", {**_COMPACT, "cleanup.policy": "compact"}, partitions=1)
# Bounded in size as well: a producer gone mad must not fill the disk with copies of its events.
DEAD_LETTERS = Topic(
    "dead-letters",
    {"cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS), "retention.bytes": str(1024 * MIB)},
    partitions=1,
)
TOPICS = (PREDICTIONS, OUTCOMES, METRICS, MODELS, DEAD_LETTERS)

COPARTITIONED = (PREDICTIONS, OUTCOMES, METRICS)
# Life, expiry and settings go by the broker's append time of these.
READ_BY_LOG_TIME = (PREDICTIONS, OUTCOMES, METRICS, MODELS)

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one topic; `remedy` says what to do where the level is not ok."""

    level: Level
    topic: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Existing:
    """A topic as the cluster has it."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]

    def number(self, setting: str, default: int) -> int:
        return int(self.settings.get(setting, default))


async def create_topics(
    config: Config,
    partitions: int | None = None,
    replication: int | None = None,
    settings: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    """Create the topics that are missing and return their names; those that exist stay as they are.

    `partitions` defaults to what the existing predictions have, else to 4; `replication` to three, or to the number
    of brokers where there are fewer; `settings`, by noun, take the place of ours. Raises ConfigError, and creates none,
    where existing ones have other partitions.
    """
    async with _admin(config) as admin:
        existing = await _describe(admin, config)
        if partitions is None:
            partitions = _partitions_of(existing, config) or DEFAULT_PARTITIONS
        else:
            _refuse_other_partitions(partitions, existing, config)
        if replication is None:
            replication = min(3, len((await admin.describe_cluster())["brokers"]))
        missing = [topic for topic in TOPICS if config.topic(topic.noun) not in existing]
        given = settings or {}
        wanted = [_new_topic(topic, config, partitions, replication, given.get(topic.noun, {})) for topic in missing]
        if not wanted:
            return []
        _raise_refusals(await admin.create_topics(wanted))
        await _wait_visible(admin, {new.name for new in wanted})
        return [new.name for new in wanted]


async def describe_topics(config: Config) -> tuple[str, dict[str, tuple[int, dict[str, str]]]]:
    """The cluster's id, and of each of our topics that exists, by noun, its partitions and the settings that we care for."""
    async with _admin(config) as admin:
        cluster = str((await admin.describe_cluster())["cluster_id"] or "")
        existing = await _describe(admin, config)
    found = {}
    for topic in TOPICS:
        if (one := existing.get(config.topic(topic.noun))) is not None:
            ours = _COMMON.keys() | topic.settings.keys()
            found[topic.noun] = (one.partitions, {name: one.settings[name] for name in sorted(ours & one.settings.keys())})
    return cluster, found


async def inspect_topics(config: Config) -> list[Finding]:
    """Everything that would make answers wrong (fail) or is unwise (warn), and one ok for each topic without either."""
    async with _admin(config) as admin:
        existing = await _describe(admin, config)
    return [finding for topic in TOPICS for finding in _inspect(topic, config, existing)]


async def require_topics(config: Config) -> None:
    """Raises Refused where the topics would make answers wrong, with what to do."""
    failures = [finding for finding in await inspect_topics(config) if finding.level == "fail"]
    if failures:
        raise Refused(" ".join(f"{finding.sentence} {finding.remedy}" for finding in failures))


async def count_partitions(config: Config) -> dict[str, int]:
    """How many partitions each of our topics has, by full name; those that do not exist are left out."""
    async with _admin(config) as admin:
        described = await _partitions(admin, {config.topic(topic.noun) for topic in TOPICS})
    return {name: len(partitions) for name, partitions in described.items()}


def _inspect(topic: Topic, config: Config, existing: Mapping[str, Existing]) -> list[Finding]:
    name = config.topic(topic.noun)
    if name not in existing:
        return [Finding("fail", name, f"The topic {name} does not exist.", _how_to_create(config))]
    found = existing[name]
    findings = [
        *_inspect_partitions(topic, name, found, existing, config),
        *_inspect_time(topic, name, found),
        *_inspect_cleanup(topic, name, found),
        *_inspect_retention(topic, name, found),
        *_inspect_replicas(name, found),
    ]
    fine = f"{name} has {_count(found.partitions, 'partition')} and is as it must be."
    return findings or [Finding("ok", name, fine)]


def _how_to_create(config: Config) -> str:
    # To those who may not see a topic, Kafka says nothing of it.
    remedy = "Run `runway topics create`."
    return remedy if config.security.anonymous else f"{remedy} If it exists, grant this user Describe on it."


def _inspect_partitions(
    topic: Topic, name: str, found: Existing, existing: Mapping[str, Existing], config: Config
) -> Iterable[Finding]:
    wanted = _partitions_of(existing, config)
    if topic not in COPARTITIONED or wanted in (None, found.partitions):
        return
    yield Finding(
        "fail",
        name,
        f"{name} has {_count(found.partitions, 'partition')}, but {config.topic('predictions')} has {wanted}: "
        "the outcome of a prediction would lie in another partition.",
        "Stop the producers and workers, create new topics with equal partition counts, and rebuild from the archive.",
    )


def _inspect_time(topic: Topic, name: str, found: Existing) -> Iterable[Finding]:
    if topic in READ_BY_LOG_TIME and found.settings.get("message.timestamp.type") != "LogAppendTime":
        yield Finding(
            "fail",
            name,
            f"{name} keeps the producers' own times (CreateTime), so a wrong clock could expire or keep events.",
            f"Set message.timestamp.type=LogAppendTime on {name}.",
        )


def _inspect_cleanup(topic: Topic, name: str, found: Existing) -> Iterable[Finding]:
    wanted = set(topic.settings["cleanup.policy"].split(","))
    has = set(found.settings.get("cleanup.policy", "delete").replace(" ", "").split(","))
    if wanted == has:
        return
    loses = "compact" in has - wanted or topic is MODELS
    consequence = "it would lose records that are still needed" if loses else "it grows without need"
    yield Finding(
        "fail" if loses else "warn",
        name,
        f"{name} has cleanup.policy={','.join(sorted(has))}, so {consequence}.",
        f"Set cleanup.policy={topic.settings['cleanup.policy']} on {name}.",
    )


def _inspect_retention(topic: Topic, name: str, found: Existing) -> Iterable[Finding]:
    if topic not in COPARTITIONED:
        return
    retention = found.number("retention.ms", -1)
    if 0 <= retention < LEAST_RETENTION_MS:
        yield Finding(
            "fail",
            name,
            f"{name} keeps {retention / DAY_MS:.1f} days; a worker that lost its state needs 7 to rebuild it.",
            f"Set retention.ms={topic.settings['retention.ms']} (8 days) on {name}.",
        )
    size = found.number("retention.bytes", -1)
    if size >= 0:
        yield Finding(
            "warn",
            name,
            f"{name} is cut at {size / MIB:,.0f} MiB a partition, which may be less than 7 days of events.",
            f"Set retention.bytes=-1 on {name}, or make sure that 7 days fit.",
        )


def _inspect_replicas(name: str, found: Existing) -> Iterable[Finding]:
    in_sync = found.number("min.insync.replicas", 1)
    if in_sync > found.replicas:
        yield Finding(
            "fail",
            name,
            f"{name} wants {in_sync} replicas in sync but has {found.replicas}: nothing can be written.",
            f"Set min.insync.replicas={max(1, found.replicas - 1)} on {name}.",
        )
    if found.replicas >= 3 and in_sync < 2:
        yield Finding(
            "warn",
            name,
            f"{name} acknowledges a record that one broker alone has; losing that broker loses it.",
            f"Set min.insync.replicas=2 on {name}.",
        )


@asynccontextmanager
async def _admin(config: Config) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka_client_options(config), request_timeout_ms=REQUEST_TIMEOUT_MS)
    async with kafka_errors(config):
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


async def _describe(admin: AIOKafkaAdminClient, config: Config) -> dict[str, Existing]:
    described = await _partitions(admin, {config.topic(topic.noun) for topic in TOPICS})
    if not described:
        return {}
    settings = await _settings(admin, described)
    return {
        name: Existing(len(partitions), len(partitions[0]["replicas"]), settings.get(name, {}))
        for name, partitions in described.items()
        if partitions
    }


async def _partitions(admin: AIOKafkaAdminClient, names: set[str]) -> dict[str, list[dict[str, Any]]]:
    # All topics are asked for: to ask for one that is missing could create it.
    return {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics() if topic["topic"] in names}


async def _settings(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answers = await admin.describe_configs(resources)
    for code, _message, _kind, name, _entries in (resource for answer in answers for resource in answer.resources):
        if code:
            raise for_code(code)(name)
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for _code, _message, _kind, name, entries in answer.resources
    }


def _refuse_other_partitions(wanted: int, existing: Mapping[str, Existing], config: Config) -> None:
    names = [config.topic(topic.noun) for topic in COPARTITIONED]
    others = [
        f"{name} has {_count(existing[name].partitions, 'partition')}"
        for name in names
        if name in existing and existing[name].partitions != wanted
    ]
    if others:
        raise ConfigError(
            f"{' and '.join(others)}, not {wanted}, and this cannot be changed.",
            "Leave --partitions out to keep them, or set RUNWAY_TOPIC_PREFIX to another for new topics.",
        )


def _new_topic(
    topic: Topic, config: Config, partitions: int, replication: int, given: Mapping[str, str] | None = None
) -> NewTopic:
    in_sync = {"min.insync.replicas": "2" if replication >= 3 else "1"}
    settings = {**_COMMON, **topic.settings, **(given or {}), **in_sync}
    return NewTopic(config.topic(topic.noun), topic.partitions or partitions, replication, topic_configs=settings)


def _raise_refusals(answer: object) -> None:
    refused = [
        f"{name} ({message or f'Kafka error {code}'})"
        for name, code, message in answer.topic_errors  # type: ignore[attr-defined]
        if code not in (0, _TOPIC_ALREADY_EXISTS)
    ]
    if refused:
        raise RunwayError(f"Kafka did not create {', '.join(refused)}.", "Correct what it names and run this again.")


async def _wait_visible(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    try:
        async with asyncio.timeout(VISIBLE_LIMIT_S):
            while not await _all_led(admin, names):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise DependencyDown(
            f"The new topics have no leader after {VISIBLE_LIMIT_S:.0f} s.", "Check that all brokers run."
        ) from None


async def _all_led(admin: AIOKafkaAdminClient, names: set[str]) -> bool:
    described = await _partitions(admin, names)
    leaders = [partition["leader"] for partitions in described.values() for partition in partitions]
    return described.keys() == names and bool(leaders) and min(leaders) >= 0


def _partitions_of(existing: Mapping[str, Existing], config: Config) -> int | None:
    predictions = existing.get(config.topic(PREDICTIONS.noun))
    return predictions.partitions if predictions else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
