"""PartitionState: what a partition knows besides its rows and records; written with them in one batch."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from runway_streams import formats
from runway_streams.errors import Refused


class PartitionState(Struct):
    """`format` is what it, and all that is emitted with it, is written in; `offsets` and `log_times` are by topic,
    `closed_before` is the first log hour that is still open.

    >>> PartitionState.decode(PartitionState(cluster_id="c", offsets={"outcomes": 7}).encode()).offsets
    {'outcomes': 7}
    """

    format: int = 1
    cluster_id: str = ""
    partitions: int = 0
    offsets: dict[str, int] = {}
    log_times: dict[str, int] = {}
    counters: dict[str, int] = {}
    closed_before: int = 0
    incomplete_hours: list[int] = []

    def count(self, name: str, n: int = 1) -> None:
        """Adds to a counter."""
        if n:
            self.counters[name] = self.counters.get(name, 0) + n

    def mark_incomplete(self, hours: Iterable[int]) -> None:
        """Adds log hours that are not whole; closed ones are, and stay so."""
        self.incomplete_hours = sorted({*self.incomplete_hours, *(hour for hour in hours if hour >= self.closed_before)})

    def encode(self) -> bytes:
        """As it is stored."""
        return _encode(self)

    @staticmethod
    def decode(saved: bytes) -> "PartitionState":
        """As it was stored. Raises Refused where another version wrote it, or it is damaged."""
        formats.check_document(saved, "The state")
        try:
            return _decode(saved)
        except msgspec.MsgspecError as error:
            raise Refused(
                f"The state cannot be read: {error}.", "Move the state's folder away: it is rebuilt from the log."
            ) from error


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PartitionState).decode
