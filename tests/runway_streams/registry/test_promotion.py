"""Rules that move versions, on both databases."""

import asyncio

import pytest

from runway_streams.ground_truth.settings import Settings
from runway_streams.registry import catalog, rule_store, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.promotion import NOTHING, Live, dry_run, evaluate_version
from runway_streams.registry.refusals import Invalid, Unknown
from runway_streams.registry.rules import check_rules
from schemas.model import Model
from schemas.model_version import ModelVersion
from schemas.rules import Rule, RuleSet

RULES = RuleSet(
    [
        Rule("too bad", "evaluation", "training", "WHEN metrics[mae] > 100"),
        Rule("good", "evaluation", "staging", "WHEN metrics[mae] <= 5"),
        Rule("also good", "evaluation", "archived", "metrics.mae <= 5"),
        Rule("serves", "staging", "production", "live.P1D.mae <= 6 && live.P1D.joined >= 1000"),
        Rule("fails", "production", "staging", "live.PT1H.mae > 9"),
    ]
)
SERVING = Live({"P1D": {"mae": 5.5, "joined": 1200.0}})


@pytest.fixture
async def registry(database):
    made = Registry(database, lambda: 1_000, Settings.from_document)
    async with made.change("anna") as change:
        await catalog.register(change, Model("m", owner="risk", task="regression"))
        await versions.create(change, "m", ModelVersion("1", metrics={"mae": 4.5}), "evaluation")
        await versions.create(change, "m", ModelVersion("2", metrics={"rmse": 4.5}), "evaluation")
    return made


async def entry_of(registry, version):
    async with registry.read() as connection:
        return await versions.get(connection, "m", version)


async def scan(registry, version, live=NOTHING, entry=None, rules=RULES):
    entry = entry or await entry_of(registry, version)
    async with registry.change("rule-scans") as change:
        return await evaluate_version(change, entry, check_rules(rules), live)


async def evaluations(registry, version):
    async with registry.read() as connection:
        found = await rule_store.evaluations_of(connection, "m", 100, version=version)
    return {one.rule: one.outcome for one in reversed(found)}


async def test_the_first_rule_that_fires_moves_one_step_and_says_so(registry):
    moved = await scan(registry, "1", SERVING)
    assert moved.stage == "staging", "one step, though the next rule would fire as well"
    async with registry.read() as connection:
        last = (await versions.moves_of(connection, "m", "1"))[0]
    assert (last.from_stage, last.to_stage, last.rule, last.actor) == ("evaluation", "staging", "good", "rule:good")
    assert last.reason == "metrics.mae is 4.5."
    assert await evaluations(registry, "1") == {"too bad": "not", "good": "fired", "also good": "fired"}
    assert (await scan(registry, "1", SERVING)).stage == "production"
    assert await scan(registry, "1", Live({"PT1H": {"mae": 8.0}})) is None
    assert (await scan(registry, "1", Live({"PT1H": {"mae": 12.0}}))).stage == "staging"


async def test_what_is_not_known_does_not_fire_and_the_reason_is_kept(registry):
    assert await scan(registry, "2") is None
    async with registry.read() as connection:
        found = await rule_store.evaluations_of(connection, "m", 100)
    assert {(one.outcome, one.reason) for one in found} == {("unknown", "metrics.mae is not known.")}
    await scan(registry, "1")
    assert await scan(registry, "1", Live({"P1D": {"joined": 0.0}}, {"live.P1D.mae": "no labelled predictions"})) is None
    async with registry.read() as connection:
        last = (await rule_store.evaluations_of(connection, "m", 1))[0]
    assert last.reason == "live.P1D.mae is not known (no labelled predictions), live.P1D.joined is 0."


async def test_a_version_that_somebody_has_moved_meanwhile_is_left_alone(registry):
    before = await entry_of(registry, "1")
    async with registry.change("anna") as change:
        await versions.move(change, "m", "1", "training", "not yet")
    assert await scan(registry, "1", entry=before) is None
    assert (await entry_of(registry, "1")).stage == "training"


async def test_of_many_scans_at_once_one_moves_a_version(registry):
    entry = await entry_of(registry, "1")
    moved = await asyncio.gather(*(scan(registry, "1", entry=entry) for _ in range(10)))
    assert sum(one is not None for one in moved) == 1
    async with registry.read() as connection:
        assert len(await versions.moves_of(connection, "m", "1")) == 2


async def test_a_rule_with_a_long_name_moves_too(registry):
    long = RuleSet([Rule("r" * 256, "evaluation", "staging", "metrics.mae <= 5")])
    assert (await scan(registry, "1", rules=long)).stage == "staging"


async def test_a_dry_run_tells_all_and_changes_nothing(registry):
    async with registry.read() as connection:
        trial = await dry_run(connection, "m", "1", RULES, SERVING)
        assert trial.to == "staging"
        assert [(one.rule.name, one.verdict.outcome) for one in trial.tried] == [
            ("too bad", "not"), ("good", "fired"), ("also good", "fired"),
        ]  # fmt: skip
        nowhere = await dry_run(connection, "m", "2", RULES)
        assert (nowhere.to, nowhere.fired) == (None, None)
        with pytest.raises(Invalid, match="speed"):
            await dry_run(connection, "m", "1", RuleSet([Rule("x", "evaluation", "staging", "speed > 1")]))
        with pytest.raises(Unknown):
            await dry_run(connection, "m", "3", RULES)
    assert (await entry_of(registry, "1")).stage == "evaluation"
    assert await evaluations(registry, "1") == {}
