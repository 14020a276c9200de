"""Time as integers: epoch milliseconds, five-minute bins and hours; and the two durations that the promise rests on."""

import re
from datetime import UTC, datetime, timedelta

from runway_streams.errors import RunwayError

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BIN = 5 * MINUTE
BINS_PER_HOUR = 12

LIFE = 25 * HOUR
"""24 h and 1 h of grace, in log time: how far a prediction and its outcome may lie apart in the log."""
AHEAD = 10 * MINUTE
"""An event time further than this ahead of the log time is a bad event."""
FAR = DAY
"""A log time further than this ahead of a worker's own clock is not believed."""
MAX_WINDOW = 24 * HOUR
DEFAULT_WINDOW = HOUR
HOUR_CLOSES_AFTER = HOUR + LIFE
"""Log hour h closes once the clock has passed the start of h by this much: nothing can join in it any more."""
YEAR_ONE = -62_135_596_800_000
"""The earliest event time, 0001-01-01: an old event is never bad, but it has a date."""
SECONDS_BELOW = 1e11
"""A numeric timestamp below this is in seconds (1e11 s is the year 5138), else in milliseconds (1e11 ms is 1973)."""

_DURATION = re.compile(r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")


def believed(log_times: list[int], now: int) -> list[int]:
    """The log times of a topic-partition in ms, with 0 for those that lie more than FAR ahead of `now`.

    The running maximum makes of a 0 the last one that was believed, so one stamp in 2100 neither expires anything nor holds
    anything up, and a log that is read again says the same.

    >>> believed([HOUR, 4_102_444_800_000, HOUR + 1], now=HOUR)
    [3600000, 0, 3600001]
    """
    latest = now + FAR
    if max(log_times, default=0) <= latest:
        return log_times
    return [time if time <= latest else 0 for time in log_times]


def event_time(timestamp: datetime | float) -> int:
    """Epoch milliseconds of an event's `timestamp`.

    >>> event_time(1_700_000_000), event_time(1_700_000_000_000)
    (1700000000000, 1700000000000)
    >>> event_time(datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))
    1700000000000
    """
    if isinstance(timestamp, int):
        return timestamp * 1000 if -SECONDS_BELOW < timestamp < SECONDS_BELOW else timestamp
    if isinstance(timestamp, datetime):
        return round(timestamp.timestamp() * 1000)
    return round(timestamp * 1000 if -SECONDS_BELOW < timestamp < SECONDS_BELOW else timestamp)


def parse_duration(text: str) -> int:
    """Milliseconds of an ISO 8601 duration of days, hours, minutes and seconds.

    >>> parse_duration("PT12H"), parse_duration("P1DT5M")
    (43200000, 86700000)
    >>> parse_duration("12h")
    Traceback (most recent call last):
    ...
    runway_streams.errors.RunwayError: '12h' is not an ISO 8601 duration such as PT8H, PT5M or P1D.
    """
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        raise RunwayError(f"{text!r} is not an ISO 8601 duration such as PT8H, PT5M or P1D.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * DAY + hours * HOUR + minutes * MINUTE + seconds * 1000


def format_time(ms: int) -> str:
    """RFC 3339 in UTC.

    >>> format_time(1_700_000_000_000)
    '2023-11-14T22:13:20Z'
    """
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")
