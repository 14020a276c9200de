"""Windows: the durations that merged performance answers for rules and policies."""

from runway_streams.errors import RunwayError
from runway_streams.times import BIN, DAY, parse_duration

MAX_DAYS = 30
"""The longest window, in days."""
MAX_TEXT = 32
"""Characters of a duration."""
REMEDY = f"Use a multiple of PT5M that divides a day, such as PT1H, or whole days up to P{MAX_DAYS}D."


def check_window(text: str) -> int:
    """The width in ms of a window that merged performance can answer. Raises RunwayError for any other.

    >>> check_window("PT15M"), check_window("P7D")
    (900000, 604800000)
    >>> check_window("PT7H")
    Traceback (most recent call last):
    ...
    runway_streams.errors.RunwayError: 'PT7H' is no window of performance. Use a multiple of PT5M that divides a day, such \
as PT1H, or whole days up to P30D.
    """
    width = parse_bounded(text)
    if width < BIN or width % BIN or (DAY % width if width < DAY else width % DAY) or width > MAX_DAYS * DAY:
        raise RunwayError(f"{text!r} is no window of performance.", REMEDY)
    return width


def parse_bounded(text: str) -> int:
    """Milliseconds of an ISO 8601 duration of at most 32 characters."""
    if len(text) > MAX_TEXT or text != text.strip():
        raise RunwayError(f"{text[:MAX_TEXT]!r} is not an ISO 8601 duration such as PT8H, PT5M or P1D.")
    return parse_duration(text)
