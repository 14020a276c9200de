"""`/v1/keys`: API keys, for admins. The key itself is in the answer to the POST that makes it, and nowhere else."""

from typing import Any, cast

from msgspec.structs import asdict
from starlette.requests import Request
from starlette.responses import Response

from api.auth import require
from api.documents import answer, read_document
from api.pages import parse_page
from runway_streams.registry import idempotency, keys
from runway_streams.registry.changes import Registry
from runway_streams.registry.refusals import Conflict
from runway_streams.times import format_time
from schemas.answers import KeyItem, KeyMade, KeyPage
from schemas.api_key import NewApiKey, Role


async def get_keys(request: Request) -> Response:
    """The endpoint: all keys in pages, those that have ended too, for 90 days."""
    require(request, "admin")
    registry: Registry = request.app.state.registry
    page = parse_page(request, tuple[str])
    async with registry.read() as connection:
        found = await keys.page(connection, page.limit + 1, page.after[0] if page.after else "")
    entries, cursor = page.cut(found, lambda entry: [entry.prefix])
    return answer(KeyPage(items=[key_item(entry) for entry in entries], next_cursor=cursor))


async def post_key(request: Request) -> Response:
    """The endpoint: makes a key. A repeat by Idempotency-Key is 409: the answer held the key, so it was not kept."""
    principal = require(request, "admin")
    registry: Registry = request.app.state.registry
    asked = await read_document(request, NewApiKey)
    expires_at = round(asked.expires_at.timestamp() * 1000) if asked.expires_at else None
    once = request.headers.get("idempotency-key")
    async with registry.change(principal.name) as change:
        if once is not None:
            await _begin(change, once, idempotency.digest_of("POST", request.url.path, await request.body()))
        entry, key = await keys.create(change, asked.name, asked.role, asked.teams, expires_at)
        if once is not None:
            kept = idempotency.StoredAnswer(201, {}, entry.prefix.encode())
            await idempotency.finish(change, principal.name, once, kept)
    return answer(KeyMade(**asdict(key_item(entry)), key=key), 201)


async def delete_key(request: Request) -> Response:
    """The endpoint: revokes the key of the path's `prefix`; 204, again too."""
    principal = require(request, "admin")
    registry: Registry = request.app.state.registry
    async with registry.change(principal.name) as change:
        await keys.revoke(change, request.path_params["prefix"])
    return Response(status_code=204)


def key_item(entry: keys.KeyEntry) -> KeyItem:
    """What is told of a key.

    >>> key_item(keys.KeyEntry("abcdefgh", "ci", "reader", (), 0, "cli:me")).created_at
    '1970-01-01T00:00:00Z'
    """
    return KeyItem(
        prefix=entry.prefix,
        name=entry.name,
        role=cast(Role, entry.role),
        teams=list(entry.teams),
        created_at=format_time(entry.created_at),
        created_by=entry.created_by,
        expires_at=_time(entry.expires_at),
        revoked_at=_time(entry.revoked_at),
    )


async def _begin(change: Any, once: str, digest: str) -> None:
    stored = await idempotency.begin(change, change.actor, once, digest)
    if stored:
        raise Conflict(
            f"This request has made the key {stored.body.decode()} already; only its own answer told it.",
            "Revoke that key and send a new Idempotency-Key if the answer was lost.",
        )


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time(ms)
