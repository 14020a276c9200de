"""The next version, pretended: `python -m tests.faults.next_version worker ground-truth` is `runway worker ground-truth` of a
release that knows one more format, whose states have another shape."""

import msgspec

from runway_streams import formats
from runway_streams.cli import main
from runway_streams.ground_truth.partition_state import PartitionState

NEWEST = formats.WRITTEN + 1


def pretend() -> None:
    """Makes this process the next version."""
    formats.NEWEST = NEWEST
    encode, decode = PartitionState.encode, PartitionState.decode

    def encode_anew(state: PartitionState) -> bytes:
        whole = encode(state)
        if state.format < NEWEST:
            return whole
        return msgspec.msgpack.encode({"format": state.format, "offsets": list(state.offsets.items()), "whole": whole})

    def decode_anew(saved: bytes) -> PartitionState:
        found = msgspec.msgpack.decode(saved)
        return decode(found.get("whole", saved))

    PartitionState.encode = encode_anew
    PartitionState.decode = staticmethod(decode_anew)


if __name__ == "__main__":
    pretend()
    main()
