"""OIDC: bearer tokens that an identity provider has signed. We read them, we never make or forward one."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jwt

from api.issuer_keys import IssuerKeys
from api.principals import Principal, Rejected
from runway_streams.config import Config
from runway_streams.registry.keys import MAX_TEAM, MAX_TEAMS, ROLES

LEEWAY_S = 60
"""How far the issuer's clock and ours may be apart."""
MAX_EXPIRY_S = 253_402_300_799
REQUIRED = ["iss", "aud", "sub", "exp"]
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f]{1,195}")
_OPTIONS: Any = {
    "require": REQUIRED,
    "enforce_minimum_key_length": True,
    # By our own clock, below.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class Tokens:
    """Verifies tokens of one issuer for one audience."""

    def __init__(self, keys: IssuerKeys, config: Config, now: Callable[[], int]):
        self._keys, self._now = keys, now
        self._issuer, self._audience = config.oidc_issuer, config.oidc_audience
        self._algorithms = tuple(name.strip() for name in config.oidc_algorithms.split(","))
        self._role_claim, self._teams_claim = config.oidc_role_claim, config.oidc_teams_claim

    @classmethod
    def of(cls, config: Config, now: Callable[[], int]) -> "Tokens | None":
        """Those of RUNWAY_OIDC_ISSUER, or None where none is set."""
        return cls(IssuerKeys(config.oidc_issuer, now), config, now) if config.oidc_issuer else None

    async def verify(self, token: str) -> tuple[Principal, int]:
        """Who a token speaks for, and until when (ms). Raises Rejected, and DependencyDown without the issuer's keys."""
        try:
            header = jwt.get_unverified_header(token)
            claims = self._claims(token, header["alg"], await self._key(header))
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise Rejected(401, f"The token is not valid: {_why(error)}.") from error
        expires = self._check_times(claims)
        return self._principal(claims), expires

    async def _key(self, header: dict[str, Any]) -> dict[str, Any]:
        # Decided before any key is looked at: by a symmetric algorithm a public key would be a secret that all know.
        if header.get("alg") not in self._algorithms:
            raise jwt.InvalidAlgorithmError("its algorithm is not among those that are allowed")
        kid = header.get("kid")
        key = await self._keys.find(kid if kid is None else str(kid)[:512])
        if key is None or key.get("alg", header["alg"]) != header["alg"]:
            raise jwt.InvalidKeyError("the issuer has no such key")
        return key

    def _claims(self, token: str, algorithm: str, key: dict[str, Any]) -> dict[str, Any]:
        public = jwt.PyJWK(key, algorithm).key
        return jwt.decode(token, public, [algorithm], _OPTIONS, audience=self._audience, issuer=self._issuer)

    def _check_times(self, claims: dict[str, Any]) -> int:
        now_s = self._now() / 1000
        times = {name: claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
        if not all(_is_number(value) for value in times.values()):
            raise Rejected(401, "The token is not valid: exp, nbf and iat must be numbers.")
        if now_s >= times["exp"] + LEEWAY_S:
            raise Rejected(401, "The token has expired.")
        if any(times.get(name, 0) > now_s + LEEWAY_S for name in ("nbf", "iat")):
            raise Rejected(401, "The token is not valid yet; the clocks may be apart.")
        return int((min(times["exp"], MAX_EXPIRY_S) + LEEWAY_S) * 1000)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        if not _SUBJECT.fullmatch(claims["sub"]):
            raise Rejected(401, "The token is not valid: its subject is not 1 to 195 printable characters.")
        role = role_of(texts_at(claims, self._role_claim))
        if role is None:
            roles = ", ".join(ROLES)
            raise Rejected(403, f"The token names no role: its claim {self._role_claim} must hold one of {roles}.")
        teams = [team for team in texts_at(claims, self._teams_claim) if 0 < len(team) <= MAX_TEAM]
        return Principal(f"oidc:{claims['sub']}", role, tuple(sorted(set(teams[:MAX_TEAMS]))), "oidc")


def role_of(names: Sequence[str]) -> Any:
    """The highest role among names, or None.

    >>> role_of(["offline_access", "reader", "operator"])
    'operator'
    """
    return next((role for role in reversed(ROLES) if role in names), None)


def texts_at(claims: dict[str, Any], path: str) -> list[str]:
    """The text or the texts of a claim; `a.b` is a claim of that very name, or else b within a.

    >>> texts_at({"realm_access": {"roles": ["admin"]}}, "realm_access.roles"), texts_at({"https://x.y/role": "reader"}, "https://x.y/role")
    (['admin'], ['reader'])
    """
    value: Any = claims
    for part in [path] if path in claims else path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _why(error: Exception) -> str:
    # What PyJWT says of itself is fit for people; other errors come from a broken encoding.
    return str(error)[:200].rstrip(".") if isinstance(error, jwt.PyJWTError) else "it cannot be read"
