"""The sink on our catalog, on both databases: what a sync takes, what it leaves alone, and what becomes of two at once."""

import asyncio

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.registry import aliases, audit_log, catalog, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.lifecycle import MOVES, STAGES
from runway_streams.registry.mlflow.mapping import Mark
from runway_streams.registry.mlflow.sink import ACTOR, REASON, CatalogSink, path_to
from runway_streams.registry.refusals import Conflict, Invalid
from runway_streams.registry.tables import imports
from schemas.model import Model
from schemas.model_version import ModelVersion, Origin

NOW = 1_700_000_000_000
URI = "http://mlflow:5000"
MODEL = Model("fraud", name="Fraud", tags=["team:risk"])


@pytest.fixture
def registry(database):
    return Registry(database, lambda: NOW, lambda settings: None)


@pytest.fixture
def sink(registry):
    return CatalogSink(registry, owner="ml")


def version_of(name="1", model="fraud", **more):
    return ModelVersion(name, origin=Origin(URI, model, name), **more)


async def take(sink, name="1", stage=None, aliases=(), mlflow_stage="None", **more):
    return await sink.take(MODEL, version_of(name, **more), stage, list(aliases), Mark(mlflow_stage, tuple(sorted(aliases))))


async def entry(registry, name="1"):
    async with registry.read() as connection:
        return await versions.get(connection, "fraud", name)


async def steps(registry, name="1"):
    async with registry.read() as connection:
        return [(move.to_stage, move.actor, move.reason) for move in await versions.moves_of(connection, "fraud", name)][
            ::-1
        ]


async def named(registry):
    async with registry.read() as connection:
        return (await aliases.aliases_of(connection, ["fraud"])).get("fraud", {})


async def move_here(registry, name, *stages):
    async with registry.change("anna") as change:
        for stage in stages:
            await versions.move(change, "fraud", name, stage, "better")


async def test_a_version_comes_with_its_model_stage_aliases_and_mark(registry, sink):
    assert await take(sink, "1", "production", ["best", "champion"], metrics={"auc": 0.9}) == "created"

    async with registry.read() as connection:
        model = await catalog.get(connection, "fraud")
        notes = await audit_log.page(connection, 50)
    assert (model.model.owner, model.model.tags, model.registered) == ("ml", ["team:risk"], True)
    taken = await entry(registry)
    assert (taken.stage, taken.version.metrics, taken.created_by) == ("production", {"auc": 0.9}, ACTOR)
    assert await steps(registry) == [("production", ACTOR, REASON)]
    assert await named(registry) == {"best": "1", "champion": "1"}
    mark = {("fraud", "1"): Mark("None", ("best", "champion"))}
    assert await sink.marks(URI, [("fraud", "1"), ("fraud", "2")]) == await sink.aliased(URI) == mark
    assert await sink.aliased("http://another") == {}
    assert {note.actor for note in notes} == {ACTOR}


async def test_a_model_that_is_there_stays_as_it_is(registry, sink):
    async with registry.change("anna") as change:
        before = await catalog.register(change, Model("fraud", name="Ours", owner="risk"))
    assert await take(sink) == "created"
    async with registry.read() as connection:
        assert await catalog.get(connection, "fraud") == before


async def test_a_model_that_was_only_seen_is_registered(registry, sink):
    async with registry.change("seen") as change:
        await catalog.note_seen(change, ["fraud"])
    assert await take(sink) == "created"
    async with registry.read() as connection:
        assert (await catalog.get(connection, "fraud")).model.name == "Fraud"


async def test_taking_it_again_changes_nothing_but_what_moved(registry, sink):
    await take(sink, stage="evaluation", metrics={"auc": 0.9})
    before = await entry(registry)
    assert await take(sink) == "unchanged"  # its run was not read again, so it comes without metrics
    assert await entry(registry) == before
    await move_here(registry, "1", "staging")
    assert await take(sink, aliases=["best"]) == "moved"
    assert (await entry(registry)).stage == "staging", "MLflow has not moved it"
    assert await take(sink, stage="production", aliases=["best"]) == "moved"
    assert [stage for stage, _, _ in await steps(registry)] == ["evaluation", "staging", "production"]


