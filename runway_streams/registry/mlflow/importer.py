"""MlflowImport: the sync with one MLflow server as a process runs it, from the settings to the cursor that it leaves."""

import contextlib
from collections.abc import AsyncIterator, Callable

from runway_streams.mlflow_settings import MlflowSettings
from runway_streams.registry import import_cursors
from runway_streams.registry.changes import Registry
from runway_streams.registry.import_cursors import ImportState
from runway_streams.registry.mlflow.client import MlflowAccess, MlflowClient
from runway_streams.registry.mlflow.sink import ACTOR, CatalogSink
from runway_streams.registry.mlflow.sync import Report, Sink, sync, sync_model
from runway_streams.times import DAY, MINUTE

FULL_EVERY = DAY
"""So often everything is synced: what was skipped, and what moved between two pages, is seen then."""
RETRY = MINUTE
"""After a failure the next try comes this much later, or when the next poll would."""

Wrap = Callable[[Sink], Sink]


class MlflowImport:
    """Takes what MLflow has into the registry. Any process may, at any time: what two do at once comes out as if one had.

    `sync` and `sync_model` raise what `sync.py` raises.
    """

    def __init__(self, registry: Registry, settings: MlflowSettings):
        self.registry, self.settings = registry, settings
        self.access = MlflowAccess(settings.uri, settings.token, settings.user, settings.password)
        self._sink = CatalogSink(registry, settings.owner)

    @classmethod
    def of(cls, registry: Registry, settings: MlflowSettings | None) -> "MlflowImport | None":
        """The import of a process; None where none is set up."""
        return cls(registry, settings) if settings else None

    async def state(self) -> ImportState:
        """How it stands, whichever process did it."""
        async with self.registry.read() as connection:
            return await import_cursors.state_of(connection, self.access.uri)

    async def sync(self, *, full: bool = False, wrap: Wrap = lambda sink: sink) -> Report:
        """One sync, from the cursor on, or of everything: where asked for, where there is no cursor, and once a day. Keeps
        its cursor and its report. `wrap` may put something before the sink that watches what is taken."""
        state, now = await self.state(), self.registry.now()
        full = full or is_full_due(state, now)
        async with self._client() as client:
            report = await sync(client, wrap(self._sink), now, None if full else state.cursor)
        async with self.registry.change(ACTOR) as change:
            await import_cursors.note_success(change, self.access.uri, report, full=full)
        return report

    async def sync_model(self, name: str) -> Report:
        """One registered model; the cursor stays where it is."""
        async with self._client() as client:
            return await sync_model(client, self._sink, name)

    async def note_problem(self, problem: str) -> None:
        """Keeps why a sync has failed, for whoever asks another process."""
        async with self.registry.change(ACTOR) as change:
            await import_cursors.note_problem(change, self.access.uri, problem)

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[MlflowClient]:
        async with MlflowClient(self.access, tls=self.settings.tls()) as client:
            yield client


def is_full_due(state: ImportState, now: int) -> bool:
    """Whether the next sync is one of everything.

    >>> is_full_due(ImportState(), 0), is_full_due(ImportState(cursor=5, full_at=0), DAY - 1)
    (True, False)
    """
    return state.cursor is None or state.full_at is None or now - state.full_at >= FULL_EVERY


def due_in(state: ImportState, now: int, poll: int) -> int:
    """Milliseconds until the next sync, 0 where it is due. A last one in the future was by a clock that was wrong: it is due.

    >>> due_in(ImportState(), 0, 300_000), due_in(ImportState(at=1_000), 2_000, 300_000)
    (0, 299000)
    >>> due_in(ImportState(at=1_000, problem="down", problem_at=400_000), 401_000, 300_000)
    59000
    """
    last, wait = (state.problem_at, min(RETRY, poll)) if state.problem_at is not None else (state.at, poll)
    return 0 if last is None or last > now else max(last + wait - now, 0)
