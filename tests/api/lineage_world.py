"""What the tests of lineage in the API do to its registry and ask its graph, and a Metaflow that is away."""

from runway_streams.errors import DependencyDown
from runway_streams.registry import catalog, versions
from schemas.model import Model
from schemas.model_version import ModelVersion


class Away:
    """A Metaflow that does not answer."""

    datastore = None

    async def run(self, flow, run):
        raise DependencyDown("Metaflow does not answer.")

    async def close(self): ...


async def edges(api, node, direction="upstream"):
    found = await api.lineage.graph.edges([node], direction, None, 100)
    return {(edge.upstream, edge.kind, edge.downstream) for edge in found.found}


async def registered(api, *new: Model | tuple[str, ModelVersion]):
    async with api.registry.change("test") as change:
        for one in new:
            if isinstance(one, Model):
                await catalog.register(change, one)
            else:
                await versions.create(change, *one)
