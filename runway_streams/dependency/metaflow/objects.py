"""ObjectDatastore: artifacts of Metaflow in S3 and what speaks its API, GCS, Azure or any other store that obstore opens."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, GenericError, JoinError, NotFoundError, UnauthenticatedError
from obstore.store import from_url

from runway_streams.dependency.metaflow.local import FolderDatastore
from runway_streams.dependency.metaflow.runs import Datastore, check_name, check_sha
from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from runway_streams.urls import without_secrets

MAX_HASHED = 1 << 30
"""Bytes of the largest artifact that is fetched to take its SHA-256."""
RETRY: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
_STATUS = re.compile(r"status code: (4\d\d)")
"""Of the errors that obstore has no class for, their text alone tells."""
_OF_ALL = (
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed", "NoSuchBucket",
)  # fmt: skip
"""S3 refuses one object with these where it would refuse any."""


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
        raise ConfigError(
            f"Metaflow's datastore {without_secrets(url)!r} cannot be opened: {_first_line(error)}.", remedy
        ) from error
    return ObjectDatastore(url, store)


class ObjectDatastore:
    """Artifacts below a URL; nothing is listed or written."""

    def __init__(self, url: str, store: Any):
        self._url, self._store = without_secrets(url).rstrip("/"), store

    def uri(self, flow: str, sha: str) -> str:
        return f"{self._url}/{_path(flow, sha)}"

    async def read(self, flow: str, sha: str, limit: int) -> bytes:
        with self._problems(sha):
            found = await self._get(_path(flow, sha), limit)
            return bytes(await found.bytes_async())

    async def sha256(self, flow: str, sha: str) -> str:
        digest = hashlib.sha256()
        with self._problems(sha):
            found = await self._get(_path(flow, sha), MAX_HASHED)
            async for chunk in found.stream():
                digest.update(chunk)
        return digest.hexdigest()

    async def _get(self, path: str, limit: int) -> Any:
        found = await obstore.get_async(self._store, path)
        if found.meta["size"] > limit:
            raise RunwayError(f"{path.rpartition('/')[2]} has more than {limit} bytes.")
        return found

    @contextmanager
    def _problems(self, sha: str) -> Iterator[None]:
        """What is wrong with one object is said of it alone; what is wrong with the store is DependencyDown."""
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            if not is_refusal(error):
                raise DependencyDown(
                    f"Metaflow's datastore {self._url} does not answer: {_first_line(error)}.",
                    "Check its address and credentials.",
                ) from error
            if isinstance(error, NotFoundError | FileNotFoundError):
                raise RunwayError(f"{sha} is not there.") from None
            remedy = f"See that it may be read, in {self._url}."
            raise RunwayError(f"The datastore refuses {sha}: {_first_line(error)}.", remedy) from error


def is_refusal(error: Exception) -> bool:
    """Whether a store answered, and refuses this one object; not whether it refuses us, or fails.

    >>> from obstore.exceptions import PermissionDeniedError
    >>> is_refusal(PermissionDeniedError("403 Forbidden")), is_refusal(PermissionDeniedError("<Code>ExpiredToken</Code>"))
    (True, False)
    """
    if isinstance(error, UnauthenticatedError) or any(code in str(error) for code in _OF_ALL):
        return False
    if not isinstance(error, GenericError | JoinError):
        return True
    status = _STATUS.search(str(error))
    return status is not None and int(status[1]) not in (408, 429)


def _path(flow: str, sha: str) -> str:
    return f"{check_name(flow)}/data/{check_sha(sha)[:2]}/{sha}"


def _first_line(error: Exception) -> str:
    """What a store says first, without a query, which may hold a signature; it goes on with a dump for those who debug it."""
    return re.sub(r"\?\S+", "", next(iter(str(error).strip().splitlines()), type(error).__name__)).rstrip(".")
