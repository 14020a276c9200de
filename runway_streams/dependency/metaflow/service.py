"""MetaflowService: runs as Metaflow's metadata service tells of them over HTTP. It never writes.

The service has no values of artifacts, only where they lie: those are read from the datastore that is given, and only from
there, whatever location an answer names.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from runway_streams.dependency.metaflow.runs import (
    MAX_RECORDS,
    ArtifactRecord,
    Datastore,
    MetadataRecord,
    RunRecord,
    TaskRecord,
    as_record,
    check_name,
    last_attempt,
    newest_runs,
)
from runway_streams.errors import ConfigError, RunwayError
from runway_streams.http_retries import RetryingHttp, server_url


@dataclass(frozen=True, slots=True)
class MetaflowAccess:
    """Where a metadata service is, and the key (`x-api-key`) or bearer token that it asks for. Raises ConfigError.

    >>> MetaflowAccess("https://Metaflow.example.com/", token="secret")
    MetaflowAccess(url='https://metaflow.example.com')
    """

    url: str
    api_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", service_url(self.url))
        if self.api_key and self.token:
            raise ConfigError("Metaflow's service has both an API key and a token.", "Give one of them.")
        secret = self.api_key + self.token
        if not secret.isprintable() or not secret.isascii():
            raise ConfigError("Metaflow's API key or token has a character that no header can carry.")

    @property
    def headers(self) -> dict[str, str]:
        """How a request says who asks."""
        if self.api_key:
            return {"x-api-key": self.api_key}
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def service_url(text: str) -> str:
    """A service's address, in the one way in which it is written. Raises ConfigError.

    >>> service_url(" HTTP://Localhost:8080/ ")
    'http://localhost:8080'
    """
    whose = "The address of Metaflow's service"
    return server_url(text, whose, "http://HOST:PORT or https://HOST", "Give it without them.")


class MetaflowService:
    """A client of one metadata service.

    Raises DependencyDown when the service does not answer, ConfigError when it does not let us in or is no such service."""

    def __init__(self, access: MetaflowAccess, datastore: Datastore | None = None):
        self.url, self.datastore = access.url, datastore
        self._http = RetryingHttp(f"Metaflow's service at {self.url}", headers=access.headers)

    async def close(self) -> None:
        await self._http.close()

    async def ping(self) -> None:
        """Returns if a metadata service answers."""
        status, body = await self._http.get(f"{self.url}/ping")
        if status != 200 or body.strip() != b"pong":
            raise self._not_metaflow(f"answers {status} to /ping")

    async def runs(self, flow: str, since: int = 0) -> list[RunRecord]:
        return newest_runs(_records(await self._get("flows", flow, "runs"), RunRecord), since)

    async def run(self, flow: str, run: str) -> RunRecord | None:
        return as_record(await self._get("flows", flow, "runs", run), RunRecord)

    async def tasks(self, flow: str, run: str, step: str) -> list[TaskRecord]:
        found = await self._get("flows", flow, "runs", run, "steps", step, "tasks")
        return _records(found, TaskRecord)[:MAX_RECORDS]

    async def artifacts(self, flow: str, run: str, step: str, task: str) -> list[ArtifactRecord]:
        found = await self._get("flows", flow, "runs", run, "steps", step, "tasks", task, "artifacts")
        return last_attempt(_records(found, ArtifactRecord)[:MAX_RECORDS])

    async def metadata(self, flow: str, run: str, step: str, task: str) -> list[MetadataRecord]:
        found = await self._get("flows", flow, "runs", run, "steps", step, "tasks", task, "metadata")
        return sorted(_records(found, MetadataRecord)[:MAX_RECORDS], key=lambda record: (record.ts_epoch, record.field_name))

    async def _get(self, *parts: str) -> Any:
        path = "/" + "/".join(check_name(part) for part in parts)
        status, body = await self._http.get(self.url + path)
        if status == 404:
            return self._nothing(path, body)
        if status != 200:
            raise self._refusal(path, status)
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._not_metaflow(f"answers {path} with what cannot be read: {str(error)[:200]}") from None

    def _nothing(self, path: str, body: bytes) -> None:
        """What is not there is a 404 with an object; with a page of HTML, it is another server that does not know the path."""
        try:
            found = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._not_metaflow(f"answers 404 to {path}")

    def _refusal(self, path: str, status: int) -> RunwayError:
        if 300 <= status < 400:
            return ConfigError(
                f"Metaflow's service at {self.url} redirects elsewhere, which is not followed.",
                "Give the address that it redirects to.",
            )
        if status in (401, 403):
            return ConfigError(f"Metaflow's service at {self.url} answers {status}.", "Check its API key or token.")
        return self._not_metaflow(f"answers {status} to {path}")

    def _not_metaflow(self, what: str) -> ConfigError:
        return ConfigError(
            f"The server at {self.url} {what}.", "Check that this is the address of Metaflow's metadata service."
        )


def _records(found: Any, kind: type) -> list[Any]:
    return [record for record in (as_record(one, kind) for one in found) if record] if isinstance(found, list) else []
