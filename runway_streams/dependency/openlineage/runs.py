"""OpenLineageRuns: the port to what is known so far of runs whose events still come, over restarts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from runway_streams.dependency.openlineage.run import RunTold, merge
from runway_streams.times import DAY

EXPIRY = 7 * DAY
"""A run of which nothing was heard for so long is forgotten; what it told is in the graph."""
MAX_RUNS = 100_000
"""Runs that are kept; beyond, those of which nothing was heard for longest are forgotten first."""
MAX_RUN_BYTES = 4 << 20
"""What one run may have told, as it is kept; and what the runs may have told together that are found by one key."""
AT_ONCE_BYTES = 4 * MAX_RUN_BYTES
"""What is read of runs at a time, however many events are sent together; one run, or what is found by one key, may be."""
encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.Decoder(RunTold).decode


class OpenLineageRuns(Protocol):
    """Keeps runs by their ids. To write another adapter, implement this and add it to the fixture of
    tests/runway_streams/dependency/openlineage/test_runs.py: the contract is what passes there."""

    async def merge(self, told: Sequence[RunTold], now: int) -> list[RunTold | None]:
        """Merges each into what was told of its run before, and gives for each all that is told of its run now; None, and
        nothing is kept of it, where that would be more than MAX_RUN_BYTES. Two at a time lose nothing of either. Forgets runs
        beyond EXPIRY (`now` in epoch ms) and MAX_RUNS, if not at once. Raises DependencyDown."""

    async def found_by(self, keys: Collection[str]) -> dict[str, list[RunTold]]:
        """By key the runs whose `execution_key` it is, and the run whose id it is; without the keys that no run has, and those
        whose runs have told more than MAX_RUN_BYTES together. Raises DependencyDown."""

    async def sizes(self, ids: Collection[str]) -> dict[str, int]:
        """The bytes that are kept of each of these runs; without those of which nothing is. Raises DependencyDown."""

    async def found_sizes(self, keys: Collection[str]) -> dict[str, int]:
        """The bytes of what `found_by` gives for each of its keys. Raises DependencyDown."""


def portions(sizes: Mapping[str, int], max_bytes: int) -> Iterator[list[str]]:
    """Names in portions that have so many bytes together at most, or of one that has more.

    >>> list(portions({"a": 3, "b": 2, "c": 9, "d": 0, "e": 1}, 5))
    [['a', 'b'], ['c'], ['d', 'e']]
    """
    portion: list[str] = []
    total = 0
    for name, size in sizes.items():
        if portion and total + size > max_bytes:
            yield portion
            portion, total = [], 0
        portion.append(name)
        total += size
    if portion:
        yield portion


def merge_all(known: dict[str, RunTold], told: Sequence[RunTold], max_bytes: int = MAX_RUN_BYTES) -> list[RunTold | None]:
    """Merges each of `told` into `known`, and gives for each all that is told of its run in the end, None where it is too much.

    >>> from runway_streams.dependency.openlineage.dataset import Told
    >>> one = RunTold("r", Told(5, "flow:a/b"), last=5)
    >>> [merged.last for merged in merge_all({"r": RunTold("r", Told(7, "flow:a/b"), last=7)}, [one])]
    [7]
    """
    taken = []
    # What is merged has at most the bytes of both: so a run is written out only near its bound, not for each of its events.
    most = {run: len(encode(known[run])) for run in {one.run for one in told} & known.keys()}
    for one in told:
        merged = merge(known[one.run], one) if one.run in known else one
        size = most.get(one.run, 0) + len(encode(one))
        if size > max_bytes:
            size = len(encode(merged))
        taken.append(size <= max_bytes)
        if taken[-1]:
            known[one.run], most[one.run] = merged, size
    return [known[one.run] if fits else None for one, fits in zip(told, taken, strict=True)]


class Group(NamedTuple):
    """The ids of the runs that are found by a key, and their bytes together."""

    runs: list[str]
    size: int


def grouped(keys: Collection[str], rows: Sequence[tuple[str, str | None, int]], max_bytes: int) -> dict[str, Group]:
    """What is found by each key, of rows of run, key and bytes.

    >>> grouped(["p"], [("p", None, 10), ("a", "p", 10), ("b", "p", 10)], 30)
    {'p': Group(runs=['p', 'a', 'b'], size=30)}
    >>> grouped(["p", "q"], [("p", None, 10), ("a", "p", 20), ("q", None, 1)], 29)
    {}
    """
    found: dict[str, list[str]] = {key: [] for key in keys}
    size = dict.fromkeys(keys, 0)
    led = {key for _, key, _ in rows}
    for run, key, length in rows:
        for one in found.keys() & led & {run, key}:
            found[one].append(run)
            size[one] += length
    return {key: Group(runs, size[key]) for key, runs in found.items() if runs and size[key] <= max_bytes}
