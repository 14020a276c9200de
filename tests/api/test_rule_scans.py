"""Rule scans over merged performance in memory and real databases."""

import asyncio

import pytest

from api.live_facts import live_facts, window_facts
from api.performance import answer
from api.query import parse_query
from api.rule_scans import RuleScans
from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.settings import Settings
from runway_streams.registry import catalog, rule_store, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.rules import check_rules
from runway_streams.times import DAY, HOUR, format_time
from schemas.model import Model
from schemas.model_version import ModelVersion
from schemas.rules import Rule, RuleSet
from tests.api.conftest import NOON, Event, FakeBatchView, merged_view
from tests.running import eventually

NOW = (NOON + 1) * HOUR + 600_000
BINARY = Settings("m", task="binary")
EVENTS = [
    *(Event(NOON * 12 + i, "1", "1", score=0.75) for i in range(9)),
    Event(NOON * 12, "1", "0", score=0.75),
    Event(NOON * 12, status="open"),
    Event(NOON * 12, version="2"),
    Event((NOON - 30) * 12, "1", "0"),
]
SERVES = Rule("serves", "staging", "production", "live.P1D.accuracy >= 0.9 && live.P1D.joined >= 10")


def facts(view, when, version="1", now=NOW):
    return live_facts(view, "m", version, check_rules(RuleSet([Rule("r", "staging", "production", when)])), now)


@pytest.mark.parametrize("batch", [None, FakeBatchView(EVENTS, NOON - 1)])
@pytest.mark.parametrize(("window", "granularity"), [("PT15M", "PT5M"), ("PT1H", "PT1H"), ("P1D", "PT1H"), ("P2D", "PT1H")])
def test_a_window_says_what_the_performance_endpoint_says_of_it(window, granularity, batch):
    view = merged_view(EVENTS, batch, BINARY)
    length = {"PT15M": 900_000, "PT1H": HOUR, "P1D": DAY, "P2D": 2 * DAY}[window]
    asked = {"version": "1", "start": format_time(NOW - length), "end": format_time(NOW), "granularity": granularity}
    whole = answer(view, parse_query("m", list(asked.items()), NOW), NOW)["totals"]
    values, reasons = window_facts(view, "m", "1", window, NOW)
    assert {name: values[name] for name in ("predictions", "joined", "late", "early")} == {
        name: getattr(whole, name) for name in ("predictions", "joined", "late", "early")
    }
    for name in ("accuracy", "precision", "f1", "auc", "brier", "log_loss"):
        metric = getattr(whole.metrics, name)
        assert (values[name], reasons.get(name)) == (metric.value, metric.reason)


def test_values_of_one_version_and_window():
    values, reasons = window_facts(merged_view(EVENTS, None, BINARY), "m", "1", "P1D", NOW)
    assert (values["predictions"], values["joined"], values["accuracy"]) == (11, 10, 0.9)
    assert values["label_rate"] == pytest.approx(10 / 11)
    assert values["auc"] == 0.5
    assert not reasons


def test_what_is_not_known_has_a_reason():
    found = facts(merged_view(EVENTS, None, BINARY), "live.P1D.acuracy > 0 && live.P1D.joined > 0")
    assert found.values["P1D"]["joined"] == 10
    assert found.reasons == {"live.P1D.acuracy": "there is no such metric"}
    never = facts(merged_view(), "live.P1D.accuracy > 0 && live.P1D.predictions == 0")
    assert never.values["P1D"]["predictions"] == 0
    assert never.reasons == {"live.P1D.accuracy": "no predictions"}
    silent = facts(merged_view(EVENTS, None, BINARY), "live.P1D.accuracy > 0 && live.P1D.label_rate > 0", version="9")
    assert silent.reasons.keys() == {"live.P1D.accuracy", "live.P1D.label_rate"}
    unread = facts(merged_view(EVENTS, None, BINARY, ready=False), "live.P1D.joined > 0")
    assert (unread.values, unread.reasons) == (
        {}, {"live.P1D.joined": "the speed layer cannot be read now"}
    )  # fmt: skip
    gap = facts(merged_view(EVENTS, None, BINARY, complete_from=NOON), "live.P1D.joined > 0 && live.PT1H.joined > 0")
    assert gap.reasons == {"live.P1D.joined": "a part of the window is in neither layer"}
    assert gap.values["PT1H"]["joined"] == 10


async def test_whether_a_model_has_events_is_unknown_until_all_was_read():
    view = merged_view(EVENTS, None, ready=False)
    assert await view.has_events("m")
    with pytest.raises(DependencyDown, match="other"):
        await view.has_events("other")
    view.speed.ready = True
    assert not await view.has_events("other")
    view.batch.loaded = False
    with pytest.raises(DependencyDown):
        await view.has_events("other")
    assert await merged_view((), FakeBatchView(EVENTS, NOON + 9)).has_events("m")


