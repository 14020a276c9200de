"""What runs told so far, in memory and in either database: the same contract."""

import asyncio

import pytest
import sqlalchemy as sa

from runway_streams.database import Database
from runway_streams.dependency.openlineage import runs as runs_module
from runway_streams.dependency.openlineage.execution import execution_key
from runway_streams.dependency.openlineage.run import merge
from runway_streams.dependency.openlineage.runs import EXPIRY, encode, merge_all
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.dependency.stores.sql_openlineage_runs import SqlOpenLineageRuns
from runway_streams.dependency.stores.tables import openlineage_runs
from runway_streams.registry.migrate import MIGRATIONS as REGISTRY
from tests.runway_streams.dependency.openlineage.memory_runs import RunsInMemory
from tests.runway_streams.dependency.openlineage.test_reports import event, told

NOW = 1_772_500_000_000


def run(number: int, **more):
    """What one event tells of a run."""
    return told(event(**more) | {"run": {"runId": f"01995c1d-0001-7000-8000-{number:012x}"}})


@pytest.fixture
async def lineage(database_url, tmp_path):
    opened = Database.open(database_url, tmp_path, MIGRATIONS)
    await opened.prepare()
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "sql"])
def make(request, lineage):
    """Makes either adapter, that of SQL over either database."""
    if request.param == "memory":
        return RunsInMemory
    return lambda **limits: SqlOpenLineageRuns(lineage, every=1, **limits)


async def test_each_gets_all_that_is_told_of_its_run(make):
    runs = make()
    start, done, other = run(1, kind="START", inputs=["a"]), run(1, second=9, outputs=["b"]), run(2, inputs=["c"])
    assert await runs.merge([], NOW) == []
    assert await runs.merge([start], NOW) == [start]
    assert await runs.merge([done, other, done], NOW) == [merge(start, done), other, merge(start, done)]
    assert await runs.merge([start], NOW) == [merge(start, done)]


async def test_a_run_that_tells_too_much_is_kept_as_it_was(make):
    runs = make(max_bytes=1_000)
    little, much = run(1, inputs=["a"]), run(1, second=1, inputs=[f"table_{number}" for number in range(50)])
    assert await runs.merge([little, much], NOW) == [little, None]
    assert await runs.merge([much], NOW) == [None]
    assert await runs.merge([run(2, inputs=[f"table_{number}" for number in range(50)])], NOW) == [None]
    assert await runs.merge([little], NOW) == [little]


def child(number: int, parent: int, **more):
    facets = {"parent": {"run": {"runId": f"01995c1d-0001-7000-8000-{parent:012x}"}}, **more}
    return told(event(inputs=["a"]) | {"run": {"runId": f"01995c1d-0001-7000-8000-{number:012x}", "facets": facets}})


async def test_runs_are_found_by_what_they_belong_to(make):
    runs = make()
    parent, one, other, alone = run(1), child(2, 1), child(3, 1), run(4)
    mapped = [child(number, 1, airflow_mappedTask={"mapIndex": number}) for number in (5, 6)]
    await runs.merge([parent, one, other, alone, *mapped], NOW)
    key, of_parent = execution_key(one), execution_key(mapped[0])
    assert of_parent == parent.run
    assert await runs.found_by([key, of_parent, alone.run, "nothing"]) == {key: [one, other], of_parent: [parent, *mapped]}
    assert await runs.found_by([]) == {}


async def test_runs_that_tell_too_much_together_are_not_found(make):
    one, other = child(2, 1), child(3, 1)
    key = execution_key(one)
    size = len(encode(one))
    runs = make(max_bytes=2 * size - 1)
    await runs.merge([one], NOW)
    assert await runs.found_by([key]) == {key: [one]}
    await runs.merge([other], NOW)
    assert await runs.found_by([key]) == {}


