"""The lock of the batch: one object in the lake with an owner and an expiry, taken by compare-and-swap."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from batch.lake import Lake
from runway_streams.errors import Refused
from runway_streams.times import MINUTE, format_time

PATH = "view/lock.json"
EXPIRES_AFTER = 5 * MINUTE
"""An owner that has not renewed the lock for this long is taken for dead."""
RENEW_EVERY_S = 60.0


class Holder(Struct):
    """Who holds the lock, and until when (epoch ms); nobody once that has passed."""

    owner: str
    token: str
    expires_at: int


class Lock:
    """A held lock."""

    def __init__(self, lake: Lake, owner: str, now: Callable[[], int]) -> None:
        self._lake, self._owner, self._now = lake, owner, now
        self._token = uuid.uuid4().hex
        self._mine = b""
        self._guard = threading.Lock()

    def take(self) -> None:
        """Raises Refused where somebody else holds it."""
        found = self._lake.get_or_none(PATH)
        holder = None if found is None else msgspec.json.decode(found, type=Holder)
        if (holder and holder.expires_at > self._now()) or not self._put(found):
            who = f"{holder.owner}, until {format_time(holder.expires_at)}" if holder else "somebody else"
            raise Refused(f"Another batch is running: the lock {PATH} is held by {who}.", "Wait for it to end.")

    def renew(self) -> bool:
        """Holds on to it; False where it was lost."""
        with self._guard:
            return self._put(self._mine)

    def check(self) -> None:
        """Raises Refused where the lock was lost: another batch may be at work."""
        if not self.renew():
            raise Refused("The batch has lost its lock while it ran; nothing was published.", "Run it again.")

    def release(self) -> None:
        """Lets others take it at once."""
        self._lake.swap(PATH, self._mine, msgspec.json.encode(Holder(self._owner, self._token, 0)))

    def _put(self, expected: bytes | None) -> bool:
        mine = msgspec.json.encode(Holder(self._owner, self._token, self._now() + EXPIRES_AFTER))
        if not self._lake.swap(PATH, expected, mine):
            return False
        self._mine = mine
        return True


@contextmanager
def locked(lake: Lake, owner: str, now: Callable[[], int]) -> Iterator[Lock]:
    """Holds the batch's lock, renewed once a minute by a thread."""
    lock = Lock(lake, owner, now)
    lock.take()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEW_EVERY_S):
            lock.renew()

    thread = threading.Thread(target=renew, name="batch-lock", daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        over.set()
        thread.join()
        lock.release()
