"""Looking for ended runs: each once, whatever the order in which they end, and none hidden by those that never do."""

import json
from pathlib import Path

import msgspec
import pytest

from runway_streams.dependency.metaflow import poll as metaflow_poll
from runway_streams.dependency.metaflow.local import MetaflowFolder
from runway_streams.dependency.metaflow.poll import GIVE_UP, Cursor, look
from runway_streams.errors import DependencyDown
from runway_streams.times import DAY

SHA = "a" * 40
HALF_A_MINUTE = 30_000


class Folder:
    """Metaflow's folder, as far as a poll looks at it."""

    def __init__(self, root: Path):
        self.root, self.runs = root / ".metaflow", MetaflowFolder(root / ".metaflow")
        self.root.mkdir()
        self.cursor, self.now = Cursor(), 0

    def start(self, run: str, at: int) -> None:
        self._write(f"{run}/_meta/_self.json", {"run_number": run, "flow_id": "F", "ts_epoch": at})
        self._write(f"{run}/end/3/_meta/_self.json", {"task_id": "3", "ts_epoch": at})

    def end(self, run: str, at: int, ok: bool = True) -> None:
        self.record(run, "attempt_ok", str(ok), at)
        self.record(run, "attempt-done", "0", at)
        self.artifacts(run, "_task_ok")

    def record(self, run: str, field: str, value: str, at: int) -> None:
        record = {"field_name": field, "value": value, "tags": ["attempt_id:0"], "ts_epoch": at}
        self._write(f"{run}/end/3/_meta/sysmeta_{field}_{at}.json", record)

    def artifacts(self, run: str, *names: str) -> None:
        for name in names:
            record = {"name": name, "sha": SHA, "attempt_id": 0}
            self._write(f"{run}/end/3/_meta/0_artifact_{name}.json", record)

    def stored(self, run: str, *names: str) -> None:
        self._write(f"{run}/end/3/0.data.json", {"objects": dict.fromkeys(names, SHA)})

    async def look(self, now: int | None = None) -> list[str]:
        """Looks at a time, or half a minute after the last look."""
        self.now = now = self.now + HALF_A_MINUTE if now is None else now
        found = await look(self.runs, "F", self.cursor, now)
        self.cursor = msgspec.json.decode(msgspec.json.encode(found.cursor), type=Cursor)  # as it is kept
        return [run.id for run in found.ended]

    def _write(self, place: str, document: object) -> None:
        file = self.root / "F" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class Counted(MetaflowFolder):
    """It counts the questions about single runs."""

    asked = 0

    async def tasks(self, flow, run, step):
        self.asked += 1
        return await super().tasks(flow, run, step)


async def test_each_run_is_given_once_when_it_has_ended(folder):
    assert await folder.look() == []
    folder.start("1", 10)
    folder.start("2", 20)
    folder.end("2", 30)
    assert await folder.look() == ["2"]
    assert await folder.look() == []
    folder.start("3", 40)
    folder.end("3", 50)
    folder.end("1", 60)
    assert await folder.look() == ["3", "1"]
    assert await folder.look() == []
    assert folder.cursor == Cursor(40, ("3",))


async def test_a_run_that_is_being_written_has_not_ended(folder):
    folder.start("1", 10)
    folder.record("1", "attempt_ok", "True", 20)
    assert await folder.look() == [], "Metaflow says so before it writes the artifacts"
    folder.stored("1", "_task_ok", "runway_lineage")
    folder.record("1", "attempt-done", "0", 21)
    assert await folder.look() == []
    folder.artifacts("1", "_task_ok")
    assert await folder.look() == [], "one after the other, and not in the order of their names"
    folder.artifacts("1", "runway_lineage")
    assert await folder.look() == ["1"]


async def test_failed_runs_are_asked_for_ever_less(folder):
    folder.runs = Counted(folder.root)
    for number in range(20):
        folder.start(str(number), number)
    for _ in range(10):
        await folder.look()
    assert folder.runs.asked == 20 * 10, "they are young"
    folder.now = DAY
    await folder.look()
    folder.runs.asked = 0
    for _ in range(190):
        await folder.look()
    assert folder.runs.asked == 20 * 2, "once in three quarters of an hour"
    folder.end("3", folder.now)
    found = [await folder.look() for _ in range(100)]
    assert found.count(["3"]) == 1


async def test_a_look_asks_for_a_hundred_runs_however_many_have_failed(folder, monkeypatch):
    monkeypatch.setattr(metaflow_poll, "MAX_AT_ONCE", 5)
    folder.runs = Counted(folder.root)
    for number in range(40):
        folder.start(str(number), 10)
    now = 100 * HALF_A_MINUTE
    looks = []
    while not looks or looks[-1].more:
        looks.append(await look(folder.runs, "F", looks[-1].cursor if looks else Cursor(), now))
    assert len(looks) == 8
    folder.runs.asked = 0
    idle = await look(folder.runs, "F", looks[-1].cursor, now + 10 * HALF_A_MINUTE)
    assert (folder.runs.asked, idle.more) == (5, False)
    folder.start("new", now)
    folder.end("new", now + 1)
    found = await look(folder.runs, "F", idle.cursor, now + 10 * HALF_A_MINUTE)
    assert [run.id for run in found.ended] == ["new"], "those that are new go before"


async def test_a_run_that_cannot_be_read_holds_up_no_other(folder, tmp_path):
    folder.start("1", 10)
    (tmp_path / "outside").mkdir()
    (folder.root / "F/1/end").rename(tmp_path / "outside/end")
    (folder.root / "F/1/end").symlink_to(tmp_path / "outside/end")
    folder.start("2", 10)
    folder.end("2", 20)
    found = await look(folder.runs, "F", Cursor(), 1000)
    assert [run.id for run in found.ended] == ["2"]
    (note,) = found.notes
    assert note.startswith("The run F/1 cannot be read. ")
    assert "leads out" in note


async def test_a_failed_run_is_given_up_and_one_that_is_tried_again_is_not(folder):
    folder.start("1", 10)
    folder.end("1", 20, ok=False)
    assert await folder.look() == []
    folder.end("1", 30)
    assert await folder.look() == ["1"]
    folder.start("2", 40)
    assert await folder.look(40 + GIVE_UP) == []
    folder.end("2", 50)
    assert await folder.look(40 + GIVE_UP) == []
    assert folder.cursor.since == 40


async def test_runs_that_stay_open_hide_no_others(folder, monkeypatch):
    monkeypatch.setattr(metaflow_poll, "MAX_AT_ONCE", 3)
    for number in range(10):
        folder.start(str(number), 10)
    folder.end("8", 20)
    found = [await folder.look() for _ in range(8)]
    assert found.count(["8"]) == 1
    assert found.count([]) == 7
    folder.end("0", 30)
    assert ["0"] in [await folder.look() for _ in range(4)]


async def test_while_metaflow_is_down_the_cursor_stays(folder):
    folder.start("1", 10)
    folder.end("1", 20)
    aside = folder.root.rename(folder.root.with_name("aside"))
    with pytest.raises(DependencyDown):
        await folder.look()
    aside.rename(folder.root)
    assert await folder.look() == ["1"]


async def test_real_runs_are_given(metaflow, flows):
    for flow, ids in (("FraudFlow", [flows.ids["FraudFlow"]]), ("BrokenFlow", [])):
        found = await look(metaflow, flow, Cursor(), 0)
        assert [run.id for run in found.ended] == ids
        assert (await look(metaflow, flow, found.cursor, 0)).ended == []
