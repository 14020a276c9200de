"""Uploads of checkpoints: beside the stream, one partition at a time, in a thread that nothing waits for."""

import logging
import threading
from collections.abc import Callable

from tables.checkpoints import Checkpoints
from tables.partition_store import PartitionStore

_log = logging.getLogger(__name__)


class CheckpointUploads:
    """Takes a partition's checkpoint every `interval_s`, the first one interval after it was opened.

    It is offered a partition after each emission that succeeded, so only who owns a partition uploads it. What fails is
    counted, said once, and tried again an interval later. `now` is the wall clock in ms.
    """

    def __init__(self, checkpoints: Checkpoints, interval_s: float, now: Callable[[], int]):
        self._checkpoints, self._interval_s, self._now = checkpoints, interval_s, now
        self.failures = 0
        self._due: dict[int, float] = {}
        self._uploaded_at: dict[int, int] = {}
        self._failing: set[int] = set()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def ages(self) -> dict[int, float]:
        """Seconds since each partition's state was found in the lake as it was, by partition."""
        return {number: (self._now() - at) / 1000 for number, at in list(self._uploaded_at.items())}

    def offer(self, number: int, store: PartitionStore, monotonic: float) -> None:
        """Begins an upload if this partition's is due and no other is under way."""
        due = self._due.setdefault(number, monotonic + self._interval_s)
        if monotonic < due or (self._thread is not None and self._thread.is_alive()):
            return
        self._due[number] = monotonic + self._interval_s
        # A daemon: a process that ends leaves a half upload behind, which nothing names.
        self._thread = threading.Thread(
            target=self._upload, args=(number, store, self._stopped), name=f"checkpoint-{number}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """The partitions are no longer this worker's: an upload under way ends after the file it is at."""
        self._stopped.set()
        self._stopped = threading.Event()
        self._due.clear()
        self._uploaded_at.clear()

    def _upload(self, number: int, store: PartitionStore, stopped: threading.Event) -> None:
        at = self._now()
        try:
            self._checkpoints.upload(number, store, at, stopped.is_set)
        except Exception as error:  # whatever it is: the stream does not depend on it
            if stopped.is_set():
                return
            self.failures += 1
            if number not in self._failing:
                _log.warning(
                    "Partition %d: its state cannot be uploaded, and will be tried again every %d s: %s",
                    number, self._interval_s, error,
                )  # fmt: skip
            self._failing.add(number)
            return
        if not stopped.is_set():
            self._uploaded_at[number] = at
            self._failing.discard(number)
