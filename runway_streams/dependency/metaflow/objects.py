"""ObjectDatastore: artifacts of Metaflow in S3 and what speaks its API, GCS, Azure or any other store that obstore opens."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from runway_streams.dependency.metaflow.local import FolderDatastore
from runway_streams.dependency.metaflow.runs import Datastore, check_name, check_sha
from runway_streams.errors import ConfigError, DependencyDown, RunwayError

MAX_HASHED = 1 << 30
"""Bytes of the largest artifact that is fetched to take its SHA-256."""
RETRY: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}


def open_datastore(url: str, options: Mapping[str, Any] | None = None) -> Datastore:
    """The datastore at `file:///folder/.metaflow`, `s3://bucket/metaflow` or any other URL that obstore knows: what Metaflow
    has as METAFLOW_DATASTORE_SYSROOT_S3. `options` are obstore's; what they leave out comes from the store's own environment
    variables (`AWS_...`). Raises ConfigError."""
    if urlsplit(url).scheme == "file":
        return FolderDatastore(Path(unquote(urlsplit(url).path)))
    try:
        store = from_url(url, retry_config=RETRY, **(options or {}))  # type: ignore[call-overload]
    except (BaseError, ValueError) as error:
        remedy = "Give file:///FOLDER/.metaflow or s3://BUCKET/PREFIX."
        raise ConfigError(f"Metaflow's datastore {url!r} cannot be opened: {_first_line(error)}.", remedy) from error
    return ObjectDatastore(url, store)


class ObjectDatastore:
    """Artifacts below a URL; nothing is listed or written."""

    def __init__(self, url: str, store: Any):
        self._url, self._store = url.rstrip("/"), store

    def uri(self, flow: str, sha: str) -> str:
        return f"{self._url}/{_path(flow, sha)}"

    async def read(self, flow: str, sha: str, limit: int) -> bytes:
        found = await self._get(_path(flow, sha), limit)
        try:
            return bytes(await found.bytes_async())
        except BaseError as error:
            raise _down(error) from error

    async def sha256(self, flow: str, sha: str) -> str:
        found, digest = await self._get(_path(flow, sha), MAX_HASHED), hashlib.sha256()
        try:
            async for chunk in found.stream():
                digest.update(chunk)
        except BaseError as error:
            raise _down(error) from error
        return digest.hexdigest()

    async def _get(self, path: str, limit: int) -> Any:
        name = path.rpartition("/")[2]
        try:
            found = await obstore.get_async(self._store, path)
        except (NotFoundError, FileNotFoundError):
            raise RunwayError(f"{name} is not there.") from None
        except BaseError as error:
            raise _down(error) from error
        if found.meta["size"] > limit:
            raise RunwayError(f"{name} has more than {limit} bytes.")
        return found


def _path(flow: str, sha: str) -> str:
    return f"{check_name(flow)}/data/{check_sha(sha)[:2]}/{sha}"


def _down(error: BaseError) -> DependencyDown:
    return DependencyDown(
        f"Metaflow's datastore does not answer: {_first_line(error)}.", "Check its address and credentials."
    )


def _first_line(error: Exception) -> str:
    """What a store says first; it goes on with a dump for those who debug it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
