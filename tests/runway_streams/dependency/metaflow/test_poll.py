"""Looking for ended runs: each once, whatever the order in which they end, and none hidden by those that never do."""

import json
from pathlib import Path

import msgspec
import pytest

from runway_streams.dependency.metaflow import poll as metaflow_poll
from runway_streams.dependency.metaflow.local import MetaflowFolder
from runway_streams.dependency.metaflow.poll import GIVE_UP, Cursor, look
from runway_streams.errors import DependencyDown


class Folder:
    """Metaflow's folder, as far as a poll looks at it."""

    def __init__(self, root: Path):
        self.root, self.runs = root / ".metaflow", MetaflowFolder(root / ".metaflow")
        self.root.mkdir()
        self.cursor = Cursor()

    def start(self, run: str, at: int) -> None:
        self._write(f"{run}/_meta/_self.json", {"run_number": run, "flow_id": "F", "ts_epoch": at})
        self._write(f"{run}/end/3/_meta/_self.json", {"task_id": "3", "ts_epoch": at})

    def end(self, run: str, at: int, ok: bool = True) -> None:
        record = {"field_name": "attempt_ok", "value": str(ok), "tags": ["attempt_id:0"], "ts_epoch": at}
        self._write(f"{run}/end/3/_meta/sysmeta_attempt_ok_{at}.json", record)

    async def look(self, now: int = 1000) -> list[str]:
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
