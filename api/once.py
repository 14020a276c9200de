"""Once: a POST with an Idempotency-Key is carried out once, and answered alike each time it is sent."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from api.auth import require
from runway_streams.registry import idempotency
from runway_streams.registry.changes import Change
from runway_streams.registry.idempotency import StoredAnswer

KEPT_HEADERS = ("etag", "location", "content-type")


async def once(request: Request, change: Change, carry_out: Callable[[], Awaitable[Response]]) -> Response:
    """Answers by `carry_out`, in the transaction of the change; what was answered before is answered again."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return await carry_out()
    principal = require(request, "reader")
    digest = idempotency.digest_of(request.method, request.url.path, await request.body())
    stored = await idempotency.begin(change, principal.name, key, digest)
    if stored:
        return Response(stored.body, stored.status, {**stored.headers, "Idempotency-Replayed": "true"})
    response = await carry_out()
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    told = StoredAnswer(response.status_code, headers, bytes(response.body))
    await idempotency.finish(change, principal.name, key, told)
    return response
