"""Registrations: what is registered is in the lineage graph when it is answered, or soon afterwards where that takes longer."""

import asyncio
import logging
from typing import Any

from api.registry_lineage import flow_of, report_of_model, report_of_version
from runway_streams.errors import RunwayError
from runway_streams.registry.catalog import Entry
from runway_streams.registry.versions import VersionEntry

AT_ONCE_S = 2.0
"""How long a registration waits for the graph and for Metaflow together; the followers do the rest."""
_log = logging.getLogger(__name__)


async def announce_model(state: Any, entry: Entry) -> None:
    """Puts a model that was just registered into the graph."""
    if state.lineage:
        await _at_once(state.lineage.tell([report_of_model(entry)]), entry.model.model_id)


async def announce_version(state: Any, entry: VersionEntry) -> None:
    """Puts a version that was just registered into the graph, and asks Metaflow about the run that made it."""
    if state.lineage:
        await _at_once(_tell_version(state, entry), f"{entry.model_id}@{entry.version.version}")


async def _tell_version(state: Any, entry: VersionEntry) -> None:
    await state.lineage.tell([report_of_version(entry)])
    run = entry.version.training_run
    if state.discoverer and run and flow_of(run):
        await state.discoverer.at_once(run, entry.model_id, entry.version.version)


async def _at_once(work: Any, name: str) -> None:
    try:
        async with asyncio.timeout(AT_ONCE_S):
            await work
    except (TimeoutError, RunwayError) as error:
        # The registration stands; who follows the registry tells of it again.
        _log.info("The lineage of %s comes later: %s", name, error or f"it takes more than {AT_ONCE_S:.0f} s.")
