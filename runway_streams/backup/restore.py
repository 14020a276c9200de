"""Restoring a backup: everything is verified before anything is touched, and what names others is put back last."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from batch.lake import Lake
from batch.lock import PATH as LOCK
from batch.lock import locked
from runway_streams.backup import service_rows
from runway_streams.backup.copies import check_files, restore_object, several
from runway_streams.backup.make import Progress, Wanted, scratch_of
from runway_streams.backup.manifest import LAKE, LAKE_FOLDERS, BackupFile, BackupManifest, read_manifest
from runway_streams.backup.service_rows import SERVICES, Service
from runway_streams.config import Config
from runway_streams.database import database_url
from runway_streams.errors import Refused
from runway_streams.topics import create_topics, describe_topics

MARKER = "restore.json"
"""Lies in the lake while a restore is under way, and says of which backup: it may be begun anew."""


class Restored(Struct):
    """What a restore has done, or would do. `differing`: settings of topics that exist, as sentences; they stay as they are."""

    backup: str
    created_at: int
    files: int
    bytes: int
    rows: dict[str, int]
    topics: list[str]
    differing: list[str]
    dry_run: bool = False


def restore_backup(
    config: Config,
    source: Lake,
    name: str,
    lake: Lake,
    wanted: Wanted,
    progress: Progress,
    now: Callable[[], int],
    *,
    force: bool = False,
    dry_run: bool = False,
) -> Restored:
    """Puts a backup back into the registry's database, the lake and Kafka's topics. Workers and API must not run.

    All files are read and compared with their digests first. Raises Refused where one is missing or damaged, where something
    is in the way and not `force`, and where the backup is of another Kafka cluster. What a crash has cut in the middle may
    be run again.
    """
    manifest = read_manifest(source, name)
    services = [service for service in SERVICES if wanted.registry and service.name in manifest.revisions]
    for service in services:
        service_rows.check_revision(service, manifest.revisions[service.name])
    taken = [file for file in manifest.files if _is_wanted(file, wanted)]
    with scratch_of(config.home, "restore") as scratch:
        with progress("Verifying", len(taken)) as advance:
            check_files(source, taken, scratch, advance)
        if not (force or _is_begun(lake, manifest)):
            _check_empty(config, lake, wanted)
        done = asyncio.run(_restore_topics(config, manifest, wanted, dry_run=dry_run))
        told = _tell(manifest, taken, done, wanted, dry_run)
        if dry_run:
            return told
        lake.put(MARKER, msgspec.json.encode({"backup": manifest.id}))
        for service in services:
            asyncio.run(_restore_rows(service, config, source, manifest))
        if wanted.lake:
            own = [file for file in taken if file.path.startswith(f"{LAKE}/")]
            with locked(lake, config.instance_id, now):
                _restore_lake(lake, source, own, progress, partial(restore_object, scratch=scratch))
        lake.delete(MARKER)
    return told


def _is_wanted(file: BackupFile, wanted: Wanted) -> bool:
    return wanted.lake if file.path.startswith(f"{LAKE}/") else wanted.registry


def _is_begun(lake: Lake, manifest: BackupManifest) -> bool:
    raw = lake.get_or_none(MARKER)
    return raw is not None and msgspec.json.decode(raw).get("backup") == manifest.id


def _check_empty(config: Config, lake: Lake, wanted: Wanted) -> None:
    there = []
    if wanted.registry:
        for service in SERVICES:
            filled = asyncio.run(_filled_tables(service, config)) if _has_database(service, config) else []
            there += [f"the {service.name}'s database has rows in {', '.join(filled)}"] if filled else []
    if wanted.lake:
        folders = [folder for folder in LAKE_FOLDERS if any(path != LOCK for path in lake.paths(folder))]
        there += [f"the lake has objects in {', '.join(folders)}"] if folders else []
    if there:
        raise Refused(
            f"Nothing is overwritten: {' and '.join(there)}.",
            "Give RUNWAY_DATABASE and RUNWAY_ARCHIVE that are empty, or --force to lose what is there.",
        )


def _has_database(service: Service, config: Config) -> bool:
    """False where SQLite's file is not there, which to look into it would make."""
    url = database_url(service.url(config), config.home)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").exists()


async def _filled_tables(service: Service, config: Config) -> list[str]:
    database = service.open(config)
    try:
        return await service_rows.filled_tables(service, database)
    finally:
        await database.close()


async def _restore_topics(
    config: Config, manifest: BackupManifest, wanted: Wanted, *, dry_run: bool
) -> tuple[list[str], list[str]]:
    """Makes the topics that are missing as they were; tells which, and where those that exist differ."""
    if not (wanted.topics and manifest.topics):
        return [], []
    cluster, existing = await describe_topics(config)
    if wanted.lake and cluster != manifest.cluster_id:
        raise Refused(
            f"The backup is of the Kafka cluster {manifest.cluster_id}, this one is {cluster}: offsets would not fit.",
            "Set RUNWAY_BOOTSTRAP right, or restore without the lake by --no-lake.",
        )
    missing = [topic for topic in manifest.topics if topic.noun not in existing]
    differing = [
        f"{config.topic(topic.noun)} has {setting}={existing[topic.noun][1].get(setting)}, it had {value}."
        for topic in manifest.topics
        if topic.noun in existing
        for setting, value in topic.settings.items()
        if existing[topic.noun][1].get(setting) != value
    ]
    if missing and not dry_run:
        partitions = next((topic.partitions for topic in manifest.topics if topic.noun == "predictions"), None)
        settings = {topic.noun: topic.settings for topic in missing}
        await create_topics(config, partitions, settings=settings)
    return [config.topic(topic.noun) for topic in missing], differing


async def _restore_rows(service: Service, config: Config, source: Lake, manifest: BackupManifest) -> None:
    database = service.open(config)
    files = [file.path for file in manifest.files if file.path.startswith(f"{service.name}/")]
    try:
        await service_rows.load(service, database, [(path.split("/")[1], partial(source.get, path)) for path in files])
    finally:
        await database.close()


def _restore_lake(
    lake: Lake, source: Lake, files: list[BackupFile], progress: Progress, restore: Callable[..., None]
) -> None:
    """Objects first, eight at a time; then what names them, in order; then what the backup does not have goes."""
    named = [file for file in files if file.path.endswith(".json") or "/keys/" in file.path]
    objects = [file for file in files if file not in set(named)]
    with progress("Restoring", len(files)) as advance:
        several(lambda file: restore(source, file, lake, _path_of(file)), objects, advance)
        for file in named:
            restore(source, file, lake, _path_of(file))
            advance()
    kept = {_path_of(file) for file in files} | {LOCK}
    for folder in LAKE_FOLDERS:
        for path in lake.paths(folder):
            if path not in kept:
                lake.delete(path)


def _path_of(file: BackupFile) -> str:
    return file.path.removeprefix(f"{LAKE}/")


def _tell(
    manifest: BackupManifest, taken: list[BackupFile], done: tuple[list[str], list[str]], wanted: Wanted, dry_run: bool
) -> Restored:
    rows = manifest.rows if wanted.registry else {}
    size = sum(file.size for file in taken)
    return Restored(manifest.id, manifest.created_at, len(taken), size, rows, *done, dry_run)
