"""The folder: nothing outside of it is read, and broken files hide nothing."""

import gzip
import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest

from runway_streams.dependency.metaflow import local as metaflow_local
from runway_streams.dependency.metaflow.lineage import told_by
from runway_streams.dependency.metaflow.local import FolderDatastore, MetaflowFolder, read_file
from runway_streams.dependency.metaflow.run import gather_run
from runway_streams.dependency.metaflow.runs import BadName, RunRecord
from runway_streams.dependency.report import check_report
from runway_streams.errors import DependencyDown, RunwayError

RUN = {"run_number": "1", "flow_id": "F", "ts_epoch": 10, "tags": ["runway:model:m"], "system_tags": []}


def write(place: Path, document: object) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(document))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / ".metaflow/F/1/_meta/_self.json", RUN)
    write(tmp_path / ".metaflow/F/1/end/3/_meta/_self.json", {"task_id": "3", "ts_epoch": 15})
    return tmp_path / ".metaflow"


def store(root: Path, stored: bytes, sha: str) -> None:
    (root / "F/data" / sha[:2]).mkdir(parents=True, exist_ok=True)
    (root / "F/data" / sha[:2] / sha).write_bytes(stored)
    write(root / "F/1/end/3/_meta/0_artifact_runway_lineage.json", {"name": "runway_lineage", "sha": sha, "attempt_id": 0})


async def notes(root: Path) -> list[str]:
    folder = MetaflowFolder(root)
    record = await folder.run("F", "1")
    assert record
    return (await gather_run(folder, record)).notes


async def test_links_that_lead_out_are_refused(root, tmp_path):
    write(tmp_path / "outside/2/_meta/_self.json", RUN | {"run_number": "2"})
    (tmp_path / "secret").write_text("secret")
    (root / "Out").symlink_to(tmp_path / "outside")
    sha = "a" * 40
    (root / "F/data/aa").mkdir(parents=True)
    (root / "F/data/aa" / sha).symlink_to(tmp_path / "secret")
    folder = MetaflowFolder(root)
    with pytest.raises(BadName, match="leads out"):
        await folder.run("Out", "2")
    with pytest.raises(BadName, match="leads out"):
        await folder.runs("Out")
    for asked in (folder.datastore.read("F", sha, 100), folder.datastore.sha256("F", sha)):
        with pytest.raises(BadName, match="leads out"):
            await asked


async def test_hashes_that_are_none_are_refused(root):
    for sha in ("", "../../../etc/passwd", "A" * 40, "a" * 39, "a" * 41, "a" * 39 + "\n"):
        with pytest.raises(BadName):
            await FolderDatastore(root).read("F", sha, 100)


async def test_broken_files_hide_no_others(root):
    (root / "F/2/_meta").mkdir(parents=True)
    (root / "F/2/_meta/_self.json").write_text('{"run_number":')
    write(root / "F/3/_meta/_self.json", [1])
    write(root / "F/4/_meta/_self.json", RUN | {"ts_epoch": "soon"})
    (root / "F/5/_meta").mkdir(parents=True)
    os.mkfifo(root / "F/5/_meta/_self.json")
    (root / "F/latest_run").write_text("1")
    write(root / "F/6/_meta/_self.json", RUN | {"run_number": 6, "ts_epoch": 5})
    assert [run.id for run in await MetaflowFolder(root).runs("F")] == ["6", "1"]


async def test_names_and_times_in_files_lead_nowhere(root):
    write(root / "F/2/_meta/_self.json", RUN | {"flow_id": "../x"})
    write(root / "F/3/_meta/_self.json", RUN | {"run_number": "../3"})
    write(root / "F/4/_meta/_self.json", RUN | {"ts_epoch": -1})
    write(root / "F/5/_meta/_self.json", RUN | {"ts_epoch": 10**18})
    write(root / "F/1/end/4/_meta/_self.json", {"task_id": "../../3", "ts_epoch": 16})
    folder = MetaflowFolder(root)
    assert [run.id for run in await folder.runs("F")] == ["1"]
    assert [task.task_id for task in await folder.tasks("F", "1", "end")] == ["3"]


