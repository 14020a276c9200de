"""The store of rules and of what they came to, on both databases."""

import asyncio

import pytest

from runway_streams.ground_truth.settings import Settings
from runway_streams.registry import catalog, rule_store, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.refusals import Invalid, Stale, Unknown
from runway_streams.registry.rules import Verdict
from schemas.model import Model
from schemas.model_version import ModelVersion
from schemas.rules import Rule, RuleSet

GOOD = RuleSet([Rule("good", "evaluation", "staging", "metrics.mae <= 5")])
OTHER = RuleSet([Rule("other", "staging", "production", "metrics.mae <= 4")])


@pytest.fixture
async def registry(database):
    made = Registry(database, lambda: 1_000, Settings.from_document)
    async with made.change("anna") as change:
        await catalog.register(change, Model("m", owner="risk", task="regression"))
        await versions.create(change, "m", ModelVersion("1"))
        await versions.create(change, "m", ModelVersion("2"))
    return made


async def put(registry, ruleset, revision, model_id="m"):
    async with registry.change("anna") as change:
        return await rule_store.put(change, model_id, ruleset, revision)


async def get(registry, model_id="m"):
    async with registry.read() as connection:
        return await rule_store.get(connection, model_id)


async def record(registry, version, *verdicts):
    async with registry.change("rules") as change:
        return await rule_store.record(change, "m", version, verdicts)


async def evaluations(registry, limit=2_000, **asked):
    async with registry.read() as connection:
        return await rule_store.evaluations_of(connection, "m", limit, **asked)


def said(outcome, reason, **values):
    return ("good", Verdict(outcome, reason, values))


async def test_rules_are_replaced_as_a_whole_by_revision(registry):
    assert await get(registry) == rule_store.RulesRevision(RuleSet([]), 0)
    assert (await put(registry, GOOD, 0)).revision == 1
    with pytest.raises(Stale):
        await put(registry, OTHER, 0)
    assert (await put(registry, OTHER, 1)).revision == 2
    assert (await put(registry, OTHER, 2)).revision == 2, "the same ones again"
    assert (await put(registry, GOOD, None)).revision == 3
    assert await get(registry) == rule_store.RulesRevision(GOOD, 3)


async def test_of_many_that_replace_one_revision_one_is_taken(registry):
    async def attempt(number, revision):
        when = f"metrics.mae <= {number} + {revision}"
        try:
            return await put(registry, RuleSet([Rule("r", "evaluation", "staging", when)]), revision)
        except Stale:
            return None

    for revision in range(2):
        done = await asyncio.gather(*(attempt(number, revision) for number in range(15)))
        won = [result for result in done if result]
        assert len(won) == 1
        assert await get(registry) == won[0]


@pytest.mark.parametrize(
    "ruleset",
    [
        RuleSet([Rule("r", "evaluation", "production", "true")]),
        RuleSet([Rule("r", "evaluation", "staging", "speed > 1")]),
        RuleSet([Rule("r", "evaluation", "staging", "version == '\\u0000'".replace("\\u0000", "\0"))]),
        RuleSet([GOOD.rules[0], GOOD.rules[0]]),
    ],
)
async def test_rules_that_cannot_be_used_are_refused(registry, ruleset):
    with pytest.raises(Invalid):
        await put(registry, ruleset, None)
    assert (await get(registry)).revision == 0


async def test_unknown_and_unregistered_models_have_no_rules(registry):
    async with registry.change("stream") as change:
        await catalog.note_seen(change, ["seen"])
    for model_id in ("nothing", "seen"):
        with pytest.raises(Unknown):
            await put(registry, GOOD, None, model_id)
    with pytest.raises(Unknown):
        await get(registry, "nothing")


async def test_models_with_rules_go_page_by_page_without_those_that_are_archived_or_have_none_left(registry):
    async with registry.change("anna") as change:
        for name in ("a", "b", "c"):
            await catalog.register(change, Model(name, owner="risk"))
            await rule_store.put(change, name, GOOD, None)
        await rule_store.put(change, "b", RuleSet([]), None)
        await rule_store.put(change, "m", GOOD, None)
    async with registry.read() as connection:
        assert await rule_store.models_with_rules(connection, "", 2) == ["a", "c"]
        assert await rule_store.models_with_rules(connection, "c", 2) == ["m"]
    async with registry.change("anna") as change:
        entry = await catalog.get(change.connection, "a")
        await catalog.replace(change, entry.model, entry.revision, archived=True)
    async with registry.read() as connection:
        assert await rule_store.models_with_rules(connection, "", 2) == ["c", "m"]


async def test_an_evaluation_is_kept_when_its_outcome_or_its_kind_of_reason_is_another(registry):
    assert await record(registry, "1", said("not", "metrics.mae is 6.2.", **{"metrics.mae": 6.2})) == 1
    assert await record(registry, "1", said("not", "metrics.mae is 1.5e-07.")) == 0
    assert await record(registry, "1", said("unknown", "metrics.mae is not known (a).")) == 1
    assert await record(registry, "1", said("unknown", "metrics.mae is not known (b).")) == 1
    assert await record(registry, "2", said("unknown", "metrics.mae is not known (b).")) == 1
    assert await record(registry, "1", said("fired", "metrics.mae is 4.")) == 1
    found = await evaluations(registry)
    assert [(one.version, one.outcome) for one in found] == [
        ("1", "fired"), ("2", "unknown"), ("1", "unknown"), ("1", "unknown"), ("1", "not"),
    ]  # fmt: skip
    assert found[-1].facts == {"metrics.mae": 6.2}
    assert (found[-1].rule, found[-1].at) == ("good", 1_000)
    assert [one.outcome for one in await evaluations(registry, limit=1, version="2")] == ["unknown"]
    assert await evaluations(registry, before_seq=found[2].seq) == found[3:]


async def test_a_thousand_evaluations_of_a_model_are_kept(registry):
    async with registry.change("rules") as change:
        for number in range(1_010):
            outcome = "fired" if number % 2 else "not"
            await rule_store.record(change, "m", "1", [("good", Verdict(outcome, "x", {"n": number}))])
    found = await evaluations(registry)
    assert [one.facts["n"] for one in found] == list(range(1_009, 9, -1))
