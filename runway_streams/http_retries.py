"""RetryingHttp: asks one HTTP server that may be down or busy for a while, within bounds.

Redirects are not followed, so that a key or token goes to no other host.
"""

import asyncio
import math
import random as random_numbers
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from runway_streams.errors import ConfigError, DependencyDown, RunwayError

MAX_BYTES = 64 << 20
"""Bytes of one answer, after decompression."""
ATTEMPTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""The wait before attempt n + 1 is drawn evenly from 0 to min(LONGEST, FIRST * 2**n), or as long as Retry-After says."""
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
MAX_URL = 2_000
RETRIED = frozenset({429, 500, 502, 503, 504})


class RetryingHttp:
    """`server` is what errors call it, such as `MLflow at https://mlflow.example.com`; `tls` names certificates other than
    the system's. One question takes at most 5 attempts of 30 s and the waits between them."""

    def __init__(
        self,
        server: str,
        *,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_numbers.random,
    ):
        self._server, self._sleep, self._random = server, sleep, random
        self._http = httpx.AsyncClient(
            auth=auth,
            headers={"Accept": "application/json", **(headers or {})},
            verify=tls or True,
            timeout=timeout,
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, url: str, params: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """Status and body. Raises DependencyDown where no attempt was answered but by RETRIED, RunwayError beyond MAX_BYTES."""
        problem = ""
        for attempt in range(ATTEMPTS):
            least = 0.0
            try:
                async with self._http.stream("GET", url, params=params) as response:
                    if response.status_code not in RETRIED:
                        return response.status_code, await self._body(response)
                    problem, least = f"answers {response.status_code}", retry_after(response.headers)
            except httpx.RequestError as error:
                problem = f"cannot be reached: {str(error) or type(error).__name__}"
            if attempt + 1 < ATTEMPTS:
                await self._sleep(max(least, self._random() * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)))
        raise DependencyDown(f"{self._server} {problem}, after {ATTEMPTS} attempts.", "Trying again later can help.")

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise RunwayError(f"{self._server} answers with more than {MAX_BYTES >> 20} MiB.")
        return bytes(body)


def server_url(text: str, whose: str, form: str, instead: str) -> str:
    """The one way in which a server's address is written, so that one server has one. Raises ConfigError, which names it as
    `whose`, and says which `form` it has and what to do `instead` where it holds more than an address.

    >>> server_url(" HTTP://Localhost:5000// ", "MLflow's address", "http://HOST:PORT", "Leave it out.")
    'http://localhost:5000'
    """
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or len(text) > MAX_URL:
        raise ConfigError(f"{whose} is not one.", f"Give it as {form}.")
    if url.userinfo or url.query or url.fragment:
        raise ConfigError(f"{whose} holds a user, a query or a fragment.", instead)
    return str(url).rstrip("/")


def retry_after(headers: httpx.Headers) -> float:
    """Seconds that a server asks us to wait, at most LONGEST_WAIT_S; 0 where it asks for nothing or names a date.

    >>> [retry_after(httpx.Headers({"Retry-After": text})) for text in ("2", "900", "-1", "nan", "Fri, 31 Dec 1999 23:59:59 GMT")]
    [2.0, 30.0, 0.0, 0.0, 0.0]
    """
    try:
        seconds = float(headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if math.isfinite(seconds) else 0.0