async def test_a_move_takes_the_legal_steps_in_between(registry, sink):
    await take(sink, stage="evaluation")
    assert await take(sink, stage="production", mlflow_stage="Production") == "moved"
    assert await take(sink, stage="archived", mlflow_stage="Archived") == "moved"
    found = [("evaluation", ACTOR, REASON), ("staging", ACTOR, REASON), ("production", ACTOR, REASON)]
    assert await steps(registry) == [*found, ("deprecated", ACTOR, REASON), ("archived", ACTOR, REASON)]


@pytest.mark.parametrize(("first", "goal"), [("archived", "production"), ("staging", "deprecated")])
async def test_where_no_way_leads_it_stays_and_the_mark_is_kept(registry, sink, first, goal):
    await take(sink, stage=first)
    assert await take(sink, stage=goal, mlflow_stage="Production") == "stayed"
    assert (await entry(registry)).stage == first
    assert await sink.marks(URI, [("fraud", "1")]) == {("fraud", "1"): Mark("Production")}


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
async def test_an_alias_that_moves_there_moves_here_in_either_order(registry, sink, order):
    await take(sink, "1", "production", ["champion"])
    await take(sink, "2", "evaluation")
    for name in order:
        await take(sink, name, None, ["champion"] if name == "2" else [])
    assert await named(registry) == {"champion": "2"}
    assert list(await sink.aliased(URI)) == [("fraud", "2")]


async def test_an_alias_that_was_pointed_elsewhere_here_stays(registry, sink):
    await take(sink, "1", "staging", ["champion", "best"])
    await take(sink, "2", "staging")
    async with registry.change("anna") as change:
        await aliases.put(change, "fraud", "champion", "2", None)
    assert await take(sink, "1", None, ["champion", "best", "old"]) == "moved"
    assert await named(registry) == {"best": "1", "champion": "2", "old": "1"}
    assert await take(sink, "1", None, []) == "moved"
    assert await named(registry) == {"champion": "2"}


async def test_an_archived_version_gets_no_aliases(registry, sink):
    await take(sink, "1", "archived", ["best"], "Archived")
    assert await named(registry) == {}
    await take(sink, "1", None, ["best", "last"], "Archived")
    assert await named(registry) == {}


async def test_a_name_with_other_content_is_refused_and_leaves_nothing(registry, sink):
    async with registry.change("anna") as change:
        await catalog.register(change, MODEL)
        await versions.create(change, "fraud", ModelVersion("1", artifact_uri="s3://ours"))
    with pytest.raises(Conflict):
        await take(sink, aliases=["best"])
    assert await sink.marks(URI, [("fraud", "1")]) == {}
    assert await named(registry) == {}
    with pytest.raises(Invalid, match="NUL"):
        await sink.take(Model("nul", description="\0"), version_of("1", "nul"), None, [], Mark("None"))
    async with registry.read() as connection:
        assert await catalog.find(connection, "nul") is None


async def test_of_several_that_take_the_same_one_creates_and_all_agree(registry):
    sinks = [CatalogSink(registry) for _ in range(6)]
    outcomes = await asyncio.gather(*(take(sink, "1", "staging", ["best"]) for sink in sinks))
    await asyncio.gather(*(take(sink, str(number), "staging", ["best"]) for number, sink in enumerate(sinks)))
    assert sorted(outcomes) == ["created"] + ["unchanged"] * 5
    assert await steps(registry) == [("staging", ACTOR, REASON)]
    async with registry.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(imports)) == 6


@given(st.sampled_from(STAGES), st.sampled_from(STAGES))
def test_a_way_is_legal_and_never_leads_through_production(before, goal):
    way = path_to(before, goal)
    if way is None:
        assert goal not in MOVES[before]
        return
    for here, after in zip([before, *way], way, strict=False):
        assert after in MOVES[here]
    assert "production" not in way[:-1]
    assert [before, *way][-1] == goal
