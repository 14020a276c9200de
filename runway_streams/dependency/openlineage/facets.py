"""Facets: what is read of them one by one, so that a wrong one is left out by itself and its event is kept."""

from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

MAX_NOTES = 10
"""What was left out of one event is told by name up to here; the rest is counted."""
MAX_NOTE = 300
"""Characters of one note."""
T = TypeVar("T")


class LeftOut:
    """What of an event could not be read, as notes for its sender. With `lost` some of it might have told of lineage: what the
    event's run does not tell, it may have told there."""

    def __init__(self) -> None:
        self.lost = False
        self._notes: list[str] = []
        self._count = 0

    def note(self, where: str, why: str, *, lost: bool = True) -> None:
        """Takes down that something was left out."""
        self.lost = self.lost or lost
        self._count += 1
        if self._count <= MAX_NOTES:
            self._notes.append(f"{where} is left out: {why}"[:MAX_NOTE])

    @property
    def notes(self) -> list[str]:
        """A sentence for each.

        >>> left_out = LeftOut()
        >>> left_out.note("run.facets.parent", "Expected `object`, got `int`.")
        >>> left_out.notes
        ['run.facets.parent is left out: Expected `object`, got `int`.']
        """
        more = self._count - MAX_NOTES
        return [*self._notes, f"{more} more are left out."] if more > 0 else list(self._notes)


def read_facet(raw: Raw, type_: type[T], where: str, left_out: LeftOut) -> T | None:
    """One facet, or all facets of something with each still undecoded; None where there is none, or where it cannot be read.

    >>> from schemas.openlineage import DatasetVersion
    >>> left_out = LeftOut()
    >>> read_facet(Raw(b'{"datasetVersion":"7"}'), DatasetVersion, "version", left_out).dataset_version
    '7'
    >>> read_facet(Raw(b'{"datasetVersion":7}'), DatasetVersion, "version", left_out), left_out.notes
    (None, ['version is left out: Expected `str | null`, got `int` - at `$.datasetVersion`.'])
    """
    if not raw:
        return None
    try:
        return _decoder(type_).decode(raw)  # type: ignore[arg-type]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        left_out.note(where, f"{error}.")
        return None


@cache
def _decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_ | None)
