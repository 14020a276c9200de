"""MetaflowRuns: the port to where Metaflow keeps what it knows of runs, and the records that it keeps.

Another adapter is one class with these methods, added to the fixture of tests/runway_streams/dependency/metaflow/test_runs.py.
Values of artifacts are bytes here: what reads them is `plain_pickle.py`, which never unpickles.
"""

import re
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Struct

from runway_streams.errors import RunwayError

MAX_RUNS = 10_000
"""Runs of one listing, the newest."""
MAX_RECORDS = 10_000
"""Steps, tasks, artifacts or metadata of one listing."""
MAX_NAME = 200
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*")
_SHA = re.compile(r"[0-9a-f]{40}")
Time = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
"""Epoch ms, to the end of the year 9999, as no calendar of ours goes on."""


class BadName(RunwayError):
    """No flow, run, step, task or artifact of Metaflow has this name."""


class RunRecord(Struct, frozen=True):
    """A run; `ts_epoch` is when it was started, epoch ms."""

    flow_id: str
    run_number: str | int
    ts_epoch: Time
    user_name: str | None = None
    tags: list[str] | None = None
    system_tags: list[str] | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        check_name(self.flow_id)
        check_name(self.id)

    @property
    def id(self) -> str:
        """How the run is named; a scheduler's runs have a name besides their number."""
        return str(self.run_id or self.run_number)


class TaskRecord(Struct, frozen=True):
    """A task of a step."""

    task_id: str | int
    ts_epoch: Time = 0

    def __post_init__(self) -> None:
        check_name(str(self.task_id))


class ArtifactRecord(Struct, frozen=True):
    """Where an artifact lies: by the SHA-1 of its pickle. Of several attempts the last counts."""

    name: str
    sha: str
    ds_type: str = ""
    location: str = ""
    attempt_id: int = 0
    ts_epoch: Time = 0


class MetadataRecord(Struct, frozen=True):
    """A field that Metaflow has written of a task."""

    field_name: str
    value: str = ""
    tags: list[str] | None = None
    ts_epoch: Time = 0

    @property
    def attempt(self) -> int:
        """Of which attempt it tells."""
        found = [tag.removeprefix("attempt_id:") for tag in self.tags or [] if tag.startswith("attempt_id:")]
        return int(found[0]) if found and found[0].isdigit() and len(found[0]) < 5 else 0


class Datastore(Protocol):
    """Where the bytes of artifacts lie, by flow and SHA-1. Raises RunwayError for what is not there or too large, and
    DependencyDown where it does not answer."""

    def uri(self, flow: str, sha: str) -> str:
        """Where it lies."""

    async def read(self, flow: str, sha: str, limit: int) -> bytes:
        """The stored bytes, at most `limit`."""

    async def sha256(self, flow: str, sha: str) -> str:
        """The SHA-256 of the stored bytes, which may be many."""


class MetaflowRuns(Protocol):
    """What Metaflow knows. Every method raises DependencyDown where it does not answer, and BadName; of what is not there,
    there are no records."""

    @property
    def datastore(self) -> Datastore | None:
        """Where artifacts lie, None where nobody has said."""

    async def runs(self, flow: str, since: int = 0) -> list[RunRecord]:
        """Runs of a flow that were started at `since` (epoch ms) or later, oldest first; of too many, the newest."""

    async def run(self, flow: str, run: str) -> RunRecord | None:
        """One run."""

    async def tasks(self, flow: str, run: str, step: str) -> list[TaskRecord]:
        """The tasks of a step."""

    async def artifacts(self, flow: str, run: str, step: str, task: str) -> list[ArtifactRecord]:
        """The artifacts of a task's last attempt, by name."""

    async def metadata(self, flow: str, run: str, step: str, task: str) -> list[MetadataRecord]:
        """The metadata of a task, oldest first."""

    async def ping(self) -> None:
        """Returns if it answers."""

    async def close(self) -> None:
        """Lets go of connections."""


def check_name(name: str) -> str:
    """A name that can stand in an address or be that of a folder. Raises BadName.

    >>> check_name("FraudFlow"), check_name("argo-fraud.prod-x7")
    ('FraudFlow', 'argo-fraud.prod-x7')
    >>> check_name("../x")
    Traceback (most recent call last):
    ...
    runway_streams.dependency.metaflow.runs.BadName: '../x' is no name of a flow, run, step or task of Metaflow.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise BadName(f"{name[:80]!r} is no name of a flow, run, step or task of Metaflow.")
    return name


def check_sha(sha: str) -> str:
    """A SHA-1 by which an artifact can be found. Raises BadName."""
    if not _SHA.fullmatch(sha):
        raise BadName(f"{sha[:80]!r} is not the SHA-1 of an artifact.")
    return sha


def newest_runs(found: list[RunRecord], since: int) -> list[RunRecord]:
    """Those started since then, oldest first, at most MAX_RUNS.

    >>> [run.id for run in newest_runs([RunRecord("F", 2, 20), RunRecord("F", "1", 10), RunRecord("F", 0, 5)], 10)]
    ['1', '2']
    """
    kept = sorted((run for run in found if run.ts_epoch >= since), key=lambda run: (run.ts_epoch, run.id))
    return kept[-MAX_RUNS:]


def last_attempt(found: list[ArtifactRecord]) -> list[ArtifactRecord]:
    """The artifacts of the last attempt, by name.

    >>> both = [ArtifactRecord("a", "1", attempt_id=0), ArtifactRecord("b", "2", attempt_id=1)]
    >>> [artifact.name for artifact in last_attempt(both)]
    ['b']
    """
    last = max((artifact.attempt_id for artifact in found), default=0)
    return sorted((artifact for artifact in found if artifact.attempt_id == last), key=lambda one: one.name)


def as_record(found: Any, kind: type) -> Any:
    """A record of decoded JSON, None where it has another form: one strange record does not hide the others."""
    try:
        return msgspec.convert(found, kind, strict=False)
    except (msgspec.ValidationError, BadName):
        return None
