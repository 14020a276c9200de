"""The lake: object storage as the archive and the batch use it.

To add an adapter: implement `Lake` and add a fixture to `tests/batch/test_lake.py`; the one suite there is the contract.
Other object stores need no adapter: whatever URL obstore knows is an `ObjectLake`.
"""

import fcntl
import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import ObjectStore, from_url

from runway_streams.errors import ConfigError, DependencyDown

FETCHES = 16
"""Objects that are downloaded or uploaded at the same time."""
PARTIAL = ".partial"
"""Ends the names of files that are being written; no listing shows them."""

T = TypeVar("T")


class Lake(Protocol):
    """Objects below a root, by paths such as `archive/predictions/0/x.parquet`.

    A put is seen whole or not at all, and survives a crash once it has returned. Paths that leave the root raise
    ConfigError; an absent object raises FileNotFoundError; a store that does not answer raises DependencyDown.
    """

    def put(self, path: str, data: bytes) -> None: ...

    def put_file(self, path: str, source: Path) -> None: ...

    def get(self, path: str) -> bytes: ...

    def paths(self, prefix: str) -> list[str]:
        """All paths below the folder `prefix`, sorted."""
        ...

    def delete(self, path: str) -> None:
        """Deletes an object; an absent one is no error."""
        ...

    def swap(self, path: str, expected: bytes | None, data: bytes) -> bool:
        """Puts `data` if the object still is `expected` (None: absent); False if it is something else by now."""
        ...

    def fetch(self, paths: Iterable[str], scratch: Path) -> list[Path]:
        """Local files with these objects' contents, in order: the objects themselves where they are files."""
        ...

    def open(self, path: str) -> BinaryIO:
        """An object to read, for those who need little of it."""
        ...

    def settle(self, paths: Iterable[str]) -> None:
        """Makes objects that others have written at these paths survive a crash, as those that were put do."""
        return None

    def get_or_none(self, path: str) -> bytes | None:
        """The object, None where there is none."""
        try:
            return self.get(path)
        except FileNotFoundError:
            return None

    def exists(self, path: str) -> bool:
        return self.get_or_none(path) is not None


def open_lake(url: str, options: Mapping[str, Any] | None = None) -> Lake:
    """The lake at `file:///folder`, `s3://bucket/prefix`, `memory:///` or any other URL that obstore knows.

    `options` are obstore's for that store (`endpoint`, `access_key_id`, `region`...); what they leave out comes from
    the store's own environment variables (`AWS_...`).
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderLake(Path(unquote(parts.path)))
    try:
        return ObjectLake(from_url(url, **(options or {})))
    except (BaseError, ValueError) as error:
        remedy = "Give file:///FOLDER or s3://BUCKET/PREFIX."
        raise ConfigError(f"The archive {url!r} cannot be opened: {_first_line(error)}.", remedy) from error


def confined(path: str) -> str:
    """The path if it stays below the root.

    >>> confined("a/b"), confined("../x")
    Traceback (most recent call last):
    ...
    runway_streams.errors.ConfigError: The path '../x' leaves the archive.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\x00" in path:
        raise ConfigError(f"The path {path!r} leaves the archive.")
    return path


