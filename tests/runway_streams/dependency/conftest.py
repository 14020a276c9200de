"""Real runs of Metaflow, told of by the folder or by a service."""

from collections.abc import AsyncIterator, Iterator

import pytest

from runway_streams.dependency.metaflow.local import FolderDatastore, MetaflowFolder
from runway_streams.dependency.metaflow.runs import MetaflowRuns
from runway_streams.dependency.metaflow.service import MetaflowAccess, MetaflowService
from tests.metaflow_flows import MetaflowHome


@pytest.fixture(scope="session")
def service_url(flows: MetaflowHome) -> Iterator[str]:
    """A metadata service that tells of them."""
    with flows.service() as url:
        yield url


@pytest.fixture(params=["folder", "service"])
async def metaflow(request: pytest.FixtureRequest, flows: MetaflowHome) -> AsyncIterator[MetaflowRuns]:
    """Either adapter, over the same runs."""
    if request.param == "folder":
        opened: MetaflowRuns = MetaflowFolder(flows.root)
    else:
        access = MetaflowAccess(request.getfixturevalue("service_url"))
        opened = MetaflowService(access, FolderDatastore(flows.root))
    yield opened
    await opened.close()
