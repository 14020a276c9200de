"""RunsInMemory: an `OpenLineageRuns` in a few lines, to hold the other against and for tests that need no database."""

from collections.abc import Collection, Sequence

from runway_streams.dependency.openlineage.execution import execution_key
from runway_streams.dependency.openlineage.run import RunTold
from runway_streams.dependency.openlineage.runs import EXPIRY, MAX_RUN_BYTES, MAX_RUNS, Group, encode, grouped, merge_all


class RunsInMemory:
    def __init__(self, max_runs: int = MAX_RUNS, max_bytes: int = MAX_RUN_BYTES):
        self.runs: dict[str, RunTold] = {}
        self.touched: dict[str, int] = {}
        self._max_runs, self._max_bytes = max_runs, max_bytes

    async def merge(self, told: Sequence[RunTold], now: int) -> list[RunTold | None]:
        merged = merge_all(self.runs, told, self._max_bytes)
        for one in merged:
            if one:
                self.touched[one.run] = now
        kept = sorted((at, run) for run, at in self.touched.items() if at > now - EXPIRY)[-self._max_runs :]
        self.touched = {run: at for at, run in kept}
        self.runs = {run: self.runs[run] for run in self.touched}
        return merged

    async def found_by(self, keys: Collection[str]) -> dict[str, list[RunTold]]:
        return {key: [self.runs[run] for run in group.runs] for key, group in self._grouped(keys).items()}

    async def sizes(self, ids: Collection[str]) -> dict[str, int]:
        return {run: len(encode(self.runs[run])) for run in ids if run in self.runs}

    async def found_sizes(self, keys: Collection[str]) -> dict[str, int]:
        return {key: group.size for key, group in self._grouped(keys).items()}

    def _grouped(self, keys: Collection[str]) -> dict[str, Group]:
        rows = [(run, execution_key(told), len(encode(told))) for run, told in sorted(self.runs.items())]
        return grouped(keys, rows, self._max_bytes)
