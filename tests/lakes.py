"""Lakes to test on: a local folder, memory, and a real S3 API (moto's server)."""

import pytest

from batch.lake import FolderLake, open_lake
from runway_streams.devstack.children import free_port


@pytest.fixture(scope="session")
def s3():
    """Options of an S3 API that runs in this process."""
    import boto3
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    options = {
        "endpoint": f"http://127.0.0.1:{port}",
        "access_key_id": "test",
        "secret_access_key": "test",
        "region": "us-east-1",
        "client_options": {"allow_http": True},
    }
    boto3.client(
        "s3",
        endpoint_url=options["endpoint"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).create_bucket(Bucket="runway")
    yield options
    server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def lake(request, tmp_path):
    if request.param == "folder":
        return FolderLake(tmp_path / "lake")
    if request.param == "memory":
        return open_lake("memory:///")
    return open_lake(f"s3://runway/{tmp_path.name}", request.getfixturevalue("s3"))
