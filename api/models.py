"""`GET /v1/models`: what has been seen, in pages."""

import base64
import binascii
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.merged_view import MergedView
from api.problems import Problem, bad_request
from api.speed_store import TOTAL
from batch.manifest import ModelSeen
from runway_streams.ground_truth.slim import INDEX
from runway_streams.times import HOUR, format_time

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
PARAMETERS = {"limit", "cursor"}


async def get_models(request: Request) -> Response:
    """The endpoint."""
    view: MergedView = request.app.state.view
    given = dict(request.query_params)
    unknown = sorted(given.keys() - PARAMETERS)
    if unknown:
        raise bad_request("unknown-parameter", f"{unknown[0][:50]!r} is no parameter of this; known are cursor, limit.")
    limit = parse_limit(given.get("limit"))
    after = decode_cursor(given["cursor"]) if "cursor" in given else None
    if not view.speed.ready and view.batch.view is None:
        detail = f"The models are not known yet. {' '.join(view.problems())}"
        raise Problem(503, "not-ready", detail, {"Retry-After": "2"})
    names = [name for name in view.models() if after is None or name > after]
    page = names[:limit]
    document = {
        "items": [model_item(view, name) for name in page],
        "next_cursor": encode_cursor(page[-1]) if len(names) > limit else None,
        "degraded": view.unavailable(),
    }
    return Response(orjson.dumps(document), media_type="application/json")


def model_item(view: MergedView, name: str) -> dict[str, Any]:
    """One model's line."""
    seen = view.seen(name)
    assert seen is not None
    return {
        "model_id": name,
        "versions": seen.versions,
        "first_seen": format_time(seen.first),
        "last_seen": format_time(seen.last),
        "predictions": predictions(view, seen),
        "task": seen.task,
    }


def predictions(view: MergedView, seen: ModelSeen) -> int:
    """All predictions of a model, by the merge rule."""
    start, end = seen.first // HOUR * HOUR, (seen.last // HOUR + 1) * HOUR
    rows = view.label_rows(seen.model, TOTAL, start, end, version=None, view="merged")
    return int(sum(block.values[:, INDEX["predictions"]].sum() for block in rows))


def parse_limit(text: str | None) -> int:
    """How many items a page holds.

    >>> parse_limit(None), parse_limit("7")
    (50, 7)
    """
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise bad_request("bad-limit", f"limit is {text[:50]!r}; it must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def encode_cursor(last: str) -> str:
    """The cursor of the page after the one that ends with `last`.

    >>> decode_cursor(encode_cursor("fraud"))
    'fraud'
    """
    return base64.urlsafe_b64encode(msgspec.json.encode(["models", last])).decode()


def decode_cursor(cursor: str) -> str:
    """The last item of the page before."""
    try:
        kind, last = msgspec.json.decode(base64.urlsafe_b64decode(cursor[:1000].encode()), type=tuple[str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        kind, last = "", ""
    if kind != "models":
        raise bad_request("bad-cursor", "cursor is not one that this list has given; begin without one.")
    return last
