"""Models that the stream has seen: listed in the catalog as unregistered, and described by what was seen of them."""

import msgspec

from api.merged_view import MergedView
from api.speed_store import TOTAL
from batch.manifest import ModelSeen
from runway_streams.ground_truth.slim import INDEX
from runway_streams.registry import catalog
from runway_streams.registry.changes import Registry
from runway_streams.times import HOUR, format_time
from schemas.answers import Seen

ACTOR = "stream"


class SeenModels:
    """What of the merged view the catalog knows already. Bound: as many names as the view holds."""

    def __init__(self, view: MergedView):
        self._view = view
        self._known: frozenset[str] = frozenset()

    async def list_new(self, registry: Registry) -> None:
        """Puts models that were seen since the last time into the catalog."""
        names = self._view.names()
        new = names - self._known
        if new:
            async with registry.change(ACTOR) as change:
                await catalog.note_seen(change, sorted(new))
            self._known = names

    def described(self, model_ids: list[str]) -> dict[str, Seen]:
        """What was seen of these models."""
        return {name: _described(seen) for name, seen in self._view.seen_many(model_ids).items()}

    def counted(self, model_id: str) -> Seen | None:
        """What was seen of one model, with the number of its predictions."""
        seen = self._view.seen(model_id)
        return None if seen is None else msgspec.structs.replace(_described(seen), predictions=self._predictions(seen))

    def _predictions(self, seen: ModelSeen) -> int:
        start, end = seen.first // HOUR * HOUR, (seen.last // HOUR + 1) * HOUR
        rows = self._view.label_rows(seen.model, TOTAL, start, end, version=None, view="merged")
        return int(sum(block.values[:, INDEX["predictions"]].sum() for block in rows))


def _described(seen: ModelSeen) -> Seen:
    first, last = format_time(seen.first), format_time(seen.last)
    return Seen(versions=seen.versions, first=first, last=last, task=seen.task)
