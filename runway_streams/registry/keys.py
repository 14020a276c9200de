"""Keys: API keys `rk_PREFIX_SECRET`, of which the database has a hash. The secret is told once, by `create`.

The hash is a plain SHA-256. Slow hashes make guessing dear where secrets are few, as passwords are; of 2^256 random secrets
none is guessed however fast the hash is, and a slow one would cost each request what it costs an attacker.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.database import insert_new
from runway_streams.registry.changes import Change, as_text
from runway_streams.registry.refusals import Conflict, Invalid, Unknown
from runway_streams.registry.tables import api_keys
from runway_streams.times import DAY

ROLES = ("reader", "owner", "operator", "admin")
"""Each may do what those before it may."""
MAX_LIVE_KEYS = 10_000
MAX_TEAMS = 100
MAX_TEAM = 128
MAX_NAME = 200
DEAD_KEPT = 90 * DAY
"""How long a key that was revoked or has expired stays in the list."""
PREFIX_BYTES, SECRET_BYTES = 5, 32
LATEST = 253_402_300_800_000
"""The year 10000: no date can be written of it."""

RandomBytes = Callable[[int], bytes]
_KEY = re.compile(r"rk_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What is known of a key: all but its secret. Times in milliseconds."""

    prefix: str
    name: str
    role: str
    teams: tuple[str, ...]
    created_at: int
    created_by: str
    expires_at: int | None = None
    revoked_at: int | None = None

    def lives(self, now: int) -> bool:
        """Whether it is good for requests at `now`.

        >>> KeyEntry("p", "n", "reader", (), 0, "a", expires_at=100).lives(99)
        True
        """
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


async def create(
    change: Change,
    name: str,
    role: str,
    teams: Sequence[str] = (),
    expires_at: int | None = None,
    random: RandomBytes = secrets.token_bytes,
) -> tuple[KeyEntry, str]:
    """Makes a key and returns what is kept of it, and the key, which nobody can read again.

    Raises Invalid where role, teams or expiry cannot be, Conflict beyond 10,000 keys that live (processes that create at
    one moment may go over that by one each).
    """
    check(name, role, teams, expires_at, change.now)
    count = await change.connection.scalar(sa.select(sa.func.count()).select_from(api_keys).where(_alive(change.now)))
    if (count or 0) >= MAX_LIVE_KEYS:
        raise Conflict(f"There are {MAX_LIVE_KEYS} keys already.", "Revoke those that are not used.")
    prefix = base64.b32encode(random(PREFIX_BYTES)).decode().lower()
    secret = base64.urlsafe_b64encode(random(SECRET_BYTES)).decode().rstrip("=")
    entry = KeyEntry(prefix, name, role, tuple(sorted(set(teams))), change.now, change.actor, expires_at)
    row = asdict(entry) | {"teams": as_text(entry.teams), "secret_hash": hash_of(secret)}
    if not await insert_new(change.connection, api_keys, **row):
        raise Conflict(f"A key {prefix} is there already.", "Try once more.")
    await change.note("key.create", prefix, after=entry)
    return entry, f"rk_{prefix}_{secret}"


async def any_alive(connection: AsyncConnection, now: int) -> bool:
    """Whether anybody has a key."""
    return bool(await connection.scalar(sa.select(sa.exists().where(_alive(now)))))


async def page(connection: AsyncConnection, limit: int, after: str = "") -> list[KeyEntry]:
    """The keys after a prefix, in the order of prefixes."""
    question = sa.select(api_keys).where(api_keys.c.prefix > after).order_by(api_keys.c.prefix).limit(limit)
    return [_entry_of(row) for row in (await connection.execute(question)).all()]


async def revoke(change: Change, prefix: str) -> KeyEntry:
    """Ends a key for ever; again does nothing. Raises Unknown."""
    mine = api_keys.c.prefix == prefix
    question = sa.select(api_keys).where(mine).with_for_update()
    # PostgreSQL cannot even ask for a NUL.
    row = None if "\0" in prefix else (await change.execute(question)).first()
    if row is None:
        raise Unknown(f"There is no key {prefix!r}.", "`runway keys list` names them by their prefixes.")
    before = _entry_of(row)
    if before.revoked_at is not None:
        return before
    await change.execute(api_keys.update().where(mine).values(revoked_at=change.now))
    after = replace(before, revoked_at=change.now)
    await change.note("key.revoke", prefix, before=before, after=after)
    return after


async def verify(connection: AsyncConnection, key: str, now: int) -> KeyEntry | None:
    """The entry of a key that is good at `now`, else None, whatever the reason. How long it takes tells nothing about the
    secret."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    row = (await connection.execute(sa.select(api_keys).where(api_keys.c.prefix == found[1]))).first()
    told = hash_of(found[2])
    if not hmac.compare_digest(told, bytes(len(told)) if row is None else row.secret_hash) or row is None:
        return None
    entry = _entry_of(row)
    return entry if entry.lives(now) else None


async def forget_dead(change: Change) -> int:
    """Deletes keys that have been dead for 90 days, and says how many; the audit keeps them."""
    long_ago = change.now - DEAD_KEPT
    dead = sa.or_(api_keys.c.revoked_at < long_ago, api_keys.c.expires_at < long_ago)
    return (await change.execute(api_keys.delete().where(dead))).rowcount


def check(name: str, role: str, teams: Sequence[str], expires_at: int | None, now: int) -> None:
    """Raises Invalid where no such key can be.

    >>> check("ci", "owner", [], None, 0)
    Traceback (most recent call last):
    ...
    runway_streams.registry.refusals.Invalid: A key of the role owner needs a team. Name the teams whose models it may write.
    """
    if len(name) > MAX_NAME or not _PLAIN.fullmatch(name):
        raise Invalid("A key's name is 1 to 200 characters in one line.", "Say who uses the key.")
    if role not in ROLES:
        raise Invalid(f"{role[:50]!r} is no role.", f"Give one of {', '.join(ROLES)}.")
    if role == "owner" and not teams:
        raise Invalid("A key of the role owner needs a team.", "Name the teams whose models it may write.")
    if role != "owner" and teams:
        raise Invalid(f"A key of the role {role} has no teams.", "Leave them out, or give the role owner.")
    if len(teams) > MAX_TEAMS or not all(len(team) <= MAX_TEAM and _PLAIN.fullmatch(team) for team in teams):
        raise Invalid("The teams of a key are at most 100 names of 1 to 128 characters.", "Correct them.")
    if expires_at is not None and not now < expires_at < LATEST:
        raise Invalid("A key expires in the future, and before the year 10000.", "Give a later time, or none.")


def hash_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def _alive(now: int) -> sa.ColumnElement[bool]:
    return sa.and_(api_keys.c.revoked_at.is_(None), sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now))


def _entry_of(row: sa.Row) -> KeyEntry:
    known: dict[str, Any] = {name: getattr(row, name) for name in KeyEntry.__slots__}
    return KeyEntry(**known | {"teams": tuple(msgspec.json.decode(row.teams))})
