"""Copies of objects from one store to another, hashed on the way, several at a time."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from batch.lake import Lake
from runway_streams.backup.manifest import BackupFile
from runway_streams.errors import Refused

AT_ONCE = 8
"""Objects that are copied at a time: so many lie in scratch at most."""
CHUNK = 1 << 20
NAMED = 20
"""Damaged files that are named."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def copy_object(source: Lake, path: str, target: Lake, put_as: str, scratch: Path) -> BackupFile:
    """Copies an object, and tells what it was. Raises FileNotFoundError where there is none."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        copy = Path(folder) / "copy"
        digest = _take(source, path, Path(folder), copy)
        size = copy.stat().st_size
        target.put_file(put_as, copy)
        return BackupFile(put_as, size, digest)


def put_document(target: Lake, path: str, data: bytes) -> BackupFile:
    """Puts what is in memory, and tells what it is."""
    target.put(path, data)
    return BackupFile(path, len(data), hashlib.sha256(data).hexdigest())


def restore_object(source: Lake, file: BackupFile, target: Lake, put_as: str, scratch: Path) -> None:
    """Puts a file of a backup back. Raises Refused where it is not what the manifest says."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        copy = Path(folder) / "copy"
        _check(source, file, Path(folder), copy)
        target.put_file(put_as, copy)


def check_files(source: Lake, files: Sequence[BackupFile], scratch: Path, advance: Callable[[], None]) -> None:
    """Reads every file of a backup. Raises Refused with the names of those that are missing or damaged."""

    def look(file: BackupFile) -> str | None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            try:
                _check(source, file, Path(folder), Path(folder) / "copy")
            except Refused as refused:
                return refused.sentence
        return None

    wrong = [sentence for sentence in several(look, files, advance) if sentence]
    if wrong:
        more = f" And {len(wrong) - NAMED} more." if len(wrong) > NAMED else ""
        raise Refused(" ".join(wrong[:NAMED]) + more, "Nothing was restored: take another backup.")


def several(work: Callable[[Item], Result], items: Iterable[Item], advance: Callable[[], None]) -> list[Result]:
    """The results of `work` in the order of the items, eight at a time. The first error ends all of it."""
    found = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for result in pool.map(work, items):
                found.append(result)
                advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def _check(source: Lake, file: BackupFile, folder: Path, copy: Path) -> None:
    try:
        digest = _take(source, file.path, folder, copy)
    except FileNotFoundError:
        raise Refused(f"{file.path} is missing.") from None
    if digest != file.sha256:
        raise Refused(f"{file.path} is damaged: it is not what was backed up.")


def _take(source: Lake, path: str, folder: Path, copy: Path) -> str:
    """A local copy of an object, never a link to it: what damages the one must leave the other. Returns its SHA-256."""
    (found,) = source.fetch([path], folder / "download")
    digest = hashlib.sha256()
    with found.open("rb") as reading, copy.open("wb") as writing:
        while chunk := reading.read(CHUNK):
            digest.update(chunk)
            writing.write(chunk)
    if found.is_relative_to(folder):
        os.unlink(found)
    return digest.hexdigest()
