"""The relay from the registry's outbox to `runway.models`, over a real Kafka and both databases.

The steps of a relay are run by hand, to stop it at every point at which it could be killed, or could sleep and come back.
"""

import asyncio
import signal
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from agents.model_settings import SettingsRelay
from agents.models_topic import open_models
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.errors import DependencyDown
from runway_streams.kafka_down import kafka_errors
from runway_streams.registry import versions
from runway_streams.registry.leases import LostLease
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.telemetry import RegistryTelemetry, Scanned
from runway_streams.topics import create_topics
from schemas.model_settings import BinProfile, ReferenceProfile
from schemas.model_version import ModelVersion
from tests.agents.conftest import LATER, START, World
from tests.running import eventually

pytestmark = pytest.mark.kafka


async def test_a_new_model_applies_from_the_beginning_and_a_change_a_minute_after_it(world):
    await world.say("m", join_window="PT2H")
    await world.run_once("a")
    assert await world.agrees() == [("PT2H", 0)]
    world.clock.ms += 5_000
    await world.say("m", join_window="PT3H")
    relay = await world.run_once("a")
    assert await world.agrees() == [("PT2H", 0), ("PT3H", START + 5_000 + LATER)]
    assert relay.published == 1


async def test_a_model_that_has_events_is_not_new(world):
    world.seen.add("m")
    await world.say("m")
    await world.run_once("a")
    assert await world.agrees() == [("PT1H", START + LATER)]


async def test_of_changes_that_wait_together_the_last_counts(world):
    for hours in (2, 3, 4):
        await world.say("m", join_window=f"PT{hours}H")
    await world.run_once("a")
    assert await world.agrees() == [("PT4H", 0)]


async def test_changes_keep_their_order_though_the_clock_goes_back(world):
    world.seen.add("m")
    await world.say("m", join_window="PT2H")
    await world.run_once("a")
    world.clock.ms -= 100_000
    await world.say("m", join_window="PT3H")
    await world.run_once("a")
    assert await world.agrees() == [("PT2H", START + LATER), ("PT3H", START + LATER + 1)]


async def test_many_models_go_in_transactions_of_a_hundred(world):
    await world.say(*(f"m{number:03}" for number in range(250)))
    relay = world.relay("a")
    await world.lead(relay)
    async with open_models(world.config) as topic:
        sizes = []
        while (before := await world.waiting()) and await relay.relay(topic):
            sizes.append(before - await world.waiting())
    assert sizes == [100, 100, 50]
    assert len(dict(await world.topic())) == 250


async def test_the_last_32_changes_are_kept(world):
    for number in range(40):
        await world.say("m", join_window=f"PT{number + 1}M")
        await world.run_once("a")
        world.clock.ms += 1_000
    history = await world.agrees()
    assert [window for window, _ in history] == [f"PT{number}M" for number in range(9, 41)]


async def test_a_relay_killed_before_it_decides_loses_nothing(world):
    await world.say("m")
    first = world.relay("a")
    await world.lead(first)
    async with open_models(world.config) as topic:
        assert (await first.look(topic)).fresh[0].model_id == "m"
    world.clock.ms += 10_000
    await world.run_once("b")
    assert await world.agrees() == [("PT1H", 0)]


async def test_a_relay_killed_after_it_has_decided_is_decided_anew(world):
    world.seen.add("m")
    await world.say("m")
    first = world.relay("a")
    await world.lead(first)
    async with open_models(world.config) as topic:
        await first.decide(topic, (await first.look(topic)).fresh)
    world.clock.ms += 3_600_000
    await world.run_once("b")
    assert await world.agrees() == [("PT1H", START + 3_600_000 + LATER)]


async def test_a_relay_killed_within_the_transaction_is_decided_anew(world):
    world.seen.add("m")
    await world.say("m")
    first = world.relay("a")
    await world.lead(first)
    async with open_models(world.config) as topic:
        decided = await first.decide(topic, (await first.look(topic)).fresh)
        await topic._producer.begin_transaction()
        await topic._producer.send_and_wait(world.config.topic("models"), decided.records["m"], key=b"m")
        world.clock.ms += 10_000
        await world.run_once("b")
        assert await world.agrees() == [("PT1H", START + 10_000 + LATER)]
        with pytest.raises(DependencyDown):
            async with kafka_errors(world.config):
                await topic._producer.commit_transaction()
    assert len(await world.topic()) == 1


