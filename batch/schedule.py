"""When nights are due: one snapshot a day, at 02:00 UTC, of everything before 01:00."""

from runway_streams.times import DAY, HOUR

STARTS_AT = 2
"""The hour of the day (UTC) at which the batch runs."""
CUTS_AT = 1
"""The hour of the day that it runs up to: the archive has an hour to pass it."""
MOST_NIGHTS = 7
"""Missed nights that are caught up one by one; of more, the oldest are made as one."""
RETRY_S = 300.0
"""How long a night that could not run waits."""


def due(now: int, last: int | None) -> list[int]:
    """The cutoffs (log hours) that are due at `now` (ms), in order; `last` is the newest snapshot's. Without one, the
    newest night alone: it takes in all that came before.

    >>> noon = 1000 * DAY + 12 * HOUR
    >>> due(noon, 998 * 24 + 1), due(noon, None), due(noon, 1000 * 24 + 1)
    ([23977, 24001], [24001], [])
    """
    newest = (now - STARTS_AT * HOUR) // DAY * 24 + CUTS_AT
    if last is None:
        return [newest]
    first = max((last - CUTS_AT) // 24 * 24 + CUTS_AT + 24, newest - (MOST_NIGHTS - 1) * 24)
    return list(range(first, newest + 1, 24))


def until_next(now: int) -> float:
    """Seconds until the next night begins.

    >>> until_next(1000 * DAY + 1 * HOUR), until_next(1000 * DAY + 2 * HOUR)
    (3600.0, 86400.0)
    """
    start = STARTS_AT * HOUR
    return (((now - start) // DAY + 1) * DAY + start - now) / 1000