class FolderLake(Lake):
    """A local folder: written aside, synced, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def put(self, path: str, data: bytes) -> None:
        self._write(path, lambda aside: aside.write_bytes(data))

    def put_file(self, path: str, source: Path) -> None:
        self._write(path, lambda aside: _link_or_copy(source, aside))

    def get(self, path: str) -> bytes:
        return (self.root / confined(path)).read_bytes()

    def exists(self, path: str) -> bool:
        return (self.root / confined(path)).is_file()

    def paths(self, prefix: str) -> list[str]:
        folder = self.root / confined(prefix)
        files = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
        return sorted(file.relative_to(self.root).as_posix() for file in files if not file.name.endswith(PARTIAL))

    def delete(self, path: str) -> None:
        (self.root / confined(path)).unlink(missing_ok=True)

    def swap(self, path: str, expected: bytes | None, data: bytes) -> bool:
        guard = self.root / (confined(path) + ".guard" + PARTIAL)
        guard.parent.mkdir(parents=True, exist_ok=True)
        with guard.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.get_or_none(path) != expected:
                return False
            self.put(path, data)
            return True

    def fetch(self, paths: Iterable[str], scratch: Path) -> list[Path]:
        files = [self.root / confined(path) for path in paths]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(file)
        return files

    def open(self, path: str) -> BinaryIO:
        return (self.root / confined(path)).open("rb")

    def settle(self, paths: Iterable[str]) -> None:
        files = [self.root / confined(path) for path in paths]
        for place in (*files, *{folder for file in files for folder in (file.parent, file.parent.parent)}):
            _sync(place)

    def _write(self, path: str, fill: Callable[[Path], Any]) -> None:
        target = self.root / confined(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
        aside.unlink(missing_ok=True)
        fill(aside)
        _sync(aside)
        aside.rename(target)
        _sync(target.parent)


class ObjectLake(Lake):
    """Any store that obstore opens: S3 and what speaks its API, GCS, Azure, memory. One put an object."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def put(self, path: str, data: bytes) -> None:
        _answered(lambda: obstore.put(self.store, confined(path), data))

    def put_file(self, path: str, source: Path) -> None:
        _answered(lambda: obstore.put(self.store, confined(path), source))

    def get(self, path: str) -> bytes:
        return bytes(_answered(lambda: obstore.get(self.store, confined(path)).bytes()))

    def exists(self, path: str) -> bool:
        try:
            _answered(lambda: obstore.head(self.store, confined(path)))
        except FileNotFoundError:
            return False
        return True

    def paths(self, prefix: str) -> list[str]:
        found = _answered(lambda: [item["path"] for part in obstore.list(self.store, confined(prefix)) for item in part])
        return sorted(found)

    def delete(self, path: str) -> None:
        try:
            _answered(lambda: obstore.delete(self.store, confined(path)))
        except FileNotFoundError:
            return

    def swap(self, path: str, expected: bytes | None, data: bytes) -> bool:
        mode: Any = "create"
        try:
            if expected is not None:
                found = obstore.get(self.store, confined(path))
                if bytes(found.bytes()) != expected:
                    return False
                mode = {name: value for name in ("e_tag", "version") if (value := found.meta.get(name))}
            obstore.put(self.store, confined(path), data, mode=mode)
        except (AlreadyExistsError, PreconditionError, NotFoundError, FileNotFoundError):
            return False
        except BaseError as error:
            raise _down(error) from error
        return True

    def open(self, path: str) -> BinaryIO:
        return io.BufferedReader(_Reader(_answered(lambda: obstore.open_reader(self.store, confined(path)))))

    def fetch(self, paths: Iterable[str], scratch: Path) -> list[Path]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(FETCHES) as pool:
            return list(pool.map(lambda path: self._download(path, scratch), paths))

    def _download(self, path: str, scratch: Path) -> Path:
        target = scratch / confined(path)
        if target.is_file():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(target.name + PARTIAL)
        with aside.open("wb") as file:
            for part in _answered(lambda: obstore.get(self.store, path)).stream():
                file.write(part)
        aside.rename(target)
        return target


class _Reader(io.RawIOBase):
    """obstore's reader, as Python's own files are."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        found = _answered(lambda: self._reader.read(len(buffer)))
        buffer[: len(found)] = bytes(found)
        return len(found)


def _answered(call: Callable[[], T]) -> T:
    try:
        return call()
    except (NotFoundError, FileNotFoundError):
        raise
    except BaseError as error:
        raise _down(error) from error


def _down(error: BaseError) -> DependencyDown:
    return DependencyDown(f"The archive does not answer: {_first_line(error)}.", "Check its address and credentials.")


def _first_line(error: Exception) -> str:
    """What a store says first; it goes on with a dump for those who debug it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
