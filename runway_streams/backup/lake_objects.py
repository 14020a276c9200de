"""What a backup takes of the lake, so that it fits together although the system runs.

Objects never change, apart from few that name others: those are read first, and kept as they were then.

1. `view/current.json` and its manifest say which files the batch view has, and which segments it has read.
2. `progress.json` says up to which offset a partition's archive is whole: later segments are left out, the archive worker
   writes them again from the log.
3. The furthest checkpoint of each partition names its files.

What is deleted while it is copied, because a newer one took its place, makes its part begin anew; see `make.py`.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from batch.lake import Lake
from batch.manifest import CURRENT, Manifest, read
from batch.segments import SCHEMAS, Progress, first_offset, progress_path
from runway_streams import formats
from tables.checkpoints import CheckpointManifest

FEATURE_KEY = "keys/features"


class Part(Struct):
    """Objects that belong together: `objects` are copied as they lie there, then `documents`, which name them, as they were
    read. `may_go`: objects that retention may have deleted meanwhile."""

    name: str
    objects: list[str]
    documents: dict[str, bytes]
    may_go: bool = False


def view_part(lake: Lake) -> Part:
    """The batch view: the current snapshot and its parent, which the batch needs to make the current one again."""
    current = lake.get_or_none(CURRENT)
    if current is None:
        return Part("view", [], {})
    path = msgspec.json.decode(current)["path"]
    manifest = read(lake, path)
    documents = {path: lake.get(path)}
    objects = set(_objects_of(manifest))
    if manifest.parent:
        above = f"view/manifests/{manifest.parent}.json"
        objects |= set(_objects_of(read(lake, above)))
        documents = {above: lake.get(above)} | documents
    return Part("view", sorted(objects), documents | {CURRENT: current})


def archive_part(lake: Lake) -> Part:
    """The archive's closed segments, and the key by which features are hashed."""
    documents: dict[str, bytes] = {}
    objects = []
    for topic in SCHEMAS:
        paths = lake.paths(f"archive/{topic}")
        for partition in sorted({int(path.split("/")[2]) for path in paths}):
            path = progress_path(topic, partition)
            told = lake.get_or_none(path)
            if told is None:
                continue
            formats.check_json(told, f"The archive's {path}")
            documents[path] = told
            until = msgspec.json.decode(told, type=Progress).open_since
            # Listed after the progress was read: all that it speaks of is there.
            segments = [(first_offset(one), one) for one in lake.paths(f"archive/{topic}/{partition}")]
            objects += [one for first, one in segments if first is not None and first < until]
    key = lake.get_or_none(FEATURE_KEY)
    return Part("archive", objects, ({FEATURE_KEY: key} if key else {}) | documents, may_go=True)


def checkpoint_parts(lake: Lake) -> Iterator[str]:
    """The folders of all partitions that have checkpoints."""
    yield from sorted({"/".join(path.split("/")[:3]) for path in lake.paths("checkpoints")})


def checkpoint_part(lake: Lake, folder: str) -> Part:
    """The furthest checkpoint of one partition."""
    for path in reversed(lake.paths(f"{folder}/manifests")):
        raw = lake.get(path)
        formats.check_json(raw, f"The checkpoint {path}")
        manifest = msgspec.json.decode(raw, type=CheckpointManifest)
        return Part("checkpoints", sorted({f"{folder}/files/{file.sha256}" for file in manifest.files}), {path: raw})
    return Part("checkpoints", [], {})


def _objects_of(manifest: Manifest) -> Iterator[str]:
    yield from (file.path for file in (*manifest.files, *manifest.ground_truth))
    yield from (path for files in manifest.open for path in files.files.values())
