"""The intake: events in, edges in the graph; in any order, over a graph that is away, and bad ones among good ones."""

import itertools
import json

import pytest

from runway_streams.dependency.graph import LineageGraph
from runway_streams.dependency.openlineage.event import split_batch
from runway_streams.dependency.openlineage.intake import OpenLineageIntake
from runway_streams.dependency.openlineage.runs import encode
from runway_streams.dependency.refusals import BadReport
from runway_streams.dependency.report import Report
from runway_streams.errors import DependencyDown
from tests.runway_streams.dependency.openlineage.memory_runs import RunsInMemory
from tests.runway_streams.dependency.openlineage.test_reports import SAMPLES, event, told

NOW = 1_772_500_000_000


class Applied:
    """A store that keeps reports as they come."""

    def __init__(self):
        self.reports: list[Report] = []
        self.down = False
        self.refused: list[str] = []

    async def prepare(self):
        pass

    async def apply(self, reports):
        if self.down:
            raise DependencyDown("The graph is away.")
        if any(claim.upstream in self.refused for report in reports for claim in report.claims):
            raise BadReport("It touches too much.")
        self.reports += reports

    def seen(self) -> set:
        return {(one.reporter, one.at, claim.upstream, claim.downstream) for one in self.reports for claim in one.claims}

    def wholes(self) -> set:
        return {(one.reporter, one.at) for one in self.reports if one.whole_inputs}


class Kept:
    """A queue that keeps what it gets."""

    def __init__(self):
        self.reports: list[Report] = []

    async def add(self, reports, now, problem=""):
        self.reports += reports

    async def size(self):
        return len(self.reports)


def intake(store: Applied, queue: Kept | None = None, runs: RunsInMemory | None = None) -> OpenLineageIntake:
    graph = LineageGraph(store, queue or Kept(), lambda: NOW)  # type: ignore[arg-type]
    return OpenLineageIntake(graph, runs or RunsInMemory(), lambda: NOW)


def as_bytes(*documents: dict) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
async def test_a_batch_and_one_at_a_time_in_any_order_are_the_same(name: str):
    events = split_batch((SAMPLES / f"{name}.json").read_bytes())
    batch = Applied()
    assert (await intake(batch).take(events)).refused == []
    for order in itertools.islice(itertools.permutations(events), 24):
        single = Applied()
        reader = intake(single)
        for one in order:
            await reader.take([one])
        assert single.seen() >= batch.seen()
        assert max(single.wholes(), default=None) == max(batch.wholes(), default=None)


async def test_half_finished_runs_survive_a_restart():
    store, runs = Applied(), RunsInMemory()
    await intake(store, runs=runs).take(as_bytes(event("START", 0, inputs=["a"])))
    await intake(store, runs=runs).take(as_bytes(event("COMPLETE", 9, outputs=["b"])))
    last = store.reports[-1]
    assert [(claim.upstream, claim.downstream) for claim in last.claims] == [
        ("dataset:db/a", "flow:etl/daily"),
        ("flow:etl/daily", "dataset:db/b"),
    ]
    assert last.whole_inputs == last.whole_outputs == ["flow:etl/daily"]


async def test_a_bad_event_does_not_spoil_the_others():
    store = Applied()
    half = event()
    del half["run"]
    found = await intake(store).take(
        [b"{", *as_bytes(event(inputs=["a"]), half, event() | {"job": {"namespace": "a", "name": "\t"}})]
    )
    assert [(one.index, one.reason.split(":")[0]) for one in found.refused] == [
        (0, "This is no event of OpenLineage"),
        (2, "This is no RunEvent of OpenLineage"),
        (3, "The name '\\t' of a flow is empty, longer than 512 characters, or has control characters."),
    ]
    assert found.received == 4
    assert len(store.reports) == 1


async def test_an_event_that_the_graph_refuses_does_not_spoil_the_others():
    store = Applied()
    store.refused = ["dataset:db/a"]
    two, one, late = event("COMPLETE", 5, inputs=["b"]), event(inputs=["a"]), event(inputs=["a"])
    for other, run in ((one, "1"), (late, "2")):
        other["run"] = {"runId": f"00000000-0000-0000-0000-00000000000{run}"}
    found = await intake(store).take(as_bytes(one, two, late))
    assert [(refused.index, refused.reason) for refused in found.refused] == [
        (0, "It touches too much."), (2, "It touches too much."),
    ]  # fmt: skip
    assert [claim.upstream for report in store.reports for claim in report.claims] == ["dataset:db/b"]


async def test_nothing_to_take_tells_nothing():
    store = Applied()
    assert (await intake(store).take([])).in_graph
    assert store.reports == []


async def test_while_the_graph_is_away_reports_wait():
    store, queue = Applied(), Kept()
    store.down = True
    assert not (await intake(store, queue).take(as_bytes(event(inputs=["a"])))).in_graph
    assert [report.reporter for report in queue.reports] == ["openlineage:etl/daily"]


