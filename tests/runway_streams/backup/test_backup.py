"""A backup of a lake that goes on changing fits together; one that is not whole is none; a restore overwrites nothing."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from batch.lake import FolderLake, open_lake
from batch.manifest import read_current
from runway_streams import formats
from runway_streams.backup import make
from runway_streams.backup.make import Wanted, make_backup
from runway_streams.backup.manifest import MANIFEST, UNFINISHED, read_manifest
from runway_streams.backup.restore import MARKER, restore_backup
from runway_streams.config import Config
from runway_streams.errors import Refused
from tests.batch.log import T0, archive, snapshot, view_rows
from tests.batch.test_nightly import everything, log
from tests.lakes import s3  # noqa: F401

H0 = T0 // 3_600_000
LAKE = Wanted(registry=False, topics=False)


@contextmanager
def silent(what, total):
    yield lambda: None


@pytest.fixture
def source(tmp_path):
    """A lake of two nights, and a checkpoint."""
    lake = FolderLake(tmp_path / "lake")
    archive(lake, *log(2), until=H0 + 40)
    for hour in (20, 30):
        snapshot(lake, tmp_path / "scratch", H0 + hour)
    digest = "0" * 64
    found = {"cluster_id": "c", "partition": 0, "partitions": 1, "state_format": 1, "offsets": {}, "written_at": 0}
    files = [{"name": "000.sst", "size": 3, "sha256": digest}]
    lake.put(f"checkpoints/c/0/files/{digest}", b"sst")
    lake.put("checkpoints/c/0/manifests/1.json", json.dumps(found | {"files": files}).encode())
    lake.put("keys/features", b"secret")
    return lake


@pytest.fixture
def config(tmp_path):
    return Config(home=tmp_path / "home")


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    if request.param == "folder":
        return FolderLake(tmp_path / "backup")
    return open_lake(f"s3://runway/{tmp_path.name}", request.getfixturevalue("s3"))


def back_up(config, source, place, at=7):
    return make_backup(config, source, place, "there", LAKE, at, silent)


def restore(config, place, lake, wanted=LAKE, **options):
    return restore_backup(config, place, "there", lake, wanted, silent, lambda: 0, **options)


def paths(lake):
    folders = ("archive", "checkpoints", "ground_truth", "keys", "open", "view")
    return {path: lake.get(path) for folder in folders for path in lake.paths(folder) if path != "view/lock.json"}


def test_what_was_backed_up_is_restored_as_it_was(config, source, place, tmp_path):
    manifest = back_up(config, source, place)
    assert (manifest.format, manifest.created_at) == (formats.WRITTEN, 7)
    assert not place.exists(UNFINISHED)
    copy = FolderLake(tmp_path / "copy")
    told = restore(config, place, copy)
    assert (told.files, told.bytes) == (len(manifest.files), manifest.bytes)
    # Of the archive what is not closed yet is left out, the archive worker writes it again; all else is the same.
    found = paths(copy)
    assert found.items() <= paths(source).items()
    assert everything(copy, read_current(copy), tmp_path / "1") == everything(source, read_current(source), tmp_path / "2")
    assert not copy.exists(MARKER)
    archive(copy, *log(2), until=H0 + 40)
    again, newer = snapshot(copy, tmp_path / "3", H0 + 40), snapshot(source, tmp_path / "3", H0 + 40)
    assert view_rows(copy, again, "hourly", tmp_path / "4") == view_rows(source, newer, "hourly", tmp_path / "5")


def test_a_night_that_is_published_meanwhile_makes_the_view_be_read_again(config, source, place, tmp_path, monkeypatch):
    """Two snapshots later, files of the one that was read are garbage."""
    copied = make.copy_object
    nights = iter((35, 38))
    one_at_a_time = threading.Lock()

    def copy_late(lake, path, *arguments):
        with one_at_a_time:
            for hour in nights:
                snapshot(source, tmp_path / "scratch", H0 + hour)
        return copied(lake, path, *arguments)

    read = read_current(source).name
    monkeypatch.setattr(make, "copy_object", copy_late)
    monkeypatch.setattr("batch.view_files.MOST_FILES", 1)  # so that files are replaced
    manifest = back_up(config, source, place)
    copy = FolderLake(tmp_path / "copy")
    restore(config, place, copy)
    assert read < read_current(copy).name == read_current(source).name
    everything(copy, read_current(copy), tmp_path / "1")
    assert {file.path for file in manifest.files} | {MANIFEST} == {*place.paths("lake"), MANIFEST}, "no strays"


def test_a_backup_that_ended_in_the_middle_is_none_and_may_be_made_anew(config, source, place, tmp_path, monkeypatch):
    put = type(place).put_file
    left = iter(range(5))

    def put_some(self, path, file):
        if next(left, None) is None:
            raise KeyboardInterrupt
        put(self, path, file)

    with monkeypatch.context() as patch:
        patch.setattr(type(place), "put_file", put_some)
        with pytest.raises(KeyboardInterrupt):
            back_up(config, source, place)
    place.put("lake/view/hourly/stray.parquet", b"of a snapshot that is no more")
    with pytest.raises(Refused, match="The backup in there was not finished"):
        restore(config, place, FolderLake(tmp_path / "copy"))
    manifest = back_up(config, source, place)
    assert not place.exists("lake/view/hourly/stray.parquet")
    assert restore(config, place, FolderLake(tmp_path / "copy")).files == len(manifest.files)


def test_a_backup_overwrites_nothing(config, source, place):
    back_up(config, source, place)
    with pytest.raises(Refused, match="holds a whole backup already"):
        back_up(config, source, place)
    place.delete(MANIFEST)
    with pytest.raises(Refused, match="holds something else"):
        back_up(config, source, place)


def test_damaged_and_missing_files_are_named_and_nothing_is_restored(config, source, place, tmp_path):
    manifest = back_up(config, source, place)
    damaged, missing = manifest.files[0].path, manifest.files[-1].path
    place.put(damaged, b"x" + place.get(damaged)[1:])
    place.delete(missing)
    copy = FolderLake(tmp_path / "copy")
    with pytest.raises(Refused, match="Nothing was restored") as refused:
        restore(config, place, copy, force=True)
    assert f"{damaged} is damaged" in str(refused.value)
    assert f"{missing} is missing" in str(refused.value)
    assert not paths(copy)


def test_a_restore_overwrites_nothing_unless_it_is_forced(config, source, place, tmp_path):
    back_up(config, source, place)
    copy = FolderLake(tmp_path / "copy")
    copy.put("view/hourly/other.parquet", b"another view")
    with pytest.raises(Refused, match="the lake has objects in view"):
        restore(config, place, copy)
    restore(config, place, copy, force=True)
    assert not copy.exists("view/hourly/other.parquet")
    assert read_current(copy).name == read_current(source).name


def test_a_restore_that_was_cut_in_the_middle_may_be_run_again(config, source, place, tmp_path, monkeypatch):
    back_up(config, source, place)
    copy = FolderLake(tmp_path / "copy")
    put = FolderLake.put_file
    left = iter(range(4))

    def put_some(self, path, file):
        if self is copy and next(left, None) is None:
            raise KeyboardInterrupt
        put(self, path, file)

    with monkeypatch.context() as patch:
        patch.setattr(FolderLake, "put_file", put_some)
        with pytest.raises(KeyboardInterrupt):
            restore(config, place, copy)
    assert read_current(copy) is None, "what names others comes last"
    restore(config, place, copy)
    assert read_current(copy).name == read_current(source).name


def test_a_dry_run_verifies_and_changes_nothing(config, source, place, tmp_path):
    back_up(config, source, place)
    copy = FolderLake(tmp_path / "copy")
    told = restore(config, place, copy, wanted=Wanted(topics=False), dry_run=True)
    assert told.dry_run
    assert not copy.root.exists()
    assert not (config.home / "registry.db").exists()


def test_a_backup_of_a_newer_version_is_refused(config, source, place, tmp_path):
    place.put(MANIFEST, json.dumps({"format": formats.NEWEST + 1, "files": "elsewhere"}).encode())
    with pytest.raises(formats.OtherFormat, match="The backup in there has format"):
        restore(config, place, FolderLake(tmp_path / "copy"))


@pytest.mark.parametrize("path", ["lake/view/../../x", "lake/other/x", "/etc/passwd", "registry/models/x", "backup.json"])
def test_a_manifest_that_names_what_no_backup_holds_is_refused(config, source, place, path):
    back_up(config, source, place)
    document = json.loads(place.get(MANIFEST))
    document["files"][0]["path"] = path
    place.put(MANIFEST, json.dumps(document).encode())
    with pytest.raises(Refused, match="which no backup holds"):
        read_manifest(place, "there")


def test_an_empty_lake_and_a_place_without_a_backup(config, place, tmp_path):
    with pytest.raises(Refused, match="holds no backup"):
        restore(config, place, FolderLake(tmp_path / "copy"))
    manifest = make_backup(replace(config), FolderLake(tmp_path / "none"), place, "there", LAKE, 7, silent)
    assert manifest.files == []
