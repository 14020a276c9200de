"""What a performance query may ask, and a 400 that names what is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

from api.problems import bad_request
from api.speed_store import TOTAL, Segment
from runway_streams.errors import RunwayError
from runway_streams.ground_truth.merge_rule import View
from runway_streams.times import BIN, DAY, HOUR, YEAR_ONE, format_time, parse_duration

PARAMETERS = frozenset({"version", "start", "end", "granularity", "segment", "view"})
MAX_WINDOWS = 10_000
MAX_PARAMETER = 300
"""Characters of a parameter's value."""
DEFAULT_RANGE = DAY
LATEST = 253_402_300_800_000
"""The year 10000: no time lies beyond it."""


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked, in ms; `start` and `end` are multiples of `width`."""

    model: str
    start: int
    end: int
    width: int
    version: str | None = None
    segment: Segment = TOTAL
    view: View = "merged"
    granularity: str = "PT1H"

    @property
    def hourly(self) -> bool:
        """Whether every window is made of whole hours."""
        return self.width % HOUR == 0


def parse_query(model: str, parameters: Sequence[tuple[str, str]], now: int) -> Query:
    """The query, or a 400 that names what is wrong with it."""
    given = dict(parameters)
    _check_names(given, len(parameters))
    granularity = given.get("granularity", "PT1H")
    width = parse_granularity(granularity)
    end = parse_time("end", given["end"]) if "end" in given else now
    start = parse_time("start", given["start"]) if "start" in given else end - DEFAULT_RANGE
    if start >= end:
        raise bad_request("bad-range", f"start ({format_time(start)}) must lie before end ({format_time(end)}).")
    start, end = start // width * width, -(-end // width) * width
    if start < YEAR_ONE or end >= LATEST:
        raise bad_request("bad-range", "start and end must lie within the years 1 and 9999, whole windows included.")
    if (end - start) // width > MAX_WINDOWS:
        raise bad_request(
            "too-many-windows",
            f"{(end - start) // width} windows of {granularity} were asked for; at most {MAX_WINDOWS} are answered. "
            "Ask for a shorter range or a coarser granularity.",
        )
    view = given.get("view", "merged")
    if view not in get_args(View):
        raise bad_request("bad-view", f"view is {view!r}; it must be merged, speed or batch.")
    segment = parse_segment(given["segment"]) if "segment" in given else TOTAL
    return Query(model, start, end, width, given.get("version"), segment, view, granularity)  # type: ignore[arg-type]


def parse_granularity(text: str) -> int:
    """The width of a window in ms: a multiple of five minutes that divides a day, or whole days.

    >>> parse_granularity("PT15M"), parse_granularity("P7D")
    (900000, 604800000)
    """
    try:
        width = parse_duration(text)
    except RunwayError as error:
        raise bad_request("bad-granularity", f"granularity: {error}") from error
    if width < BIN or width % BIN:
        raise bad_request("bad-granularity", f"granularity {text}: PT5M is the finest, and all others are multiples of it.")
    if (DAY % width if width < DAY else width % DAY) or width > 366 * DAY:
        raise bad_request("bad-granularity", f"granularity {text} neither divides a day nor is it 1 to 366 whole days.")
    return width


def parse_time(name: str, text: str) -> int:
    """Epoch ms of an RFC 3339 time or date (UTC).

    >>> parse_time("start", "2013-04-01T00:00:00Z") == parse_time("start", "2013-04-01") == 1364774400000
    True
    """
    # A plus that was not percent-encoded arrives as a space.
    text = text.replace(" ", "+")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise bad_request("bad-range", f"{name} is {text!r}; it must be an RFC 3339 time.") from None
    if moment.tzinfo is None:
        if len(text) > len("2013-04-01"):
            raise bad_request("bad-range", f"{name} is {text!r}; it lacks its zone, such as Z.")
        moment = moment.replace(tzinfo=UTC)
    ms = round(moment.timestamp() * 1000)
    if not YEAR_ONE <= ms < LATEST:
        raise bad_request("bad-range", f"{name} is {text!r}; it lies outside the years 1 to 9999.")
    return ms


def parse_segment(text: str) -> Segment:
    """A segment's key and value.

    >>> parse_segment("carrier:AA"), parse_segment("url:http://x")
    (('carrier', 'AA'), ('url', 'http://x'))
    """
    key, colon, value = text.partition(":")
    if not colon or not key:
        raise bad_request("bad-segment", f"segment is {text!r}; it must be KEY:VALUE, such as carrier:AA.")
    return key, value


def _check_names(given: Mapping[str, str], count: int) -> None:
    unknown = sorted(given.keys() - PARAMETERS)
    if unknown:
        known = ", ".join(sorted(PARAMETERS))
        raise bad_request("unknown-parameter", f"{unknown[0][:50]!r} is no parameter of this; known are {known}.")
    if len(given) != count:
        raise bad_request("repeated-parameter", "A parameter was given twice; give each once.")
    for name, value in given.items():
        if len(value) > MAX_PARAMETER:
            raise bad_request("long-parameter", f"{name} has {len(value)} characters; at most {MAX_PARAMETER} are taken.")
