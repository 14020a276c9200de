"""Checkpoints: copies of partitions' states in the lake, from which another worker goes on.

| path below `checkpoints/<cluster>/<partition>/` | holds | bound, expiry |
|---|---|---|
| `manifests/<offsets>.json` | identity, offsets, and the name, size and SHA-256 of each file; put last | two, see below |
| `files/<SHA-256>` | one file of RocksDB, named by its content | deleted when no manifest names it |

**Who may write.** The owner of a partition alone: an upload begins after an emission that succeeded, and an emission
succeeds for whoever the partition's transactional producer has not fenced. An owner that is fenced while it uploads is a
zombie, and does no harm:

- *What it puts is true.* A state is a function of the log up to its offsets, whoever computed it. The zombie's are lower
  than its heir's, and the furthest manifest is taken.
- *It overwrites nothing.* A file is named by its content and a manifest by its offsets, so whatever two owners both put is
  the same, and a put is seen whole or not at all.
- *It deletes nothing that is needed.* The two manifests that are kept are the furthest of all, its own or not. A file is
  deleted when no manifest names it, and none did when the same owner looked the last time: what an heir is uploading was
  not there yet then, and to look again the zombie would have to emit in between.

**Two versions** may upload by turns while one takes the other's place. A checkpoint of a format that is not read is passed
over; it stays, and so do its files, whose names are in every format where they are now. Whoever reads it deletes it in time.

A checkpoint whose files are missing or damaged is passed over for the next one, or for the log. So nothing here can make a
count wrong; the worst is a longer rebuild.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import msgspec
from msgspec import Struct

from runway_streams import formats
from runway_streams.errors import RunwayError
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.recovery import Checkpoint
from tables.partition_store import PartitionStore, read_state_of

KEPT = 2
"""Manifests that are kept of a partition, of those whose format is read."""
COPYING, RESTORING = ".copying", ".restoring"
"""End the names of the folders beside a partition's in which a copy lies while it is uploaded or downloaded."""
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


class Objects(Protocol):
    """What is asked of the lake; see `batch.lake.Lake`, which has it. `fetch` gives local files, which may be the lake's own."""

    def put(self, path: str, data: bytes) -> None: ...
    def put_file(self, path: str, source: Path) -> None: ...
    def get(self, path: str) -> bytes: ...
    def paths(self, prefix: str) -> list[str]: ...
    def delete(self, path: str) -> None: ...
    def fetch(self, paths: Iterable[str], scratch: Path) -> list[Path]: ...


class CheckpointFile(Struct):
    """One file of a checkpoint."""

    name: str
    size: int
    sha256: str


class CheckpointManifest(Struct):
    """One checkpoint: whose state, up to which offsets, in which files."""

    cluster_id: str
    partition: int
    partitions: int
    state_format: int
    offsets: dict[str, int]
    written_at: int
    files: list[CheckpointFile]
    format: int = 1


class _Named(Struct):
    """What a manifest of whatever format says: which files are its own. Versions may add to manifests, and keep this."""

    files: list[CheckpointFile]


class Damaged(RunwayError):
    """A checkpoint that is not whole."""


