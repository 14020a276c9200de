"""MlflowClient: reads registered models, their versions and runs from an MLflow server's REST API. It never writes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec

from runway_streams.errors import ConfigError, RunwayError
from runway_streams.http_retries import RetryingHttp, server_url

MODELS_A_PAGE = 500
VERSIONS_A_PAGE = 1_000
MAX_PAGES = 1_000
"""Pages of one listing: half a million models or a million versions."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MlflowAccess:
    """Where an MLflow server is and who asks: a bearer token, or a user and a password, or nobody. Raises ConfigError where
    that is not an address.

    >>> MlflowAccess("https://MLflow.example.com/", token="secret")
    MlflowAccess(uri='https://mlflow.example.com')
    """

    uri: str
    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", registry_uri(self.uri))
        if self.token and (self.user or self.password):
            raise ConfigError("MLflow has both a token and a user.", "Give one of them.")
        if bool(self.user) != bool(self.password):
            raise ConfigError("MLflow has a user without a password, or the other way round.", "Give both or neither.")
        if not (self.token + self.user + self.password).isprintable() or not self.token.isascii():
            raise ConfigError("MLflow's token, user or password has a character that no header can carry.")

    @property
    def auth(self) -> httpx.Auth | None:
        """How a request says who asks."""
        if self.token:
            return _Bearer(self.token)
        return httpx.BasicAuth(self.user, self.password) if self.user else None


class _Bearer(httpx.Auth):
    def __init__(self, token: str):
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = self._header
        yield request


def registry_uri(text: str) -> str:
    """The one way in which an MLflow server's address is written, so that one server has one origin.

    >>> registry_uri(" HTTP://Localhost:5000// ")
    'http://localhost:5000'
    """
    form = "http://HOST:PORT or https://HOST, with a path if it has one"
    return server_url(text, "MLflow's address", form, "Give the address alone; user and password have settings.")


class Tag(msgspec.Struct):
    """A tag, or a parameter of a run."""

    key: str
    value: str = ""


class Alias(msgspec.Struct):
    """A name for one version of a model."""

    alias: str
    version: str


class RegisteredModel(msgspec.Struct):
    """A registered model; times in epoch milliseconds."""

    name: str
    description: str = ""
    last_updated_timestamp: int = 0
    tags: list[Tag] = []
    aliases: list[Alias] = []

    def aliases_of(self, version: str) -> tuple[str, ...]:
        """Its aliases for a version, in order."""
        return tuple(sorted(alias.alias for alias in self.aliases if alias.version == version))


class RegisteredVersion(msgspec.Struct):
    """A version of a registered model. It leaves out aliases: a search does not give them, the model has them."""

    name: str
    version: str
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    current_stage: str = "None"
    source: str = ""
    run_id: str = ""
    status: str = "READY"


class RunInfo(msgspec.Struct):
    """When a run was; epoch milliseconds."""

    run_id: str
    status: str = ""
    start_time: int | None = None
    end_time: int | None = None


class RunMetric(msgspec.Struct):
    """The last value of a metric; the server writes one that is no number as text."""

    key: str
    value: float | str = 0.0


class RunData(msgspec.Struct):
    """What a run has logged."""

    metrics: list[RunMetric] = []
    params: list[Tag] = []
    tags: list[Tag] = []


class Run(msgspec.Struct):
    """A run of the tracking server."""

    info: RunInfo
    data: RunData = msgspec.field(default_factory=RunData)


class _Models(msgspec.Struct):
    registered_models: list[RegisteredModel] = []
    next_page_token: str = ""


class _Versions(msgspec.Struct):
    model_versions: list[RegisteredVersion] = []
    next_page_token: str = ""


class _OneModel(msgspec.Struct):
    registered_model: RegisteredModel


class _OneVersion(msgspec.Struct):
    model_version: RegisteredVersion


class _OneRun(msgspec.Struct):
    run: Run


class _Refusal(msgspec.Struct):
    error_code: str = ""
    message: str = ""