async def test_a_relay_killed_after_the_commit_is_published_and_stays_as_it_was(world):
    world.seen.add("m")
    await world.say("m", join_window="PT2H")
    first = world.relay("a")
    await world.lead(first)
    async with open_models(world.config) as topic:
        decided = await first.decide(topic, (await first.look(topic)).fresh)
        await topic.write(decided.records)
    await world.say("m", join_window="PT3H")
    world.clock.ms += 3_600_000
    await world.run_once("b")
    assert await world.agrees() == [("PT2H", START + LATER), ("PT3H", START + 3_600_000 + LATER)]


async def test_a_relay_that_slept_through_its_lease_changes_nothing(world):
    """A zombie wakes at each of its steps after another relay has published."""
    world.seen.add("m")
    await world.say("m", join_window="PT2H")
    zombie = world.relay("a")
    await world.lead(zombie)
    async with open_models(world.config) as topic:
        batch = await zombie.look(topic)
        decided = await zombie.decide(topic, batch.fresh)
        world.clock.ms += 20_000
        await world.run_once("b")
        published = await world.agrees()
        with pytest.raises(LostLease):
            await zombie.decide(topic, batch.fresh)
        with pytest.raises(LostLease):
            await zombie.mark(decided.seqs)
        with pytest.raises(DependencyDown, match="Fenced"):
            async with kafka_errors(world.config):
                await topic.write(decided.records)
    assert await world.agrees() == published == [("PT2H", START + 20_000 + LATER)]
    assert len(await world.topic()) == 1


async def test_what_the_topic_has_lost_is_published_again_as_it_was(world, topics):
    world.seen.add("m")
    await world.say("m", join_window="PT2H")
    await world.run_once("a")
    world.clock.ms += 1_000
    await world.say("m", join_window="PT3H")
    await world.run_once("a")
    before = await world.agrees()
    world.config = Config(
        home=world.config.home, bootstrap=world.config.bootstrap, topic_prefix=world.config.topic_prefix + "x."
    )
    await create_topics(world.config, 1, replication=1)
    world.clock.ms += 1_000_000
    await world.run_once("a")
    assert await world.agrees() == before


async def test_a_model_of_which_it_is_not_known_whether_it_was_seen_waits_alone(world):
    async def seen(model_id):
        if model_id == "new":
            raise DependencyDown("The view is not ready.")
        return True

    await world.say("new", "old")
    relay = SettingsRelay(world.registry, world.config, seen, "a")
    relay.start()
    try:
        await eventually(lambda: relay.published and "not ready" in relay.problem, 20, lambda: relay.problem)
    finally:
        await relay.stop()
    assert await world.waiting() == 1
    assert dict(await world.topic()).keys() == {"old"}


async def test_settings_that_fit_into_no_record_wait_alone_and_a_smaller_change_goes_out(world):
    await world.say("big", "small")
    await world.run_once("a")
    wide = BinProfile(counts=[123456.0] * 64, edges=[float(number) for number in range(63)])
    profile = ReferenceProfile(features={f"feature_{number}": wide for number in range(1_500)})
    async with world.registry.change("anna") as change:
        await versions.create(change, "big", ModelVersion("1", profile=profile))
    await world.say("small", join_window="PT2H")
    relay = await world.run_once("a")
    assert "at most 1000000" in relay._left["big"]
    assert await world.waiting() == 1
    assert [window for window, _ in await world.history("small")] == ["PT1H", "PT2H"]
    async with world.registry.change("anna") as change:
        await versions.move(change, "big", "1", "archived", "too big")
    await world.say("big", join_window="PT3H")
    await world.run_once("a")
    assert [window for window, _ in await world.agrees("big")] == ["PT1H", "PT3H"]


