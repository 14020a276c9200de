"""The client of the registry: the API over HTTP where RUNWAY_API names one, else the same API within this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from runway_streams.cli.common import actor
from runway_streams.config import Config
from runway_streams.errors import ConfigError, DependencyDown, RunwayError

TIMEOUT_S = 30.0
PAGE = 200
MAX_ITEMS = 100_000
PUBLISH_LIMIT_S = 20.0
MAX_WAITS = 3
"""How often a request that came too soon is made again; the rate limit counts by minutes."""
MAX_WAIT_S = 60


class RegistryClient:
    """Asks the API; an answer other than 2xx is a RunwayError with the API's own sentence."""

    def __init__(self, http: httpx.AsyncClient, place: str):
        self._http, self._place = http, place

    async def get(self, path: str, **parameters: Any) -> Any:
        """The document at a path."""
        return (await self.ask("GET", path, params=_given(parameters))).json()

    async def get_tagged(self, path: str) -> tuple[Any, str]:
        """The document at a path, and its ETag."""
        answer = await self.ask("GET", path)
        return answer.json(), answer.headers["ETag"]

    async def find_tagged(self, path: str) -> tuple[Any, str] | None:
        """As `get_tagged`; None where there is nothing."""
        answer = await self.ask("GET", path, accept=(404,))
        return None if answer.status_code == 404 else (answer.json(), answer.headers["ETag"])

    async def all(self, path: str, **parameters: Any) -> list[Any]:
        """Every item of a list, page by page, 100,000 at most."""
        items: list[Any] = []
        cursor = None
        while len(items) < MAX_ITEMS:
            page = await self.get(path, limit=PAGE, cursor=cursor, **parameters)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items
        raise RunwayError(f"{path} has more than {MAX_ITEMS} items.", "Ask for fewer.")

    async def send(self, method: str, path: str, document: Any = None, *, tag: str | None = None) -> Any:
        """Sends a document, for what has this ETag, and returns the answer's."""
        headers = {} if tag is None else {"If-Match": tag}
        content = None if document is None else msgspec.json.encode(document)
        answer = await self.ask(method, path, headers=headers | {"Content-Type": "application/json"}, content=content)
        return answer.json() if answer.content else None

    async def ask(self, method: str, path: str, *, accept: tuple[int, ...] = (), **request: Any) -> httpx.Response:
        """One request; `accept` are the statuses beside 2xx that are no errors."""
        try:
            answer = await self._http.request(method, path, **request)
            for _ in range(MAX_WAITS):
                wait = _wait_s(answer)
                if wait is None:
                    break
                await asyncio.sleep(wait)
                answer = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise DependencyDown(
                f"The API at {self._place} did not answer: {error or type(error).__name__}.", "Check RUNWAY_API."
            ) from error
        if answer.is_success or answer.status_code in accept:
            return answer
        raise RunwayError(_sentence(answer), "Set RUNWAY_KEY to a key that may." if answer.status_code in (401, 403) else "")


@asynccontextmanager
async def registry_client(config: Config) -> AsyncIterator[RegistryClient]:
    """A client. Raises ConfigError where RUNWAY_API is none."""
    if config.api_url:
        if not config.api_url.startswith(("http://", "https://")):
            raise ConfigError(f"RUNWAY_API is {config.api_url!r}.", "Give http://HOST:PORT or https://HOST.")
        headers = {"Authorization": f"Bearer {config.api_key}"} if config.api_key else {}
        async with httpx.AsyncClient(base_url=config.api_url, headers=headers, timeout=TIMEOUT_S) as http:
            yield RegistryClient(http, config.api_url)
        return
    from api.local import local_application

    async with local_application(config, actor()) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://local", timeout=TIMEOUT_S) as http:
            yield RegistryClient(http, "this machine")


def run(work: Any) -> Any:
    """Runs a coroutine of a command to its end."""
    return asyncio.run(work)


def _sentence(answer: httpx.Response) -> str:
    try:
        return answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"The API answered {answer.status_code}."


def _wait_s(answer: httpx.Response) -> int | None:
    """How long the rate limit wants us to wait. Other reasons for a 429, such as wrong keys, do not go away."""
    wait = answer.headers.get("Retry-After", "")
    limited = answer.status_code == 429 and b"urn:runway:problem:rate-limit" in answer.content
    return min(int(wait), MAX_WAIT_S) if limited and wait.isdecimal() else None


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