class World:
    def __init__(self, database, view):
        self.registry = Registry(database, lambda: NOW, Settings.from_document)
        self.scans = RuleScans(self.registry, view, "a", every_s=0.05)

    async def add(self, model_id, *rules, stage="staging", metrics=None, version="1"):
        async with self.registry.change("anna") as change:
            if await catalog.find(change.connection, model_id) is None:
                await catalog.register(change, Model(model_id, owner="risk", task="binary"))
            await versions.create(change, model_id, ModelVersion(version, metrics=metrics or {}), stage)
            await rule_store.put(change, model_id, RuleSet(list(rules)), None)

    async def stage(self, model_id="m", version="1"):
        async with self.registry.read() as connection:
            return (await versions.get(connection, model_id, version)).stage

    async def said(self, model_id="m"):
        async with self.registry.read() as connection:
            return [
                (one.version, one.outcome, one.reason) for one in await rule_store.evaluations_of(connection, model_id, 50)
            ]


@pytest.fixture
def world(database):
    return World(database, merged_view(EVENTS, None, BINARY))


async def test_a_scan_moves_what_performs_and_keeps_why_the_rest_does_not(world):
    await world.add("m", SERVES)
    await world.add("m", SERVES, version="2")
    await world.scans.scan()
    assert (await world.stage(), await world.stage(version="2")) == ("production", "staging")
    assert set(await world.said()) == {
        ("1", "fired", "live.P1D.accuracy is 0.9, live.P1D.joined is 10."),
        ("2", "not", "live.P1D.accuracy is 1, live.P1D.joined is 1."),
    }
    await world.scans.scan()
    assert len(await world.said()) == 2
    scanned = world.scans.scanned()
    assert (scanned.scans, scanned.models, scanned.moves) == (2, 2, 1)


async def test_training_metrics_act_at_once(world):
    await world.add(
        "m", Rule("good", "evaluation", "staging", "WHEN metrics[mae] <= 5"), stage="evaluation", metrics={"mae": 4}
    )
    (moved,) = await world.scans.evaluate_now("m")
    assert (moved.version.version, moved.stage) == ("1", "staging")
    assert await world.scans.evaluate_now("m") == []


async def test_a_change_of_the_rules_counts_in_the_next_scan(world):
    await world.add("m", Rule("serves", "staging", "production", "live.P1D.joined >= 99"))
    await world.scans.scan()
    assert await world.stage() == "staging"
    async with world.registry.change("anna") as change:
        await rule_store.put(change, "m", RuleSet([SERVES]), 1)
    await world.scans.scan()
    assert await world.stage() == "production"


async def test_a_scan_goes_on_where_the_last_one_ended(world, monkeypatch):
    monkeypatch.setattr("api.rule_scans.MODELS", 2)
    for name in "abcde":
        await world.add(name, Rule("x", "staging", "production", "true"))
    places = []
    for _ in range(3):
        await world.scans.scan()
        places.append((world.scans.progress.after, world.scans.progress.moves))
    assert places == [("b", 2), ("d", 4), ("", 5)]
    for _ in range(3):
        await world.scans.scan()
    await world.add("f", Rule("x", "staging", "production", "true"))
    await world.scans.scan()
    await world.scans.scan()
    await world.scans.scan()
    assert world.scans.progress.after == "f", "the last page was full"
    before = world.scans.progress.models
    await world.scans.scan()
    assert world.scans.progress.models == before + 2, "and the next scan begins with the first models again"


async def test_rules_that_a_newer_program_made_do_not_stop_the_others(world):
    await world.add("a", SERVES)
    await world.add("m", SERVES)
    async with world.registry.database.write() as connection:
        made = '{"rules":[{"from":"staging","name":"new","to":"production","when":"shiny(1)"}]}'
        await connection.execute(rule_store.rules.update().where(rule_store.rules.c.model_id == "a").values(document=made))
    assert "The rules of a cannot be tried" in await world.scans.scan()
    assert await world.stage() == "production"


async def test_scans_of_two_processes_are_done_by_one_and_go_on_without_a_pause_for_answers(world):
    await world.add("m", SERVES)
    other = RuleScans(world.registry, merged_view(), "b", every_s=0.05)
    world.scans.start()
    await eventually(lambda: world.scans.leads, 10)
    other.start()
    try:
        await eventually(lambda: world.scans.progress.moves == 1, 10, lambda: world.scans.problem)
        await asyncio.sleep(0.2)
        assert other.progress.scans == 0
        assert world.scans.progress.scans > 1
    finally:
        await world.scans.stop()
        await other.stop()