@pytest.mark.parametrize(
    "graph",
    [{"end_step": "../x", "start_step": 5}, {"parameters": [{"name": []}, {"name": "_x"}]}, {"parameters": [3]},
     {"decorators": {"a": 1}}, [1], "text", {"end_step": "e" * 1000}],
    ids=repr,
)  # fmt: skip
async def test_a_strange_graph_crashes_nothing(root, graph):
    write(root / "F/1/_parameters/0/_meta/_self.json", {"task_id": "0", "ts_epoch": 1})
    data = pickle.dumps(graph)
    sha = hashlib.sha1(data).hexdigest()
    store(root, gzip.compress(data, mtime=0), sha)
    write(root / "F/1/_parameters/0/_meta/0_artifact__graph_info.json", {"name": "_graph_info", "sha": sha, "attempt_id": 0})
    folder = MetaflowFolder(root)
    run = await gather_run(folder, await folder.run("F", "1"))
    for report in told_by(run, "m").reports:
        check_report(report)


async def test_a_folder_that_is_not_there_is_down(tmp_path):
    with pytest.raises(DependencyDown):
        await MetaflowFolder(tmp_path / "none").runs("F")


async def test_the_last_attempt_counts(root):
    meta = root / "F/1/end/3/_meta"
    write(meta / "0_artifact_a.json", {"name": "a", "sha": "0" * 40, "attempt_id": 0})
    write(meta / "0_artifact_b.json", {"name": "b", "sha": "0" * 40, "attempt_id": 0})
    write(meta / "1_artifact_a.json", {"name": "a", "sha": "1" * 40, "attempt_id": 1})
    (found,) = await MetaflowFolder(root).artifacts("F", "1", "end", "3")
    assert found.sha == "1" * 40


@pytest.mark.parametrize(
    ("stored", "match"),
    [(b"no gzip", "not a gzip file"), (gzip.compress(pickle.dumps(b"x"), mtime=0), "SHA-1 is another"),
     (gzip.compress(b"\0" * (2 << 20), mtime=0), "larger than 1 MiB"), (b"x" * (2 << 20), "more than 1048576 bytes")],
)  # fmt: skip
async def test_artifacts_that_cannot_be_read_give_a_sentence(root, stored, match):
    store(root, stored, "b" * 40)
    (note,) = await notes(root)
    assert note.startswith("The artifact runway_lineage of F/1 cannot be read. ")
    assert match in note


async def test_an_artifact_that_is_no_text_gives_a_sentence(root):
    data = pickle.dumps({"schema": "runway.lineage/1"})
    store(root, gzip.compress(data, mtime=0), hashlib.sha1(data).hexdigest())
    (note,) = await notes(root)
    assert "is no text" in note


async def test_an_artifact_that_is_gone_gives_a_sentence(root):
    store(root, b"", "c" * 40)
    (root / "F/data/cc" / ("c" * 40)).unlink()
    (note,) = await notes(root)
    assert "is not there" in note


def test_what_cannot_even_be_looked_for_gives_a_sentence(tmp_path):
    with pytest.raises(RunwayError, match="cannot be read: File name too long"):
        read_file(tmp_path / ("x" * 300), 10)


async def test_artifacts_that_are_still_being_written_are_none_yet(root):
    meta = root / "F/1/end/3/_meta"
    write(root / "F/1/end/3/0.data.json", {"objects": {"a": "0" * 40, "b": "0" * 40}})
    write(meta / "0_artifact_a.json", {"name": "a", "sha": "0" * 40, "attempt_id": 0})
    assert await MetaflowFolder(root).artifacts("F", "1", "end", "3") == []
    write(meta / "0_artifact_b.json", {"name": "b", "sha": "0" * 40, "attempt_id": 0})
    assert [one.name for one in await MetaflowFolder(root).artifacts("F", "1", "end", "3")] == ["a", "b"]
    write(root / "F/1/end/3/0.data.json", {"objects": ["strange"]})
    assert len(await MetaflowFolder(root).artifacts("F", "1", "end", "3")) == 2


async def test_a_model_that_is_too_large_has_no_hash(root, monkeypatch):
    monkeypatch.setattr(metaflow_local, "MAX_STORED", 10)
    store(root, b"x" * 11, "d" * 40)
    with pytest.raises(RunwayError, match="larger than"):
        await FolderDatastore(root).sha256("F", "d" * 40)


def test_runs_have_the_name_of_their_scheduler():
    assert RunRecord("F", 3, 1, run_id="argo-x").id == "argo-x"
