"""Artifacts in object stores: those of real runs, uploaded as Metaflow would, read over a real S3 API."""

import hashlib
import socket

import obstore
import pytest
from obstore.store import from_url

from runway_streams.dependency.metaflow import objects as metaflow_objects
from runway_streams.dependency.metaflow.local import FolderDatastore, MetaflowFolder
from runway_streams.dependency.metaflow.objects import open_datastore
from runway_streams.dependency.metaflow.run import gather_run
from runway_streams.dependency.metaflow.runs import BadName
from runway_streams.dependency.metaflow.version import version_of_run
from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from tests.lakes import s3  # noqa: F401
from tests.little_http import LittleServer

URL = "s3://runway/metaflow"


async def test_a_run_whose_artifacts_lie_in_s3_is_read_as_one_in_a_folder(flows, s3):  # noqa: F811
    store = from_url(URL, **s3)
    for file in (flows.root / "DeviceRiskFlow/data").glob("*/*"):
        obstore.put(store, file.relative_to(flows.root).as_posix(), file.read_bytes())
    folder = MetaflowFolder(flows.root)
    record = await folder.run("DeviceRiskFlow", flows.ids["DeviceRiskFlow"])
    local = version_of_run(await gather_run(folder, record))
    folder.datastore = open_datastore(URL, s3)
    remote = version_of_run(await gather_run(folder, record))
    assert remote.artifact_uri == f"{URL}/DeviceRiskFlow/data/{remote.artifact_uri[-43:]}"
    remote.artifact_uri = local.artifact_uri
    assert remote == local


async def test_what_is_not_there_or_too_large_is_a_sentence(s3, monkeypatch):  # noqa: F811
    store, sha = open_datastore(URL, s3), hashlib.sha1(b"x").hexdigest()
    with pytest.raises(RunwayError, match="is not there"):
        await store.read("F", sha, 100)
    obstore.put(from_url(URL, **s3), f"F/data/{sha[:2]}/{sha}", b"x" * 101)
    assert await store.read("F", sha, 101) == b"x" * 101
    with pytest.raises(RunwayError, match="more than 100 bytes"):
        await store.read("F", sha, 100)
    monkeypatch.setattr(metaflow_objects, "MAX_HASHED", 100)
    with pytest.raises(RunwayError, match="more than 100 bytes"):
        await store.sha256("F", sha)
    for flow, bad in (("../F", sha), ("F", "../" + sha[3:])):
        with pytest.raises(BadName):
            await store.read(flow, bad, 100)


async def test_a_store_that_is_down_says_so(s3, monkeypatch):  # noqa: F811
    monkeypatch.setattr(metaflow_objects, "RETRY", {"max_retries": 0})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = s3 | {"endpoint": f"http://127.0.0.1:{free.getsockname()[1]}"}
        with pytest.raises(DependencyDown):
            await open_datastore(URL, nobody).read("F", "a" * 40, 100)


def little_store(server: LittleServer, s3_options: dict):
    return open_datastore("s3://user:s3cret@runway/metaflow?X-Amz-Signature=s3cret#x", s3_options | {"endpoint": server.url})


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 412, 416])
async def test_an_object_that_is_refused_is_a_note_of_its_run_alone(flows, s3, status):  # noqa: F811
    folder = MetaflowFolder(flows.root)
    with LittleServer(lambda asked: (status, {}, b"<Error><Code>AccessDenied</Code></Error>")) as server:
        folder.datastore = little_store(server, s3)
        run = await gather_run(folder, await folder.run("FraudFlow", flows.ids["FraudFlow"]))
    assert run.finished_at is not None
    assert run.notes
    for note in run.notes:
        assert f"of {run.pathspec} " in note
        assert "is not there" in note if status == 404 else f"{status}" in note and note.endswith("in s3://runway/metaflow.")
    assert "s3cret" not in str(run)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, ""),
        (429, ""),
        (500, ""),
        (503, ""),
        (403, "SignatureDoesNotMatch"),
        (400, "ExpiredToken"),
        (404, "NoSuchBucket"),
    ],
)
async def test_a_store_that_would_refuse_any_object_is_down(s3, monkeypatch, status, code):  # noqa: F811
    monkeypatch.setattr(metaflow_objects, "RETRY", {"max_retries": 0})
    body = f"<Error><Code>{code}</Code></Error>".encode()
    with LittleServer(lambda asked: (status, {}, body)) as server:
        store = little_store(server, s3)
        for asked in (store.read("F", "a" * 40, 100), store.sha256("F", "a" * 40)):
            with pytest.raises(DependencyDown) as error:
                await asked
            assert "s3cret" not in str(error.value)


def test_an_artifact_s_address_has_no_secrets(s3):  # noqa: F811
    with LittleServer() as server:
        uri = little_store(server, s3).uri("F", "a" * 40)
    assert uri == f"s3://runway/metaflow/F/data/aa/{'a' * 40}"


def test_urls(tmp_path):
    assert isinstance(open_datastore(tmp_path.as_uri()), FolderDatastore)
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_datastore("gopher://a/b")
