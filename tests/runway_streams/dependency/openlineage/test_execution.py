"""Executions: what the runs of a job read and made for one run of their parent is in force together, in a real graph."""

import itertools
import json
import random

import pytest

from runway_streams.database import Database
from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.openlineage.intake import OpenLineageIntake
from runway_streams.dependency.stores.migrate import MIGRATIONS
from runway_streams.dependency.stores.sql_openlineage_runs import SqlOpenLineageRuns
from runway_streams.dependency.stores.sql_store import SqlStore

NOW = 1_772_500_000_000
TASK = "flow:airflow/sales.load"


class World:
    """A database, and an intake over it."""

    def __init__(self, database):
        self.store = SqlStore(database)
        self.runs = SqlOpenLineageRuns(database)
        self.intake = OpenLineageIntake(LineageGraph(self.store, NoQueue(), lambda: NOW), self.runs, lambda: NOW)

    async def take(self, *events):
        taken = await self.intake.take([json.dumps(event).encode() for event in events])
        assert (taken.refused, taken.notes) == ([], [])

    async def read(self):
        edges = await self.store.edges([TASK], "upstream")
        return {edge.upstream.rpartition("/")[2] for edge in edges if edge.kind == "feeds"}

    async def made(self):
        return {edge.downstream.rpartition("/")[2] for edge in await self.store.edges([TASK], "downstream")}


class NoQueue:
    """Nothing waits while the graph answers."""

    async def size(self):
        return 0


@pytest.fixture
async def world(database_url, tmp_path):
    database = Database.open(database_url, tmp_path, MIGRATIONS)
    await database.prepare()
    yield World(database)
    await database.close()


def run_id(day, index, attempt=1):
    return f"01995c1d-{day:04}-7000-8000-{index:06}{attempt:06}"


def dag(day, kind, minute):
    """An event of the DAG run of a day."""
    return _event(day, kind, minute, {"runId": run_id(day, 999)}, "sales")


def task(day, index, kind, minute, inputs=(), outputs=(), attempt=1, mapped="airflow"):
    """An event of one of the runs into which the task was mapped."""
    parent = {"run": {"runId": run_id(day, 999)}, "job": {"namespace": "airflow", "name": "sales"}}
    marks = {
        "airflow": {"airflow": {"taskInstance": {"try_number": attempt, "map_index": index}, "task": {"mapped": True}}},
        "airflow_mappedTask": {"airflow_mappedTask": {"mapIndex": index, "operatorClass": "x"}},
        None: {"airflow": {"taskInstance": {"try_number": attempt, "map_index": None}}},
    }
    run = {"runId": run_id(day, index, attempt), "facets": {"parent": parent, **marks[mapped]}}
    return _event(day, kind, minute, run, "sales.load", inputs, outputs)


def _event(day, kind, minute, run, job, inputs=(), outputs=()):
    return {
        "eventType": kind, "eventTime": f"2026-02-{day:02}T02:{minute:02}:00Z", "producer": "https://example.com", "run": run,
        "job": {"namespace": "airflow", "name": job},
        "inputs": [{"namespace": "db", "name": name} for name in inputs],
        "outputs": [{"namespace": "db", "name": name} for name in outputs],
    }  # fmt: skip


def day_of(day, tables, mapped="airflow"):
    """The events of a DAG run whose task was mapped over tables, all of them at once."""
    starts = [task(day, index, "START", 1, mapped=mapped) for index in range(len(tables))]
    ends = [
        task(day, index, "COMPLETE", 5 + index, [table], [f"{table}_2"], mapped=mapped) for index, table in enumerate(tables)
    ]
    return [dag(day, "START", 0), *starts, *ends, dag(day, "COMPLETE", 30)]


