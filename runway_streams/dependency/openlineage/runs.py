"""OpenLineageRuns: the port to what is known so far of runs whose events still come, over restarts."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from runway_streams.dependency.openlineage.run import RunTold, merge
from runway_streams.times import DAY

EXPIRY = 7 * DAY
"""A run of which nothing was heard for so long is forgotten; what it told is in the graph."""
MAX_RUNS = 100_000
"""Runs that are kept; beyond, those of which nothing was heard for longest are forgotten first."""
MAX_RUN_BYTES = 4 << 20
"""What one run may have told, as it is kept."""
encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.Decoder(RunTold).decode


class OpenLineageRuns(Protocol):
    """Keeps runs by their ids. To write another adapter, implement this and add it to the fixture of
    tests/runway_streams/dependency/openlineage/test_runs.py: the contract is what passes there."""

    async def merge(self, told: Sequence[RunTold], now: int) -> list[RunTold | None]:
        """Merges each into what was told of its run before, and gives for each all that is told of its run now; None, and
        nothing is kept of it, where that would be more than MAX_RUN_BYTES. Two at a time lose nothing of either. Forgets runs
        beyond EXPIRY (`now` in epoch ms) and MAX_RUNS, if not at once. Raises DependencyDown."""


def merge_all(known: dict[str, RunTold], told: Sequence[RunTold], max_bytes: int = MAX_RUN_BYTES) -> list[RunTold | None]:
    """Merges each of `told` into `known`, and gives for each all that is told of its run in the end, None where it is too much.

    >>> from runway_streams.dependency.openlineage.run import Told
    >>> one = RunTold("r", Told(5, "flow:a/b"), last=5)
    >>> [merged.last for merged in merge_all({"r": RunTold("r", Told(7, "flow:a/b"), last=7)}, [one])]
    [7]
    """
    taken = []
    for one in told:
        merged = merge(known[one.run], one) if one.run in known else one
        taken.append(len(encode(merged)) <= max_bytes)
        if taken[-1]:
            known[one.run] = merged
    return [known[one.run] if fits else None for one, fits in zip(told, taken, strict=True)]
