"""Garbage: files that no snapshot names any more, and the archive past its retention."""

from collections.abc import Iterator

from batch.lake import Lake
from batch.manifest import CURRENT, TABLES, Manifest, Reach
from batch.segments import SCHEMAS, first_offset
from batch.view_files import RETENTION_DAYS


def collect_garbage(lake: Lake, manifest: Manifest, parent: Manifest | None) -> None:
    """Deletes files that neither the snapshot nor its parent names (readers of the parent may still be at work), and
    segments below what a snapshot of `RETENTION_DAYS["archive"]` ago had covered."""
    named = {path for one in (manifest, parent) if one is not None for path in _paths(one)}
    for folder in ("view/manifests", *(f"view/{table}" for table in TABLES), "open", "ground_truth"):
        for path in lake.paths(folder):
            if path not in named:
                lake.delete(path)
    if expired := manifest.last_expired(RETENTION_DAYS["archive"]):
        _expire(lake, expired)


def _expire(lake: Lake, reach: Reach) -> None:
    for topic in SCHEMAS:
        for partition, covered in reach.covered.get(topic, {}).items():
            for path in lake.paths(f"archive/{topic}/{partition}"):
                first = first_offset(path)
                if first is not None and first < covered:
                    lake.delete(path)


def _paths(manifest: Manifest) -> Iterator[str]:
    yield from (CURRENT, manifest.path)
    yield from (file.path for file in (*manifest.files, *manifest.ground_truth))
    yield from (path for files in manifest.open for path in files.files.values())
