"""Making a backup: registry, lineage graph, lake and the topics' configuration, as they fit together, while the system runs."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batch.lake import Lake
from runway_streams.backup import service_rows
from runway_streams.backup.copies import copy_object, put_document, several
from runway_streams.backup.lake_objects import Part, archive_part, checkpoint_part, checkpoint_parts, view_part
from runway_streams.backup.manifest import (
    LAKE,
    MANIFEST,
    ROWS,
    UNFINISHED,
    BackupFile,
    BackupManifest,
    TopicCopy,
)
from runway_streams.backup.service_rows import Service
from runway_streams.config import Config
from runway_streams.errors import Refused
from runway_streams.topics import describe_topics

ATTEMPTS = 5
"""How often a part is begun anew because what it names was deleted for something newer meanwhile."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows how far something of so many steps has come; see `cli.progress.progress`."""


@dataclass(frozen=True)
class Wanted:
    """What a backup, or a restore, is to be of."""

    registry: bool = True
    lake: bool = True
    topics: bool = True


def make_backup(
    config: Config, lake: Lake, target: Lake, name: str, wanted: Wanted, created_at: int, progress: Progress
) -> BackupManifest:
    """Makes a backup in an empty place, or where one was not finished; `name` is how people call the place.

    Files come first and the manifest last, so one that ends in the middle is none, and may be begun anew. Raises Refused
    where the place holds something else.
    """
    check_place(target, name)
    manifest = BackupManifest(config.written_in, created_at)
    target.put(UNFINISHED, msgspec.json.encode({"begun_at": created_at}))
    if wanted.topics:
        manifest.cluster_id, manifest.topics = _topics(config)
    with scratch_of(config.home, "backup") as scratch:
        copier = _Copier(lake, target, scratch, progress)
        if wanted.registry:
            for service in service_rows.SERVICES:
                manifest.files += asyncio.run(_dump_rows(service, config, target, manifest))
        if wanted.lake:
            manifest.files += copier.lake()
    _forget_strays(target, {file.path for file in manifest.files})
    target.put(MANIFEST, msgspec.json.encode(manifest))
    target.delete(UNFINISHED)
    return manifest


def check_place(target: Lake, name: str) -> None:
    """Raises Refused where a place is not free for a backup."""
    if target.exists(MANIFEST):
        raise Refused(f"{name} holds a whole backup already.", "Give a new folder: nothing is overwritten.")
    if not target.exists(UNFINISHED) and any(target.paths(folder) for folder in (LAKE, *ROWS)):
        raise Refused(f"{name} holds something else.", "Give an empty folder.")


@contextmanager
def scratch_of(home: Path, name: str) -> Iterator[Path]:
    """A folder for downloads below the home. What a killed process left there goes first."""
    parent = home / "scratch" / name
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True)
    try:
        yield Path(tempfile.mkdtemp(dir=parent))
    finally:
        shutil.rmtree(parent, ignore_errors=True)


class _Copier:
    """Copies the lake's parts."""

    def __init__(self, lake: Lake, target: Lake, scratch: Path, progress: Progress):
        self._lake, self._target, self._scratch, self._progress = lake, target, scratch, progress

    def lake(self) -> list[BackupFile]:
        """All parts, in the order in which they are to be put back. The view is read first: the archive that is read after it
        has all that the view has seen."""
        view = self._part(lambda: view_part(self._lake))
        archive = self._part(lambda: archive_part(self._lake))
        checkpoints: list[BackupFile] = []
        for folder in checkpoint_parts(self._lake):
            checkpoints += self._part(lambda folder=folder: checkpoint_part(self._lake, folder))  # type: ignore[misc]
        return [*archive, *checkpoints, *view]

    def _part(self, read: Callable[[], Part]) -> list[BackupFile]:
        for _ in range(ATTEMPTS):
            try:
                return self._copy(read())
            except FileNotFoundError as error:
                gone = error
        raise Refused(
            f"The lake changes faster than it can be copied: {gone} was deleted meanwhile, {ATTEMPTS} times.",
            "Try again, on a faster link.",
        )

    def _copy(self, part: Part) -> list[BackupFile]:
        def copy(path: str) -> BackupFile | None:
            try:
                return copy_object(self._lake, path, self._target, f"{LAKE}/{path}", self._scratch)
            except FileNotFoundError:
                if part.may_go:
                    return None
                raise FileNotFoundError(path) from None

        with self._progress(f"Copying the {part.name}", len(part.objects)) as advance:
            copied = several(copy, part.objects, advance)
        documents = [put_document(self._target, f"{LAKE}/{path}", data) for path, data in part.documents.items()]
        return [*(file for file in copied if file is not None), *documents]


async def _dump_rows(service: Service, config: Config, target: Lake, manifest: BackupManifest) -> list[BackupFile]:
    database = service.open(config)
    revision: list[str] = []
    files: list[BackupFile] = []
    try:
        async for table, lines, rows in service_rows.dump(service, database, revision):
            path = f"{service.name}/{table}/{sum(file.path.split('/')[1] == table for file in files):05d}.jsonl"
            files.append(await asyncio.to_thread(put_document, target, path, lines))
            manifest.rows[table] = manifest.rows.get(table, 0) + rows
    finally:
        await database.close()
    manifest.revisions[service.name] = revision[0]
    return files


def _topics(config: Config) -> tuple[str, list[TopicCopy]]:
    cluster, found = asyncio.run(describe_topics(config))
    return cluster, [TopicCopy(noun, partitions, settings) for noun, (partitions, settings) in found.items()]


def _forget_strays(target: Lake, named: set[str]) -> None:
    """Deletes what an unfinished backup before has left."""
    for folder in (LAKE, *ROWS):
        for path in target.paths(folder):
            if path not in named:
                target.delete(path)
