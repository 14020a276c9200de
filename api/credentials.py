"""Credentials: API keys and tokens, verified, and for how long what came out is believed.

A good one is believed for 30 s, so a key that is revoked is refused everywhere half a minute later. While the database or the
issuer is down it is believed for up to 10 minutes, so that reading goes on. Credentials are remembered by their hashes.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, cast

from api.oidc import Tokens
from api.principals import Principal, Rejected
from runway_streams.errors import DependencyDown
from runway_streams.registry import keys
from runway_streams.registry.changes import Registry
from runway_streams.times import MINUTE
from schemas.api_key import Role

FRESH = 30_000
STALE = 10 * MINUTE
ASK_AGAIN = 5_000
"""For so long the database is not asked for a credential again for which it did not answer."""
REFUSED = 10_000
"""For so long a wrong credential is refused without being looked at."""
MAX_REMEMBERED = 10_000
UNKNOWN = "The key is not known, has expired or was revoked."


@dataclass(slots=True)
class Verified:
    """A good credential. `believed_until` and `verified_at` in ms; `expires_at` is its own end."""

    principal: Principal
    expires_at: int | None
    verified_at: int
    believed_until: int

    def good(self, now: int) -> bool:
        """Whether it need not be verified at `now`."""
        return now < self.believed_until and now - self.verified_at < STALE


@dataclass(frozen=True, slots=True)
class Refused:
    """A wrong credential. The exception itself would keep the frames, and in them the credential."""

    until: int
    status: Literal[401, 403]
    sentence: str


class Credentials:
    """Verifies and remembers, 10,000 good and 10,000 wrong ones, the ones not used for longest giving way."""

    def __init__(self, registry: Registry, tokens: Tokens | None = None):
        self._registry, self._tokens = registry, tokens
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()
        self._refused: OrderedDict[bytes, Refused] = OrderedDict()

    def knows(self, credential: str) -> bool:
        """Whether it was good not long ago."""
        return hash_of(credential) in self._verified

    async def verify(self, credential: str) -> Principal:
        """Whose it is. Raises Rejected, and DependencyDown where that cannot be found out now."""
        now, name = self._registry.now(), hash_of(credential)
        known = self._verified.get(name)
        if known and known.expires_at is not None and now >= known.expires_at:
            del self._verified[name]
            known = None
        if known and known.good(now):
            self._verified.move_to_end(name)
            return known.principal
        refused = self._refused.get(name)
        if refused and now < refused.until:
            raise Rejected(refused.status, refused.sentence)
        return await self._ask(credential, name, known, now)

    async def _ask(self, credential: str, name: bytes, known: Verified | None, now: int) -> Principal:
        if known:
            known.believed_until = now + FRESH  # others with it go on meanwhile
        try:
            principal, expires_at = await self._look_up(credential, now)
        except Rejected as rejected:
            self._verified.pop(name, None)
            _remember(self._refused, name, Refused(now + REFUSED, rejected.status, rejected.sentence))
            raise
        except DependencyDown:
            if known is None or now - known.verified_at >= STALE:
                raise
            known.believed_until = now + ASK_AGAIN
            return known.principal
        except BaseException:
            if known:
                known.believed_until = 0
            raise
        _remember(self._verified, name, Verified(principal, expires_at, now, now + FRESH))
        return principal

    async def _look_up(self, credential: str, now: int) -> tuple[Principal, int | None]:
        if not credential.startswith("rk_"):
            if self._tokens is None:
                raise Rejected(401, "This is no API key, and no issuer of tokens is set up.")
            return await self._tokens.verify(credential)
        async with self._registry.read() as connection:
            entry = await keys.verify(connection, credential, now)
        if entry is None:
            raise Rejected(401, UNKNOWN)
        return Principal(f"key:{entry.prefix}", cast(Role, entry.role), entry.teams, "key"), entry.expires_at


def hash_of(credential: str) -> bytes:
    """By what a credential is remembered."""
    return hashlib.sha256(credential.encode()).digest()


def _remember(memory: OrderedDict[bytes, Any], name: bytes, value: Any) -> None:
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
