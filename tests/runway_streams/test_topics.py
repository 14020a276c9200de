from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from runway_streams.devstack.children import free_port
from runway_streams.errors import ConfigError, DependencyDown, Refused
from runway_streams.topics import TOPICS, count_partitions, create_topics, inspect_topics, require_topics

pytestmark = pytest.mark.kafka


async def create_by_hand(config, noun, partitions=2, **settings):
    admin = AIOKafkaAdminClient(bootstrap_servers=config.bootstrap)
    await admin.start()
    dotted = {name.replace("_", "."): value for name, value in settings.items()}
    await admin.create_topics([NewTopic(config.topic(noun), partitions, 1, topic_configs=dotted)])
    await admin.close()
    while config.topic(noun) not in await count_partitions(config):
        pass


async def findings_about(config, noun):
    return [finding for finding in await inspect_topics(config) if finding.topic == config.topic(noun)]


async def test_created_topics_are_as_they_must_be_and_stay(config):
    created = await create_topics(config, partitions=3)
    assert created == [config.topic(topic.noun) for topic in TOPICS]
    assert {finding.level for finding in await inspect_topics(config)} == {"ok"}
    assert await create_topics(config, partitions=3) == await create_topics(config) == []
    assert "3 partitions" in (await findings_about(config, "predictions"))[0].sentence


async def test_missing_topics_say_how_to_create_them(config):
    findings = await inspect_topics(config)
    assert {finding.level for finding in findings} == {"fail"}
    assert all("runway topics create" in finding.remedy for finding in findings)
    assert len(await inspect_topics(config)) == len(TOPICS), "asking created topics"


async def test_topics_that_are_missing_follow_the_partitions_of_the_predictions(config):
    await create_by_hand(config, "predictions", 3, message_timestamp_type="LogAppendTime")
    await create_topics(config)
    assert "3 partitions" in (await findings_about(config, "metrics"))[0].sentence


async def test_other_partition_counts_are_refused(config):
    await create_by_hand(config, "outcomes", 5, message_timestamp_type="LogAppendTime")
    await create_by_hand(config, "predictions", 2, message_timestamp_type="LogAppendTime")
    await create_topics(config)
    (finding,) = await findings_about(config, "outcomes")
    assert finding.level == "fail"
    assert "has 5 partitions" in finding.sentence
    assert "has 2" in finding.sentence
    with pytest.raises(Refused, match=r"has 5 partitions, but .*predictions has 2"):
        await require_topics(config)


async def test_partitions_that_cannot_be_had_are_refused_before_a_topic_is_created(config):
    await create_by_hand(config, "outcomes", 5, message_timestamp_type="LogAppendTime")
    with pytest.raises(ConfigError, match=r"outcomes has 5 partitions, not 2, and this cannot be changed"):
        await create_topics(config, partitions=2)
    assert "does not exist" in (await findings_about(config, "predictions"))[0].sentence


@pytest.mark.parametrize(
    ("settings", "level", "word"),
    [
        ({"message_timestamp_type": "CreateTime"}, "fail", "CreateTime"),
        ({"retention_ms": str(3 * 24 * 3600 * 1000)}, "fail", "3.0 days"),
        ({"retention_bytes": "1048576"}, "warn", "1 MiB"),
        ({"cleanup_policy": "compact"}, "fail", "cleanup.policy=compact"),
        ({"min_insync_replicas": "2"}, "fail", "2 replicas in sync but has 1"),
    ],
)
async def test_a_setting_that_loses_events_is_named(config, settings, level, word):
    await create_by_hand(config, "predictions", **{"message_timestamp_type": "LogAppendTime", **settings})
    (finding,) = await findings_about(config, "predictions")
    assert finding.level == level
    assert word in finding.sentence
    assert config.topic("predictions") in finding.remedy


async def test_settings_that_expire_are_refused_and_metrics_that_only_grow_are_not(config):
    await create_by_hand(config, "models", 1, message_timestamp_type="LogAppendTime", cleanup_policy="delete")
    await create_by_hand(config, "metrics", message_timestamp_type="LogAppendTime", cleanup_policy="delete")
    assert [finding.level for finding in await findings_about(config, "models")] == ["fail"]
    assert [finding.level for finding in await findings_about(config, "metrics")] == ["warn"]


async def test_no_kafka_is_a_sentence(config):
    with pytest.raises(DependencyDown, match="did not answer"):
        await inspect_topics(replace(config, bootstrap=f"127.0.0.1:{free_port()}"))
