"""Issuer keys: the public keys by which an OIDC issuer signs, found by discovery and remembered."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from runway_streams.config import is_safe_url
from runway_streams.errors import DependencyDown
from runway_streams.times import DAY, HOUR, MINUTE

FRESH = HOUR
STALE = DAY
"""While the issuer is down, its keys are good for so long."""
ASK_AGAIN = MINUTE
"""The issuer is asked at most this often, whatever keys tokens name."""
ASK_FIRST = 5_000
"""And this often, as long as it has never answered."""
ANSWER_S = 5.0
MAX_DOCUMENT = 256 * 1024
MAX_KEYS = 100
KEY_TYPES = ("RSA", "EC", "OKP")

Key = dict[str, Any]
_log = logging.getLogger(__name__)


class IssuerKeys:
    """The keys of one issuer. Of requests that need them at one moment, one asks."""

    def __init__(self, issuer: str, now: Callable[[], int]):
        self._issuer, self._now = issuer, now
        self._keys: list[Key] = []
        self._fetched_at: int | None = None
        self._tried_at = -DAY
        self._asking = asyncio.Lock()
        self._problem: DependencyDown | None = None

    async def find(self, kid: str | None) -> Key | None:
        """The key of that name, or the only one where none is named. Raises DependencyDown without keys of the last day."""
        if self._age() >= FRESH and not (self._asking.locked() and self._age() < STALE):
            await self._refresh()
        if self._age() >= STALE:
            raise self._problem or DependencyDown(f"The issuer {self._issuer} was not asked yet.", "Try again.")
        found = self._named(kid)
        if found is None:
            await self._refresh()
            found = self._named(kid)
        return found

    def _age(self) -> int:
        return STALE if self._fetched_at is None else self._now() - self._fetched_at

    def _named(self, kid: str | None) -> Key | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == kid), None)

    async def _refresh(self) -> None:
        async with self._asking:
            pause = ASK_FIRST if self._fetched_at is None else ASK_AGAIN
            if self._now() - self._tried_at < pause:
                return
            self._tried_at = self._now()
            try:
                self._keys = await fetch_keys(self._issuer)
            except DependencyDown as error:
                self._problem = error
                _log.warning("%s", error)
            else:
                self._fetched_at = self._now()


async def fetch_keys(issuer: str) -> list[Key]:
    """Asks an issuer for its keys, those for signatures alone. Raises DependencyDown where it does not answer as one."""
    try:
        async with asyncio.timeout(ANSWER_S), httpx.AsyncClient(headers={"Accept-Encoding": "identity"}) as client:
            told = await _get(client, issuer.rstrip("/") + "/.well-known/openid-configuration")
            if told.get("issuer") != issuer:
                raise _down(issuer, f"it calls itself {str(told.get('issuer'))[:200]!r}")
            keys = (await _get(client, str(told.get("jwks_uri")))).get("keys")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise _down(issuer, str(error) or type(error).__name__) from error
    if not isinstance(keys, list):
        raise _down(issuer, "its key set has no list of keys")
    return [key for key in keys[:MAX_KEYS] if _signs(key)]


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    if not is_safe_url(url):
        raise ValueError(f"{url[:200]!r} is not an https URL")
    body = bytearray()
    async with client.stream("GET", url) as response:
        if response.status_code != 200:
            raise ValueError(f"{url} answers {response.status_code}")
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_DOCUMENT:
                raise ValueError(f"{url} answers more than {MAX_DOCUMENT} bytes")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ValueError(f"{url} answers no JSON object") from error


def _signs(key: object) -> bool:
    return isinstance(key, dict) and key.get("kty") in KEY_TYPES and key.get("use", "sig") == "sig"


def _down(issuer: str, why: str) -> DependencyDown:
    return DependencyDown(f"The issuer {issuer} does not tell its keys: {why}.", "Start it, or check RUNWAY_OIDC_ISSUER.")