class Checkpoints:
    """The checkpoints of one cluster's partitions in a lake. Its methods wait for the lake: call them in a thread."""

    def __init__(self, objects: Objects, cluster_id: str):
        self._objects = objects
        self._root = f"checkpoints/{quote(cluster_id, safe='') or 'unnamed'}"
        self._digests: dict[tuple, str] = {}
        """SHA-256 by (partition, name, size, inode, time of change) of the files of the last uploads: RocksDB changes none."""
        self._unnamed: dict[int, set[str]] = {}
        """Files that no manifest named when they were last looked at."""
        self._foreign: dict[int, set[str]] = {}
        """Manifests that lie beyond the log's end: of topics that were deleted and made anew."""

    def candidates(self, number: int, ends: dict[str, int]) -> list[Checkpoint]:
        """The partition's checkpoints; `ends` are those of the log. A manifest that cannot be read is passed over."""
        found = []
        foreign: set[str] = set()
        for path in self._objects.paths(self._folder(number, "manifests")):
            manifest = self._manifest(number, path)
            if manifest is None:
                continue
            if any(offset > ends[topic] for topic, offset in manifest.offsets.items()):
                _log.warning("The checkpoint %s lies beyond the log's end, and is not used: the topic was made anew.", path)
                foreign.add(path)
                continue
            of = (manifest.cluster_id, manifest.partitions, manifest.state_format)
            found.append(Checkpoint(path, manifest.offsets, *of))
        self._foreign[number] = foreign
        return found

    def restore(self, number: int, name: str, target: Path) -> None:
        """Downloads a checkpoint into `target`, which is whole once this returns. Raises Damaged where it is not as its
        manifest says, and FileNotFoundError where parts are missing."""
        manifest = self._manifest(number, name)
        if manifest is None:
            raise Damaged(f"The manifest {name} cannot be read.")
        scratch = target.with_name(target.name + ".files")
        for folder in (target, scratch):
            shutil.rmtree(folder, ignore_errors=True)
        target.mkdir(parents=True)
        try:
            paths = {file.sha256: self._file(number, file.sha256) for file in manifest.files}
            fetched = dict(zip(paths, self._objects.fetch(paths.values(), scratch), strict=True))
            for file in manifest.files:
                _copy_checked(fetched[file.sha256], target / file.name, file)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        saved = read_state_of(target)
        if saved is None or PartitionState.decode(saved).offsets != manifest.offsets:
            raise Damaged(f"The checkpoint {name} holds another state than it says.")

    def upload(
        self, number: int, store: PartitionStore, now: int, stopped: Callable[[], bool] = lambda: False
    ) -> str | None:
        """Copies the state aside, puts the files that are not in the lake yet, then the manifest, then deletes what is no
        longer needed. Returns the manifest's path; None where there was nothing new or it was `stopped`."""
        folder = store.path.with_name(store.path.name + COPYING)
        try:
            store.copy_to(folder)
            manifest = self._describe(number, folder, now)
            if manifest is None:
                return None
            name = self._folder(number, f"manifests/{_name_of(manifest.offsets)}.json")
            if name in self._objects.paths(self._folder(number, "manifests")):
                return None
            if not self._put_files(number, folder, manifest, stopped):
                return None
            self._objects.put(name, msgspec.json.encode(manifest))
            self._tidy(number)
            return name
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _put_files(self, number: int, folder: Path, manifest: CheckpointManifest, stopped: Callable[[], bool]) -> bool:
        there = set(self._objects.paths(self._folder(number, "files")))
        for file in manifest.files:
            path = self._file(number, file.sha256)
            if stopped():
                return False
            if path not in there:
                self._objects.put_file(path, folder / file.name)
                there.add(path)
        return True

    def _describe(self, number: int, folder: Path, now: int) -> CheckpointManifest | None:
        saved = read_state_of(folder)
        if saved is None:
            return None
        state = PartitionState.decode(saved)
        if not {PREDICTIONS, OUTCOMES} <= state.offsets.keys():
            return None
        known = {key: digest for key, digest in self._digests.items() if key[0] == number}
        kept: dict[tuple, str] = {}
        files = []
        for path in sorted(folder.iterdir()):
            told = path.stat()
            key = (number, path.name, told.st_size, told.st_ino, told.st_mtime_ns)
            kept[key] = known.get(key) or _digest(path)
            files.append(CheckpointFile(path.name, told.st_size, kept[key]))
        self._digests = {key: digest for key, digest in self._digests.items() if key[0] != number} | kept
        return CheckpointManifest(
            state.cluster_id, number, state.partitions, state.format, state.offsets, now, files, state.format
        )

    def _tidy(self, number: int) -> None:
        # Files are listed before manifests: a file that is put in between is not taken for one that nothing names.
        files = set(self._objects.paths(self._folder(number, "files")))
        manifests = self._objects.paths(self._folder(number, "manifests"))
        foreign = self._foreign.pop(number, set())
        raw = {path: self._raw(path) for path in manifests if path not in foreign}
        # Those of a newer version are its own to delete; beside them stay as many of ours, for whoever cannot read them.
        ours = [path for path, one in raw.items() if not _is_newer(one)]
        for path in {*ours[:-KEPT], *foreign}:
            self._objects.delete(path)
        named: set[str] = set()
        for path in raw.keys() - set(ours[:-KEPT]):
            try:
                found = msgspec.json.decode(raw[path], type=_Named)
            except msgspec.MsgspecError:
                return  # what it names is not known
            named |= {self._file(number, file.sha256) for file in found.files}
        unnamed = files - named
        for path in unnamed & self._unnamed.get(number, set()):
            self._objects.delete(path)
        self._unnamed[number] = unnamed

    def _manifest(self, number: int, path: str) -> CheckpointManifest | None:
        """The manifest at a path; None where it is gone or cannot be used, which is logged."""
        try:
            raw = self._objects.get(path)
            formats.check_json(raw, "It")
            manifest = msgspec.json.decode(raw, type=CheckpointManifest)
            _check(manifest, number)
        except (FileNotFoundError, msgspec.MsgspecError, Damaged, formats.OtherFormat) as error:
            _log.warning("The checkpoint %s is passed over: %s", path, error)
            return None
        return manifest

    def _raw(self, path: str) -> bytes:
        try:
            return self._objects.get(path)
        except FileNotFoundError:
            return b'{"files":[]}'  # somebody else has deleted it meanwhile

    def _folder(self, number: int, below: str) -> str:
        return f"{self._root}/{number}/{below}"

    def _file(self, number: int, sha256: str) -> str:
        return self._folder(number, f"files/{sha256}")


def _check(manifest: CheckpointManifest, number: int) -> None:
    """Names come from outside, and become names of local files."""
    if manifest.partition != number:
        raise Damaged(f"it is one of partition {manifest.partition}.")
    if manifest.offsets.keys() != {PREDICTIONS, OUTCOMES}:
        raise Damaged("it does not have the offsets of both topics.")
    for file in manifest.files:
        if not (_FILE_NAME.fullmatch(file.name) and _SHA256.fullmatch(file.sha256)):
            raise Damaged(f"{file.name!r} with digest {file.sha256!r} is no file of a state.")


def _is_newer(raw: bytes) -> bool:
    """Whether a manifest is of a format that this version does not know yet; half a one is not."""
    try:
        formats.check_json(raw, "It")
    except formats.OtherFormat as other:
        return other.number > formats.NEWEST
    return False


def _name_of(offsets: dict[str, int]) -> str:
    """Names sort as states follow each other, by events read; the second number tells which.

    >>> _name_of({"predictions": 7, "outcomes": 5})
    '00000000000000000012-00000000000000000007'
    """
    return f"{sum(offsets.values()):020d}-{offsets[PREDICTIONS]:020d}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_checked(source: Path, target: Path, expected: CheckpointFile) -> None:
    # A copy, not a link: RocksDB may go on writing in some of its files.
    shutil.copyfile(source, target)
    if target.stat().st_size != expected.size or _digest(target) != expected.sha256:
        raise Damaged(f"{expected.name} is not what was uploaded.")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def remove_leftovers(path: Path) -> None:
    """Deletes what a crash has left beside a partition's folder."""
    for ending in (COPYING, RESTORING, RESTORING + ".files"):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path.with_name(path.name + ending))
