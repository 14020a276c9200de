"""The manifest of a backup: what it holds, and the digest of each file. It is written last: without it there is no backup.

| path below the backup | holds |
|---|---|
| `backup.json` | the manifest |
| `unfinished.json` | a backup that was begun; gone once it is whole |
| `registry/<table>/<number>.jsonl` | rows of one table of the registry |
| `lineage/<table>/<number>.jsonl` | rows of one table of the lineage graph, where it is kept in a database |
| `lake/<path>` | the object at that path of the lake |
"""

import re

import msgspec
from msgspec import Struct

from batch.lake import Lake
from runway_streams import formats
from runway_streams.errors import Refused

MANIFEST, UNFINISHED = "backup.json", "unfinished.json"
ROWS, LAKE = ("registry", "lineage"), "lake"
LAKE_FOLDERS = ("archive", "checkpoints", "ground_truth", "keys", "open", "view")
"""What a backup holds of the lake."""
_FILE = re.compile(rf"(?:{'|'.join(ROWS)})/[a-z_]+/\d{{5}}\.jsonl|{LAKE}/(?:{'|'.join(LAKE_FOLDERS)})/.+")


class BackupFile(Struct, frozen=True):
    """One file of a backup; `size` in bytes."""

    path: str
    size: int
    sha256: str


class TopicCopy(Struct):
    """A topic as it was: `noun` is its name without the prefix."""

    noun: str
    partitions: int
    settings: dict[str, str]


class BackupManifest(Struct):
    """What a backup holds. `files` are in the order in which they are to be put back: what names others comes after them.

    `cluster_id` is the Kafka cluster whose offsets the lake's objects have, empty where it was not asked; `revisions` the
    migrations of the services' tables, none where they were left out; `rows` are counted by table.
    """

    format: int
    created_at: int
    cluster_id: str = ""
    revisions: dict[str, str] = {}
    rows: dict[str, int] = {}
    topics: list[TopicCopy] = []
    files: list[BackupFile] = []

    @property
    def id(self) -> str:
        """Which backup it is."""
        return f"{self.created_at}-{len(self.files)}"

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)


def read_manifest(place: Lake, name: str) -> BackupManifest:
    """The manifest of a backup; `name` is how people call the place. Raises Refused where it has no whole backup."""
    raw = place.get_or_none(MANIFEST)
    if raw is None:
        if place.exists(UNFINISHED):
            raise Refused(
                f"The backup in {name} was not finished.", "Take an older one, or make it anew with `runway backup`."
            )
        raise Refused(f"{name} holds no backup: there is no {MANIFEST}.", "Give what `runway backup` was given.")
    formats.check_json(raw, f"The backup in {name}")
    try:
        manifest = msgspec.json.decode(raw, type=BackupManifest)
    except msgspec.MsgspecError as error:
        raise Refused(f"{MANIFEST} in {name} is damaged: {error}.", "Take another backup.") from error
    for file in manifest.files:
        # Names come from outside, and become names of files.
        if not _FILE.fullmatch(file.path) or ".." in file.path.split("/"):
            raise Refused(f"{MANIFEST} in {name} names {file.path!r}, which no backup holds.", "Take another backup.")
    return manifest
