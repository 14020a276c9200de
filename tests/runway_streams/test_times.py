"""Times: every way to write a moment is one integer, and durations are read or refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.errors import RunwayError
from runway_streams.times import DAY, HOUR, MINUTE, event_time, format_time, parse_duration

moments = st.integers(5 * 365 * DAY, 230 * 365 * DAY)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, zones)
def test_a_moment_is_one_time_in_every_notation(ms, zone):
    utc = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert event_time(utc.astimezone(zone)) == ms
    assert event_time(ms) == event_time(float(ms)) == event_time(ms / 1000) == ms
    assert event_time(ms // 1000) == ms // 1000 * 1000


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_are_written_as_they_are_read(ms):
    assert event_time(datetime.fromisoformat(format_time(ms))) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("PT5M", 5 * MINUTE),
        ("PT1H", HOUR),
        ("P1D", DAY),
        ("P1DT2H3M4S", DAY + 2 * HOUR + 3 * MINUTE + 4_000),
        ("PT90S", 90_000),
    ],
)
def test_durations(text, ms):
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "P", "PT", "1h", "PT1.5H", "P1M", "-PT1H", "PT1H ", "pt1h", "P1W"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(RunwayError, match="such as PT8H"):
        parse_duration(text)
