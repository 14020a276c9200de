"""RetryAfter: how long an HTTP server asks us to wait."""

import math

import httpx

LONGEST_WAIT_S = 30.0
"""No client of ours waits longer between two attempts, whatever a server asks."""


def retry_after(headers: httpx.Headers) -> float:
    """Seconds that the server asks for, at most 30; 0 where it asks for nothing or names a date.

    >>> [retry_after(httpx.Headers({"Retry-After": text})) for text in ("2", "900", "-1", "nan", "Fri, 31 Dec 1999 23:59:59 GMT")]
    [2.0, 30.0, 0.0, 0.0, 0.0]
    """
    try:
        seconds = float(headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if math.isfinite(seconds) else 0.0