@pytest.mark.parametrize("mapped", ["airflow", "airflow_mappedTask"])
async def test_what_the_mapped_runs_of_the_last_dag_run_told_is_in_force_together(world, mapped):
    for event in day_of(1, "ab", mapped):
        await world.take(event)
    assert (await world.read(), await world.made()) == ({"a", "b"}, {"a_2", "b_2"})
    *before, last = day_of(2, "ac", mapped)
    for event in before:
        await world.take(event)
        assert {"a", "b"} <= await world.read(), "whether b is read again is not known before the DAG run has ended"
    await world.take(last)
    assert (await world.read(), await world.made()) == ({"a", "c"}, {"a_2", "c_2"})


async def test_one_after_the_other_they_do_not_end_each_other_either(world):
    await world.take(*day_of(1, "ab"))
    await world.take(dag(2, "START", 0), task(2, 0, "START", 1), task(2, 0, "COMPLETE", 2, "a"))
    assert await world.read() == {"a", "b"}
    await world.take(task(2, 1, "START", 3), task(2, 1, "COMPLETE", 4, "b"))
    await world.take(dag(2, "COMPLETE", 5))
    assert await world.read() == {"a", "b"}
    edges = await world.store.edges([TASK], "upstream")
    began = {edge.valid_from for edge in edges if edge.kind == "feeds"}
    assert began == {_ms(1, 5), _ms(1, 6)}, "none was interrupted"


def _ms(day, minute):
    return 1_769_904_000_000 + (day - 1) * 86_400_000 + (120 + minute) * 60_000


@pytest.mark.parametrize("seed", range(6))
async def test_in_whatever_order_and_however_often_events_come(world, seed):
    events = day_of(1, "ab") + day_of(2, "ac")
    events += random.Random(seed).choices(events, k=4)
    random.Random(seed).shuffle(events)
    for event in events:
        await world.take(event)
    assert (await world.read(), await world.made()) == ({"a", "c"}, {"a_2", "c_2"})


async def test_one_that_failed_keeps_them_from_ending_anything_until_it_was_tried_again(world):
    await world.take(*day_of(1, "abx"))
    start, good, bad, end = (
        dag(2, "START", 0), task(2, 0, "COMPLETE", 2, "a", "p"), task(2, 1, "FAIL", 3, "b"), dag(2, "FAIL", 9),
    )  # fmt: skip
    await world.take(start, task(2, 0, "START", 1), task(2, 1, "START", 1), good, bad, end)
    assert await world.read() == {"a", "b", "x"}
    await world.take(task(2, 1, "START", 10, attempt=2), task(2, 1, "COMPLETE", 11, "b", attempt=2), dag(2, "COMPLETE", 12))
    assert await world.read() == {"a", "b"}


async def test_where_no_event_of_the_dag_run_comes_mapped_runs_only_add(world):
    await world.take(*day_of(1, "ab")[1:-1])
    await world.take(*day_of(2, "ac")[1:-1])
    assert await world.read() == {"a", "b", "c"}


async def test_runs_of_one_job_and_parent_count_together_without_a_map(world):
    await world.take(*day_of(1, "abc", None))
    for event in day_of(2, "ad", None):
        await world.take(event)
    assert (await world.read(), await world.made()) == ({"a", "d"}, {"a_2", "d_2"})
    await world.take(*day_of(3, "e", None)[:-1])
    assert await world.read() == {"e"}, "the end of the DAG run need not be waited for"


async def test_runs_that_told_too_much_together_end_nothing(world, database_url, tmp_path):
    await world.take(*day_of(1, "xy"))
    world.runs._max_bytes = 3_000
    await world.take(*day_of(2, [f"table_{index}" for index in range(9)]))
    assert {"x", "y", "table_0", "table_8"} <= await world.read()


async def test_every_order_of_two_mapped_runs(world):
    before, after = day_of(1, "ab"), day_of(2, "c")
    await world.take(*before)
    for order in itertools.permutations(after):
        for event in order:
            await world.take(event)
        assert await world.read() == {"c"}
