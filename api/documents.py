"""Documents: what requests bring and answers carry, with the preconditions of HTTP on both."""

import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.problems import Problem, bad_request
from schemas.patterns import in_words

JSON_TYPES = ("application/json", "application/merge-patch+json")
NEW = 0
"""The revision of what is not there yet; its ETag is `"0"`."""

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_OWN_ETAG = re.compile(r'"(\d{1,9})"', re.ASCII)

T = TypeVar("T")


async def read_document(request: Request, type_: type[T]) -> T:
    """The body as a document of this type. Raises Problem: 415 for another format, 400 that names what is wrong."""
    body = await read_json_body(request)
    if _NUL.search(body):
        raise bad_request("invalid-document", "A text has a NUL character, which no database of ours keeps. Leave it out.")
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise bad_request("invalid-document", f"{in_words(str(error))}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request("not-json", f"The body is not JSON: {error}.") from None


async def read_json_body(request: Request) -> bytes:
    """The body, unless it says of itself that it is no JSON."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind and kind not in JSON_TYPES:
        raise Problem(415, "not-json", f"The body must be application/json, not {kind[:50]}.")
    return await request.body()


def merge_patch(document: Any, patch: Any) -> Any:
    """The document with a JSON merge patch (RFC 7396) applied: null takes a member away.

    >>> merge_patch({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def convert(document: Any, type_: type[T]) -> T:
    """A document in builtins as its type; a 400 that names what is wrong."""
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise bad_request("invalid-document", f"{in_words(str(error))}.") from None


def if_match(request: Request, *, required: bool = True) -> int | None:
    """The revision that the request was made for; None for any (`*`). `If-None-Match: *` means that there is none yet.

    Raises Problem: 428 where nothing is said, 412 where no ETag of ours is named, 400 for another If-None-Match.
    """
    none = request.headers.get("if-none-match")
    if none is not None:
        if none.strip() != "*":
            raise bad_request(
                "bad-if-none-match", "If-None-Match of a change must be *, which means: only if there is none yet."
            )
        return NEW
    given = request.headers.get("if-match")
    if given is None:
        if not required:
            return None
        detail = "Send the ETag of what you have read as If-Match, so that nobody else's change is lost."
        raise Problem(428, "precondition-required", detail)
    if given.strip() == "*":
        return None
    found = _OWN_ETAG.fullmatch(given.strip())
    if not found:
        raise Problem(412, "stale", f"If-Match is {given[:50]!r}, which is no ETag of this; read it again.")
    return int(found[1])


def answer(document: Any, status: int = 200, *, revision: int | None = None, location: str | None = None) -> Response:
    """A JSON answer with the ETag of a revision."""
    headers = {} if revision is None else {"ETag": f'"{revision}"'}
    if location:
        headers["Location"] = location
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")
