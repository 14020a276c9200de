"""MetaflowFolder: runs and artifacts in Metaflow's local datastore, a folder `.metaflow`, read as files.

Its layout is FLOW/RUN/_meta/_self.json, FLOW/RUN/STEP/TASK/_meta/*.json and FLOW/data/AB/ABCDEF..., which is the same for
artifacts that a metadata service tells of. Nothing outside of the folder is read, wherever names or links point.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec

from runway_streams.dependency.metaflow.runs import (
    MAX_RECORDS,
    ArtifactRecord,
    BadName,
    MetadataRecord,
    RunRecord,
    TaskRecord,
    as_record,
    check_name,
    check_sha,
    last_attempt,
    newest_runs,
)
from runway_streams.errors import DependencyDown, RunwayError

MAX_JSON = 1 << 20
"""Bytes of one file of metadata."""
MAX_STORED = 16 << 30
"""Bytes of the largest artifact whose SHA-256 is taken."""


class FolderDatastore:
    """Artifacts in a folder."""

    def __init__(self, root: Path):
        self._root = root.resolve()

    def uri(self, flow: str, sha: str) -> str:
        return self._path(flow, sha).as_uri()

    async def read(self, flow: str, sha: str, limit: int) -> bytes:
        return await asyncio.to_thread(self._read, flow, sha, limit)

    async def sha256(self, flow: str, sha: str) -> str:
        return await asyncio.to_thread(self._sha256, flow, sha)

    def _path(self, flow: str, sha: str) -> Path:
        check_sha(sha)
        return confined(self._root, check_name(flow), "data", sha[:2], sha)

    def _read(self, flow: str, sha: str, limit: int) -> bytes:
        return read_file(self._path(flow, sha), limit)

    def _sha256(self, flow: str, sha: str) -> str:
        path = self._path(flow, sha)
        try:
            if path.stat().st_size > MAX_STORED:
                raise RunwayError(f"{path.name} is larger than {MAX_STORED >> 30} GiB.")
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RunwayError(f"{path.name} cannot be read: {error.strerror}.") from None


class MetaflowFolder:
    """Metaflow's local datastore; `root` is the folder `.metaflow` itself."""

    def __init__(self, root: Path):
        self._root = root.resolve()
        self.datastore = FolderDatastore(root)

    async def runs(self, flow: str, since: int = 0) -> list[RunRecord]:
        return newest_runs(await asyncio.to_thread(self._runs, check_name(flow)), since)

    async def run(self, flow: str, run: str) -> RunRecord | None:
        place = self._place(flow, run, "_meta", "_self.json")
        return as_record(await asyncio.to_thread(read_json, place), RunRecord)

    async def tasks(self, flow: str, run: str, step: str) -> list[TaskRecord]:
        return await asyncio.to_thread(self._children, self._place(flow, run, step), TaskRecord)

    async def artifacts(self, flow: str, run: str, step: str, task: str) -> list[ArtifactRecord]:
        return await asyncio.to_thread(self._artifacts, self._place(flow, run, step, task))

    async def metadata(self, flow: str, run: str, step: str, task: str) -> list[MetadataRecord]:
        place = self._place(flow, run, step, task, "_meta")
        found = await asyncio.to_thread(self._records, place, "sysmeta_*.json", MetadataRecord)
        return sorted(found, key=lambda record: (record.ts_epoch, record.field_name))

    async def ping(self) -> None:
        if not self._root.is_dir():
            raise DependencyDown(f"Metaflow's folder {self._root} is not there.", "Give the folder .metaflow itself.")

    async def close(self) -> None:
        """Nothing is open."""

    def _place(self, flow: str, *parts: str) -> Path:
        if not self._root.is_dir():
            raise DependencyDown(f"Metaflow's folder {self._root} is not there.", "Give the folder .metaflow itself.")
        return confined(self._root, *(check_name(part) for part in (flow, *parts)))

    def _runs(self, flow: str) -> list[RunRecord]:
        return self._children(self._place(flow), RunRecord)

    def _children(self, place: Path, kind: type) -> list[Any]:
        try:
            folders = [folder for folder in listing(place, "*") if folder.is_dir()]
        except OSError as error:
            raise RunwayError(f"The folder {place.name} cannot be read: {error.strerror}.") from None
        found = [read_json(confined(self._root, folder / "_meta" / "_self.json")) for folder in folders]
        return [record for record in (as_record(one, kind) for one in found if one) if record]

    def _artifacts(self, place: Path) -> list[ArtifactRecord]:
        found = last_attempt(self._records(place / "_meta", "*_artifact_*.json", ArtifactRecord))
        # Metaflow writes these files one after the other; the datastore's own list is whole before it writes the first.
        whole = read_json(confined(self._root, place / f"{found[0].attempt_id}.data.json")) if found else None
        expected = whole.get("objects") if isinstance(whole, dict) else None
        is_whole = not isinstance(expected, dict) or expected.keys() <= {one.name for one in found}
        return found if is_whole else []

    def _records(self, place: Path, pattern: str, kind: type) -> list[Any]:
        found = [read_json(confined(self._root, file)) for file in listing(place, pattern)]
        return [record for record in (as_record(one, kind) for one in found if one) if record]


def confined(root: Path, *parts: str | Path) -> Path:
    """A place below a folder, links followed. Raises BadName where it is not below it."""
    place = root.joinpath(*parts).resolve()
    if not place.is_relative_to(root):
        raise BadName(f"{'/'.join(str(part) for part in parts)[:200]!r} leads out of Metaflow's folder.")
    return place


def listing(place: Path, pattern: str) -> list[Path]:
    """What lies in a folder by name, of too much the last, as the newest runs have the largest numbers."""
    return sorted(place.glob(pattern))[-MAX_RECORDS:] if place.is_dir() else []


def read_file(place: Path, limit: int) -> bytes:
    """A file's bytes. Raises RunwayError where there is none, or where it has more than `limit`."""
    try:
        if not place.is_file():
            raise RunwayError(f"{place.name} is not there.")
        with place.open("rb") as file:
            found = file.read(limit + 1)
    except OSError as error:
        raise RunwayError(f"{place.name} cannot be read: {error.strerror}.") from None
    if len(found) > limit:
        raise RunwayError(f"{place.name} has more than {limit} bytes.")
    return found


def read_json(place: Path) -> Any:
    """A file of JSON, None where there is none, or it is being written."""
    try:
        return msgspec.json.decode(read_file(place, MAX_JSON))
    except (RunwayError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
