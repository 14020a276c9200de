"""Discovery: a run of Metaflow whose lineage is to be asked for, and how that has gone. It waits, over restarts, until Metaflow
answers; a run that leads to further ones has them asked for as well.
"""

from typing import Literal

from msgspec import Struct

State = Literal["pending", "done", "unknown"]
FIRST_WAIT_MS = 2_000
LONGEST_WAIT_MS = 10 * 60_000
GIVE_UP_MS = 7 * 24 * 3_600_000
"""A run that Metaflow does not know after this long is `unknown`: it was deleted, or never was."""
MAX_PENDING = 100_000
MAX_CHAIN = 10
"""So many runs deep others are asked for, each because of the one before."""


class Discovery(Struct, frozen=True, kw_only=True):
    """One run, `Flow/123`, and for which version it is asked for: each that names the run has it asked for anew, as a run that
    names no model tells each of them something else. Both are empty where a run downstream asks. Times are epoch ms; `depth`
    is how many runs led to it."""

    pathspec: str
    model_id: str = ""
    version: str = ""
    state: State = "pending"
    attempts: int = 0
    next_at: int = 0
    problem: str = ""
    depth: int = 0
    created_at: int = 0
    updated_at: int = 0


def wait_ms(attempts: int, share: float) -> int:
    """How long to wait after so many attempts have failed: twice as long each time, and by `share`, drawn from 0 to 1, between
    half of it and all, so that those that failed together do not come back together.

    >>> [wait_ms(attempts, 1.0) for attempts in (1, 2, 3, 30)]
    [2000, 4000, 8000, 600000]
    >>> wait_ms(1, 0.0)
    1000
    """
    whole = min(FIRST_WAIT_MS << min(attempts - 1, 20), LONGEST_WAIT_MS)
    return round(whole * (0.5 + share / 2))