class MlflowClient:
    """Reads an MLflow registry; use it as an async context manager. `tls` names certificates other than the system's.

    Raises DependencyDown when the server does not answer, ConfigError when it does not let us in or is no MLflow, RunwayError
    when it refuses one request."""

    def __init__(
        self,
        access: MlflowAccess,
        *,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        self.uri = access.uri
        self._http = RetryingHttp(f"MLflow at {self.uri}", auth=access.auth, tls=tls, sleep=sleep)

    async def __aenter__(self) -> "MlflowClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def models(self) -> AsyncIterator[list[RegisteredModel]]:
        """All registered models with their aliases, by name, a page at a time. MLflow leaves prompts out."""
        asked = {"max_results": MODELS_A_PAGE, "order_by": "name ASC"}
        async for page in self._pages("registered-models/search", asked, _Models):
            yield page.registered_models

    async def model(self, name: str) -> RegisteredModel | None:
        """One registered model with its aliases, None where there is none."""
        found = await self._get("registered-models/get", {"name": name}, _OneModel)
        return found.registered_model if found else None

    async def versions(self, name: str | None = None) -> AsyncIterator[list[RegisteredVersion]]:
        """The versions of one model or of all, the last changed first, a page at a time. MLflow can order by the time of the
        change, but not filter by it: who has read far enough stops."""
        asked: dict[str, Any] = {"max_results": VERSIONS_A_PAGE, "order_by": "last_updated_timestamp DESC"}
        if name is not None:
            asked["filter"] = f"name = {quoted(name)}"
        async for page in self._pages("model-versions/search", asked, _Versions):
            yield page.model_versions

    async def version(self, name: str, version: str) -> RegisteredVersion | None:
        """One version, None where there is none."""
        found = await self._get("model-versions/get", {"name": name, "version": version}, _OneVersion)
        return found.model_version if found else None

    async def run(self, run_id: str) -> Run | None:
        """One run, None where it is gone."""
        found = await self._get("runs/get", {"run_id": run_id}, _OneRun)
        return found.run if found else None

    async def _pages(self, path: str, asked: dict[str, Any], kind: type[T]) -> AsyncIterator[T]:
        token = ""
        for _ in range(MAX_PAGES):
            page: Any = await self._get(path, asked | ({"page_token": token} if token else {}), kind)
            if page is None:
                return
            yield page
            token = page.next_page_token
            if not token:
                return
        raise RunwayError(f"MLflow at {self.uri} has more than {MAX_PAGES} pages of {path}.")

    async def _get(self, path: str, asked: dict[str, Any], kind: type[T]) -> T | None:
        status, body = await self._http.get(f"{self.uri}/api/2.0/mlflow/{path}", asked)
        if status == 200:
            try:
                return msgspec.json.decode(body, type=kind)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise RunwayError(
                    f"MLflow at {self.uri} answers {path} with what cannot be read: {str(error)[:300]}."
                ) from error
        self._check_refusal(path, status, body)
        return None

    def _check_refusal(self, path: str, status: int, body: bytes) -> None:
        if 300 <= status < 400:
            raise ConfigError(
                f"MLflow at {self.uri} redirects elsewhere, which is not followed.", "Give the address that it redirects to."
            )
        if status in (401, 403):
            raise ConfigError(
                f"MLflow at {self.uri} answers {status} to {path}.", "Check the token, or the user and password."
            )
        try:
            refusal = msgspec.json.decode(body, type=_Refusal)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            refusal = _Refusal()
        if not refusal.error_code:
            raise self._not_mlflow(f"answers {status} to {path}")
        if refusal.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise RunwayError(f"MLflow at {self.uri} refuses {path}: {refusal.message[:300]}")

    def _not_mlflow(self, what: str) -> ConfigError:
        return ConfigError(f"The server at {self.uri} {what[:300]}.", "Check that this is the address of an MLflow server.")


def quoted(name: str) -> str:
    """A name as MLflow's search takes it: in quotes that do not occur in it, as it knows no escapes. Raises RunwayError where
    a name has both kinds.

    >>> quoted("fraud"), quoted("bob's")
    ("'fraud'", '"bob\\'s"')
    """
    mark = next((mark for mark in "'\"" if mark not in name), None)
    if mark is None:
        raise RunwayError(
            f"MLflow cannot search for the model {name[:256]!r}, whose name has both kinds of quotes.", "A poll takes it."
        )
    return f"{mark}{name}{mark}"
