"""Pages: `limit` and `cursor` of every list. A cursor is opaque, of one list and one question, and no secret."""

import base64
import binascii
import hashlib
from typing import Annotated, Any

import msgspec
from starlette.requests import Request

from api.problems import bad_request

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_FILTER = 128
MAX_CURSOR = 2_000
"""Characters."""
PAGING = frozenset({"limit", "cursor"})


class Page(msgspec.Struct, frozen=True):
    """What of a list is asked for: so many items, after a place in its order (None: from the beginning)."""

    limit: int
    after: list[Any] | None
    question: str

    def cut(self, items: list[Any], place_of: Any) -> tuple[list[Any], str | None]:
        """The items of this page and the cursor of the next one; `items` may hold one more, and then there is a next."""
        page = items[: self.limit]
        return page, encode_cursor(self.question, place_of(page[-1])) if len(items) > self.limit else None


def parse_page(request: Request, shape: type, known: set[str] | frozenset[str] = frozenset()) -> Page:
    """The page that is asked for; `shape` is the type of a place in this list, such as `tuple[int, str]`.

    Raises Problem: 400 for unknown or repeated parameters, a bad limit, or a cursor of another list or question.
    """
    pairs = request.query_params.multi_items()
    given = dict(pairs)
    names = sorted(known | PAGING)
    unknown = sorted(given.keys() - names)
    if unknown:
        raise bad_request("unknown-parameter", f"{unknown[0][:50]!r} is no parameter of this; known are {', '.join(names)}.")
    if len(given) != len(pairs):
        raise bad_request("repeated-parameter", "Each parameter may be given once.")
    filters = sorted((name, value) for name, value in pairs if name not in PAGING)
    question = hashlib.sha256(msgspec.json.encode([request.url.path, filters])).hexdigest()[:16]
    after = decode_cursor(given["cursor"], question, shape) if "cursor" in given else None
    return Page(parse_limit(given.get("limit")), after, question)


def parse_filter(request: Request, name: str) -> str | None:
    """A text that items must have; a 400 where it is longer than any can be."""
    value = request.query_params.get(name)
    if value is not None and (len(value) > MAX_FILTER or "\0" in value):
        raise bad_request(f"bad-{name}", f"{name} must have at most {MAX_FILTER} characters, and no NUL.")
    return value


def parse_limit(text: str | None) -> int:
    """How many items a page holds.

    >>> parse_limit(None), parse_limit("7")
    (50, 7)
    """
    if text is None:
        return DEFAULT_LIMIT
    if len(text) > 3 or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_LIMIT:
        raise bad_request("bad-limit", f"limit is {text[:50]!r}; it must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


Small = Annotated[int, msgspec.Meta(ge=0, lt=1 << 15)]
Whole = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
"""Whole numbers of places, as far as the columns go that they are compared with."""


def encode_cursor(question: str, place: Any) -> str:
    """The cursor of the page that begins after a place.

    >>> decode_cursor(encode_cursor("q", ["fraud"]), "q", tuple[str])
    ['fraud']
    """
    return base64.urlsafe_b64encode(msgspec.json.encode([question, place])).decode().rstrip("=")


def decode_cursor(cursor: str, question: str, shape: type) -> list[Any]:
    """The place at which the page before ended."""
    try:
        padded = cursor[:MAX_CURSOR] + "=" * (-len(cursor[:MAX_CURSOR]) % 4)
        whose, place = msgspec.json.decode(base64.b64decode(padded.encode(), b"-_", validate=True), type=tuple[str, shape])  # type: ignore[valid-type]
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        whose, place = "", ()
    if whose != question or not all(map(_can_be_stored, place)):
        raise bad_request("bad-cursor", "cursor is not one that this list has given for this question; begin without one.")
    return list(place)


def _can_be_stored(value: Any) -> bool:
    # What no database can hold is no place that we have given.
    return "\0" not in value if isinstance(value, str) else -(1 << 63) <= value < 1 << 63
