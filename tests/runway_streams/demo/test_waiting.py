import pytest

from runway_streams.demo.waiting import POLL_S, STALL_S, wait_for
from runway_streams.errors import RunwayError


class Clock:
    """A clock that sleeping moves."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


def wait(goal, read, told=lambda _: None):
    clock = Clock()
    wait_for(goal, read, told, "Joined events", now=clock.now, sleep=clock.sleep)
    return clock.seconds


def test_a_goal_that_is_reached_already_needs_no_sleep():
    assert wait(3, lambda: 3) == 0


def test_a_slow_number_is_waited_for_as_long_as_it_moves():
    numbers = (number // 100 for number in range(10_000))
    assert wait(5, lambda: next(numbers)) == 500 * POLL_S > STALL_S


def test_a_number_that_stands_still_is_an_error():
    with pytest.raises(RunwayError, match=r"Joined events: 1,200 of 9,000, and no more for 60 seconds"):
        wait(9_000, lambda: 1_200)
