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


def test_urls(tmp_path):
    assert isinstance(open_datastore(tmp_path.as_uri()), FolderDatastore)
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_datastore("gopher://a/b")
