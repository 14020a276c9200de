"""Packed bodies: what a request brings under `Content-Encoding: gzip`, unpacked up to a bound."""

import zlib

from starlette.requests import Request

from api.documents import read_json_body
from api.problems import Problem, bad_request

MAX_MEMBERS = 100
"""Members of one gzip: each costs a copy of what follows it."""
_GZIP = 16 + zlib.MAX_WBITS


async def read_packed_body(request: Request, limit: int) -> bytes:
    """The body of a JSON request, unpacked where it says that it is packed.

    Raises Problem: 415 for another encoding or format, 400 for what is no gzip, 413 beyond `limit` bytes, of which no more are
    unpacked than that.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    body = await read_json_body(request)
    if encoding in ("gzip", "x-gzip"):
        body = unpack(body, limit)
    elif encoding not in ("", "identity"):
        raise Problem(415, "unknown-encoding", f"The encoding {encoding[:50]!r} is not known; send gzip, or none.")
    if len(body) > limit:
        raise _too_large(limit)
    return body


def unpack(packed: bytes, limit: int) -> bytes:
    """What gzip has packed, also in several members one after the other. Raises Problem.

    >>> import gzip
    >>> unpack(gzip.compress(b"one ") + gzip.compress(b"two"), 7)
    b'one two'
    """
    found = b""
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        try:
            found += member.decompress(packed, limit - len(found) + 1)
        except zlib.error:
            raise bad_request("bad-gzip", "The body is not gzip, though its Content-Encoding says so.") from None
        if len(found) > limit:
            raise _too_large(limit)
        if not member.eof:
            raise bad_request("bad-gzip", "The body ends in the middle of its gzip.")
        packed = member.unused_data
        if not packed:
            return found
    raise bad_request("bad-gzip", f"The body has more than {MAX_MEMBERS} members of gzip.")


def _too_large(limit: int) -> Problem:
    return Problem(413, "large-body", f"The body is larger than {limit} bytes once it is unpacked.")
