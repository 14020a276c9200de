"""PartitionerCheck: do both topics put a key into the same partition? A pair that does not meet is never joined in time.

Any partitioner will do as long as both topics share it. The usual ones are recognised by where sampled keys lie.
"""

import zlib
from collections.abc import Callable, Sequence

from aiokafka.partitioner import murmur2

LEAST = 100
"""Keys of a topic that are looked at before anything is said: by chance alone a wrong partitioner fits one key in n."""
THEN = 8
"""Keys of a batch that are looked at once there were enough: each costs some microseconds."""
MOST = 10_000
"""Keys after which counting starts anew, so that a producer that changes is noticed."""


def _fnv1a(key: bytes) -> int:
    found = 0x811C9DC5
    for byte in key:
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return abs(found - (1 << 32) if found >= 1 << 31 else found)


PARTITIONERS: dict[str, Callable[[bytes], int]] = {
    "murmur2 (Java, aiokafka, murmur2_random)": lambda key: murmur2(key) & 0x7FFFFFFF,
    "CRC-32 (librdkafka's default)": zlib.crc32,
    "FNV-1a (Sarama, fnv1a_random)": _fnv1a,
}


class PartitionerCheck:
    """Counts for each topic how many sampled keys lie where each known partitioner would put them.

    >>> check = PartitionerCheck(4)
    >>> keys = [b"key-%d" % i for i in range(200)]
    >>> for key in keys:
    ...     check.add("predictions", [key], zlib.crc32(key) % 4)
    ...     check.add("outcomes", [key], (murmur2(key) & 0x7FFFFFFF) % 4)
    >>> check.problem()[:72]
    "The predictions are partitioned by CRC-32 (librdkafka's default), the ou"
    """

    def __init__(self, partitions: int):
        self._partitions = partitions
        self._seen: dict[str, int] = {}
        self._fits: dict[str, dict[str, int]] = {}

    def add(self, topic: str, keys: Sequence[bytes | None], partition: int) -> None:
        """Takes keys that lie in a partition of `predictions` or `outcomes`."""
        if self._partitions < 2:
            return
        if self._seen.get(topic, 0) >= MOST:
            del self._seen[topic], self._fits[topic]
        fits = self._fits.setdefault(topic, dict.fromkeys(PARTITIONERS, 0))
        if self._seen.get(topic, 0) >= LEAST:
            keys = keys[:THEN]
        for key in keys:
            if key is None:
                continue
            self._seen[topic] = self._seen.get(topic, 0) + 1
            for name, place in PARTITIONERS.items():
                fits[name] += place(key) % self._partitions == partition

    def partitioner(self, topic: str) -> str | None:
        """The partitioner that all sampled keys fit; "another one" where none does, None while too few were seen."""
        seen = self._seen.get(topic, 0)
        if seen < LEAST:
            return None
        # Bad events may have any key: one in twenty may lie elsewhere.
        fitting = [name for name, n in self._fits[topic].items() if n >= 0.95 * seen]
        return fitting[0] if fitting else "another one"

    def problem(self) -> str | None:
        """What differs, and what to do; None where nothing does."""
        predictions, outcomes = self.partitioner("predictions"), self.partitioner("outcomes")
        if predictions is None or outcomes is None or predictions == outcomes:
            return None
        return (
            f"The predictions are partitioned by {predictions}, the outcomes by {outcomes}: pairs do not meet in one "
            "partition, and only the batch joins them. Set partitioner=murmur2_random in both producers."
        )
