"""Waits for numbers that other processes bring forward."""

import time
from collections.abc import Callable

from runway_streams.errors import RunwayError

STALL_S = 60.0
"""The wait ends with an error when the number has not moved for so long; it is not bounded otherwise."""
POLL_S = 0.5


def wait_for(
    goal: int,
    read: Callable[[], int],
    told: Callable[[int], None],
    what: str,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when `read()` has reached `goal`; `told` gets each new number. Raises RunwayError when it stands still.

    >>> numbers = iter([0, 2, 3])
    >>> wait_for(3, lambda: next(numbers), print, "Joined events", sleep=lambda _: None)
    0
    2
    3
    """
    seen, moved = -1, now()
    while seen < goal:
        if seen >= 0:
            sleep(POLL_S)
        number = read()
        if number != seen:
            seen, moved = number, now()
            told(seen)
        elif now() - moved > STALL_S:
            raise RunwayError(
                f"{what}: {seen:,} of {goal:,}, and no more for {STALL_S:.0f} seconds.",
                "The logs of the workers, in the folder logs of the demo's home, tell why.",
            )