async def test_telemetry_tells_what_waits_and_for_how_long(world):
    shown = CollectorRegistry()
    relay = world.relay("a")
    RegistryTelemetry(shown, relay.relayed, lambda: Scanned(1, 2, 3, 0.5))
    await world.say("a", "b")
    world.clock.ms += 5_000
    await relay._beside()
    values = ("runway_settings_waiting", "runway_settings_waiting_seconds", "runway_settings_published_total")
    assert [shown.get_sample_value(name) for name in values] == [2, 5, 0]
    relay.start()
    try:
        await eventually(lambda: shown.get_sample_value("runway_settings_published_total") == 2, 20, lambda: relay.problem)
        await eventually(lambda: shown.get_sample_value("runway_settings_waiting") == 0, 5)
        assert shown.get_sample_value("runway_settings_waiting_seconds") == 0
    finally:
        await relay.stop()
    assert shown.get_sample_value("runway_rule_moves_total") == 3


async def test_several_relays_publish_each_change_once_while_one_after_the_other_ends(world):
    world.clock = world.registry.now
    relays = [world.relay(str(number)) for number in range(3)]
    for relay in relays:
        relay.start()
    try:
        for round_number in range(3):
            await world.say(f"m{round_number}")
            await eventually(lambda: any(relay.leads for relay in relays), 20)
            async with asyncio.timeout(20):
                while await world.waiting():
                    await asyncio.sleep(0.05)
            leader = next(relay for relay in relays if relay.leads)
            relays.remove(leader)
            await leader.stop()
            assert leader.problem == ""
    finally:
        for relay in relays:
            await relay.stop()
    assert [key for key, _ in await world.topic()] == ["m0", "m1", "m2"]


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from agents.model_settings import SettingsRelay
from runway_streams.config import Config
from runway_streams.ground_truth.settings import Settings
from runway_streams.registry.changes import Registry
from runway_streams.database import Database
from runway_streams.registry.migrate import MIGRATIONS

class Killed(SettingsRelay):
    async def mark(self, seqs):
        if seqs:
            os.kill(os.getpid(), signal.SIGKILL)

async def seen(model_id):
    return True

async def main(url, home, bootstrap, prefix):
    config = Config(home=Path(home), bootstrap=bootstrap, topic_prefix=prefix)
    registry = Registry(Database.open(url, Path(home), MIGRATIONS), lambda: {now}, Settings.from_document)
    await Killed(registry, config, seen, "killed")._run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_process_killed_before_it_marks_leaves_what_it_published(world, database_url):
    await world.say("m")
    arguments = [database_url, str(world.config.home), world.config.bootstrap, world.config.topic_prefix]
    command = [sys.executable, "-c", CHILD.replace("{now}", str(START)), *arguments]
    child = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert await world.waiting() == 1
    world.clock.ms += 60_000
    await world.run_once("next")
    assert await world.agrees() == [("PT1H", START + LATER)]
    assert len(await world.topic()) == 1


@pytest.mark.fault
async def test_kafka_may_go_and_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr("agents.models_topic.TIMEOUT_MS", 2_000)
    database = Database.open(None, tmp_path, MIGRATIONS)
    await database.prepare()
    with EmbeddedKafka(tmp_path / "kafka", heap="384m") as kafka:
        world = World(database, Config(home=tmp_path, bootstrap=kafka.bootstrap))
        await create_topics(world.config, 1, replication=1)
        relay = world.relay("a")
        relay.start()
        try:
            await world.say("m", join_window="PT2H")
            await eventually(lambda: relay.published == 1, 30, lambda: relay.problem)
            await asyncio.to_thread(kafka.kill)
            await world.say("m", join_window="PT3H")
            await world.say("m", join_window="PT4H")
            await eventually(lambda: "Kafka" in relay.problem, 40, lambda: relay.problem)
            world.clock.ms += 1_000_000
            await asyncio.to_thread(kafka.start)
            await eventually(lambda: relay.published >= 2 and not relay.problem, 60, lambda: relay.problem)
        finally:
            await relay.stop()
        assert await world.agrees() == [("PT2H", 0), ("PT4H", START + 1_000_000 + LATER)]
    await database.close()