async def test_sizes_are_told_without_reading_the_runs(make):
    parent, one, other = run(1), child(2, 1), child(3, 1)
    size = len(encode(one))
    runs = make(max_bytes=2 * size)
    await runs.merge([parent, one, other], NOW)
    assert await runs.sizes([parent.run, one.run, "nothing"]) == {parent.run: len(encode(parent)), one.run: size}
    assert await runs.sizes([]) == {}
    key = execution_key(one)
    assert await runs.found_sizes([key, parent.run, "nothing"]) == {key: 2 * size}
    await runs.merge([child(4, 1)], NOW)
    assert await runs.found_sizes([key]) == {}, "too much, and not read"


async def test_a_run_is_found_by_what_it_belongs_to_once_that_is_told(make):
    runs = make()
    late = child(1, 9)
    await runs.merge([run(1)], NOW)
    assert await runs.found_by([execution_key(late)]) == {}
    await runs.merge([late], NOW)
    assert [one.run for one in (await runs.found_by([execution_key(late)]))[execution_key(late)]] == [late.run]


def test_a_large_run_is_not_written_out_for_each_of_its_events(monkeypatch):
    large = run(1, kind="START", inputs=[f"table_{number}" for number in range(1_000)])
    whole, written = len(encode(large)), []

    def counted(one):
        written.append(len(encode(one)))
        return encode(one)

    monkeypatch.setattr(runs_module, "encode", counted)
    merge_all({large.run: large}, [run(1, kind="RUNNING", second=second, inputs=["table_1"]) for second in range(50)])
    assert sum(written) < 2 * whole


async def test_old_runs_are_forgotten(make):
    runs = make()
    start, done = run(1, kind="START", inputs=["a"]), run(1, second=9, outputs=["b"])
    await runs.merge([start], NOW)
    await runs.merge([run(2)], NOW + EXPIRY - 1)
    assert await runs.merge([done], NOW + EXPIRY - 1) == [merge(start, done)]
    await runs.merge([run(3)], NOW + 2 * EXPIRY)
    assert await runs.merge([done], NOW + 2 * EXPIRY) == [done]


async def test_of_too_many_those_are_forgotten_that_were_not_heard_of_for_longest(make):
    runs = make(max_runs=2)
    started = [run(number, kind="START", inputs=["a"]) for number in range(3)]
    for number, one in enumerate(started):
        await runs.merge([one], NOW + number)
    done = [run(number, second=9, outputs=["b"]) for number in range(3)]
    assert await runs.merge([done[2]], NOW + 3) == [merge(started[2], done[2])]
    assert await runs.merge([done[0]], NOW + 4) == [done[0]]


async def test_many_processes_at_a_time_lose_nothing(lineage):
    every = [run(number % 3, second=number % 60, inputs=[f"t{number}"]) for number in range(30)]
    await asyncio.gather(*(SqlOpenLineageRuns(lineage).merge([one, *every[:2]], NOW) for one in every))
    merged = await SqlOpenLineageRuns(lineage).merge(every[:3], NOW)
    assert [len(one.datasets) for one in merged if one] == [10, 10, 10]


async def test_the_table_stays_small(lineage):
    runs = SqlOpenLineageRuns(lineage, max_runs=5, every=4)
    for number in range(40):
        await runs.merge([run(number)], NOW + number)
    async with lineage.read() as connection:
        assert (await connection.execute(sa.select(sa.func.count()).select_from(openlineage_runs))).scalar_one() <= 9


async def test_more_runs_than_one_statement_takes(lineage):
    many = [run(number) for number in range(1_200)]
    assert await SqlOpenLineageRuns(lineage).merge(many, NOW) == many


async def test_two_services_that_begin_at_once_in_databases_of_their_own(tmp_path):
    lineage = Database.open(f"sqlite:///{tmp_path}/lineage.db", tmp_path, MIGRATIONS)
    registry = Database.open(f"sqlite:///{tmp_path}/registry.db", tmp_path, REGISTRY)
    await asyncio.gather(lineage.prepare(), registry.prepare())
    assert await SqlOpenLineageRuns(lineage).merge([run(1)], NOW) == [run(1)]
    await lineage.close()
    await registry.close()