async def test_a_run_that_tells_too_much_is_refused_and_what_it_told_before_is_kept():
    store, runs = Applied(), RunsInMemory(max_bytes=2_000)
    reader = intake(store, runs=runs)
    await reader.take(as_bytes(event("START", 0, inputs=["a"])))
    found = await reader.take(as_bytes(event("COMPLETE", 9, inputs=[f"table_{number}" for number in range(50)])))
    assert "has told of more than" in found.refused[0].reason
    assert list(runs.runs.values()) == [told(event("START", 0, inputs=["a"]))]


class Counted(RunsInMemory):
    """Notes the bytes of what is read at a time."""

    def __init__(self, **limits):
        super().__init__(**limits)
        self.read: list[int] = []

    async def merge(self, told, now):
        self.read.append(sum((await self.sizes({one.run for one in told})).values()))
        return await super().merge(told, now)

    async def found_by(self, keys):
        found = await super().found_by(keys)
        self.read.append(sum(len(encode(run)) for group in found.values() for run in group))
        return found


def of_run(number: int, kind: str, parent: int | None = None, **more) -> dict:
    facets = {} if parent is None else {"parent": {"run": {"runId": f"01995c1d-0002-7000-8000-{parent:012x}"}}}
    return event(kind, **more) | {"run": {"runId": f"01995c1d-0001-7000-8000-{number:012x}", "facets": facets}}


@pytest.mark.parametrize(
    ("in_pairs", "large", "told_of", "refused"),
    [(False, range(30), range(30), "t7_3"), (True, range(30), range(30), "t7_3"), (True, range(0, 30, 2), range(1, 30, 2), "t6_3")],
    ids=["runs by themselves", "pairs", "small halves of pairs"],
)  # fmt: skip
async def test_what_is_read_of_runs_at_a_time_is_bounded_however_many_events_come_together(
    in_pairs, large, told_of, refused
):
    """A large run has about 4 KB; 10 KB may be read at a time. Each run is told of twice, far apart."""
    bound = 10_000

    def tells(number: int, kind: str, **more) -> dict:
        return of_run(number, kind, number // 2 if in_pairs else None, **more)

    known = as_bytes(
        *(
            tells(run, "START", inputs=[f"t{run}_{column}" for column in range(40 if run in large else 1)])
            for run in range(30)
        )
    )
    begun = as_bytes(*(tells(run, "RUNNING", second=5, inputs=["x"]) for run in told_of))
    half = as_bytes({"eventType": "START"})
    ended = as_bytes(*(tells(run, "COMPLETE", second=9, outputs=[f"out{run}"]) for run in told_of))
    found: list = []
    for at_once in (bound, 1 << 30):
        runs, store = Counted(max_bytes=bound), Applied()
        reader = OpenLineageIntake(LineageGraph(store, Kept(), lambda: NOW), runs, lambda: NOW, at_once)  # type: ignore[arg-type]
        for one in known:
            await reader.take([one])
        store.refused = [f"dataset:db/{refused}"]
        runs.read.clear()
        taken = await reader.take([*begun, *half, *ended])
        found.append((taken, store.seen(), store.wholes()))
        assert sum(runs.read) > 5 * bound
        assert (max(runs.read) <= bound) == (at_once == bound), "the bound is what makes it less"
    assert found[0] == found[1]
    the_end_of_7 = len(begun) + 1 + list(told_of).index(7)
    assert [one.index for one in found[0][0].refused] == [len(begun), the_end_of_7]


async def test_an_event_of_a_large_run_is_told_by_itself():
    """What its others told is told again only once the run has ended."""
    store = Applied()
    reader = intake(store)
    await reader.take(as_bytes(event("START", 0, inputs=[f"table_{number}" for number in range(500)])))
    store.reports.clear()
    await reader.take(as_bytes(*(event("RUNNING", second, inputs=["table_1"]) for second in range(1, 31))))
    await reader.take(as_bytes(event("RUNNING", 40, inputs=["table_2"])))
    assert [len(report.claims) for report in store.reports] == [1] * 31
    await reader.take(as_bytes(event("COMPLETE", 50, outputs=["b"])))
    assert [len(report.claims) for report in store.reports[31:]] == [501]


async def test_what_is_left_out_is_noted_and_logged_once(caplog):
    wrong = event(inputs=["a"]) | {"run": {"runId": event()["run"]["runId"], "facets": {"parent": 5}}}
    found = await intake(Applied()).take(as_bytes(event(inputs=["a"]), wrong, wrong))
    assert [(one.index, one.note.partition(" is ")[0]) for one in found.notes] == [
        (1, "run.facets.parent"),
        (2, "run.facets.parent"),
    ]
    assert [record.getMessage().partition(":")[0] for record in caplog.records if "OpenLineage" in record.message] == [
        "Parts of OpenLineage's events are left out, 2 in all; the first"
    ]


async def test_a_run_with_many_long_names_is_taken_event_by_event():
    """Each could be told by itself; a report of them all that the graph refuses would be sent again for ever."""
    reader = intake(Applied())
    named = {"symlinks": {"identifiers": [{"namespace": "hive", "name": "t", "type": "TABLE"}]}}
    for number in range(25):
        one = {"namespace": "\U0001f600" * 180, "name": f"{number:02}" + "\U0001f600" * 150, "facets": named}
        found = await reader.take(as_bytes(event("COMPLETE", number) | {"outputs": [one]}))
        assert found.refused == []
