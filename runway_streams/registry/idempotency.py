"""Idempotency: a POST with an Idempotency-Key is done once, and answered again as it was then.

The row is written in the transaction of the POST itself. So one that fails leaves nothing and may be tried again, and of
several at one moment the first does it: PostgreSQL lets the others wait at the insert, SQLite has one writer.
"""

import hashlib
import re
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from runway_streams.database import insert_new
from runway_streams.registry.changes import Change, as_text
from runway_streams.registry.refusals import Conflict, Invalid, Mismatch
from runway_streams.registry.tables import idempotency
from runway_streams.times import DAY

KEPT = DAY
"""How long an answer is given again."""
MAX_KEY = 255
MAX_BODY = 1024 * 1024
_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY}}}")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer that was given."""

    status: int
    headers: dict[str, str]
    body: bytes


def digest_of(method: str, path: str, body: bytes) -> str:
    """Names a request by content; the path with its query.

    >>> digest_of("POST", "/v1/a", b"{}") == digest_of("POST", "/v1/a{", b"}")
    False
    """
    return hashlib.sha256(msgspec.json.encode([method, path, hashlib.sha256(body).hexdigest()])).hexdigest()


async def begin(change: Change, principal: str, key: str, request_digest: str) -> StoredAnswer | None:
    """The answer to give again, or None where the request is to be done now, and `finish` told its answer.

    Raises Invalid where the key is none, Mismatch where the principal used it for another request within 24 h.
    """
    check_key(key)
    mine = idempotency.c.key == _row_key(principal, key)
    over = idempotency.c.created_at <= change.now - KEPT
    await change.execute(idempotency.delete().where(mine, over))
    row = {"key": _row_key(principal, key), "request": request_digest, "created_at": change.now}
    if await insert_new(change.connection, idempotency, **row):
        return None
    found = (await change.execute(sa.select(idempotency).where(mine))).one()
    if found.request != request_digest:
        raise Mismatch("This Idempotency-Key was used for another request.", "Use a new key for each request.")
    if found.status is None:
        raise Conflict("What became of the first request of this Idempotency-Key is not known.", "Read what is there.")
    return StoredAnswer(found.status, msgspec.json.decode(found.headers), found.body)


async def finish(change: Change, principal: str, key: str, answer: StoredAnswer) -> None:
    """Keeps the answer that the request gets. It must hold no secret: the database keeps it as it is."""
    assert len(answer.body) <= MAX_BODY
    row = idempotency.update().where(idempotency.c.key == _row_key(principal, key))
    values = {"status": answer.status, "headers": as_text(answer.headers), "body": answer.body}
    await change.execute(row.values(values))


async def clear_answers(change: Change) -> int:
    """Deletes answers that are older than 24 h, and says how many."""
    return (await change.execute(idempotency.delete().where(idempotency.c.created_at <= change.now - KEPT))).rowcount


def check_key(key: str) -> None:
    """Raises Invalid unless it is 1 to 255 printable ASCII characters.

    >>> check_key("5f0c-1")
    """
    if not _KEY.fullmatch(key):
        raise Invalid(f"An Idempotency-Key is 1 to {MAX_KEY} printable ASCII characters.", "Send a UUID, say.")


def _row_key(principal: str, key: str) -> str:
    return hashlib.sha256(msgspec.json.encode([principal, key])).hexdigest()
