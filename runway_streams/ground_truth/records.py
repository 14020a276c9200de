"""Records and keys of `runway.metrics`: numpy arrays to bytes and back, for those who write and read them.

The formats are described by the types in `schemas.metrics_record`. A slim record of five joined minutes is ~150 bytes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from runway_streams import formats
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.slim import WIDTH, Rows
from runway_streams.times import BINS_PER_HOUR
from schemas.metrics_record import FullRecord, Mark, SlimRecord

CELLS = BINS_PER_HOUR * WIDTH
MASK_BYTES = (CELLS + 7) // 8
MARK_KEY = b'["mark"]'
RECORD = "A record of runway.metrics"

Sent = TypeVar("Sent", SlimRecord, FullRecord)

Confusion = Sequence[tuple[int, str, str, int]]
"""(bin of the hour, predicted label, actual label, count)."""


class Key(NamedTuple):
    """Whose record it is: `kind` is slim, full or mark; hours count from the epoch; ("", "") is the total's segment."""

    kind: str
    model: str = ""
    version: str = ""
    segment_key: str = ""
    segment_value: str = ""
    event_hour: int = 0
    log_hour: int = 0
    digest: str = ""


class Slim(NamedTuple):
    """An unpacked slim record: `matrix` is (12, WIDTH) in the order of `slim.FIELDS`."""

    matrix: Rows
    confusion: list[tuple[int, str, str, int]]
    partial: bool


class Full(NamedTuple):
    """An unpacked full record: each family's cells, and serialised sketches by feature."""

    families: dict[str, NDArray[np.float64]]
    sketches: dict[str, bytes]


_encode_key = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(list[str | int]).decode
_encode = msgspec.msgpack.Encoder().encode
_decode_slim = msgspec.msgpack.Decoder(SlimRecord).decode
_decode_full = msgspec.msgpack.Decoder(FullRecord).decode
_decode_mark = msgspec.msgpack.Decoder(Mark).decode


def slim_key(model: str, version: str, segment_key: str, segment_value: str, event_hour: int, log_hour: int) -> bytes:
    """The key of an hour's slim record.

    >>> slim_key("m", "7", "", "", 480000, 480001)
    b'["slim","m","7","","",480000,480001]'
    """
    return _encode_key(("slim", model, version, segment_key, segment_value, event_hour, log_hour))


def full_key(
    model: str, version: str, segment_key: str, segment_value: str, event_hour: int, log_hour: int, digest: str
) -> bytes:
    """The key of an hour's histograms in the layout that `digest` names.

    >>> parse_key(full_key("m", "7", "carrier", "AA", 1, 2, "d"))
    Key(kind='full', model='m', version='7', segment_key='carrier', segment_value='AA', event_hour=1, log_hour=2, digest='d')
    """
    return _encode_key(("full", model, version, segment_key, segment_value, event_hour, log_hour, digest))


def mark_key() -> bytes:
    """The key of a partition's mark."""
    return MARK_KEY


def parse_key(key: bytes | None) -> Key | None:
    """The parts of a key; None for a kind that this version does not know, which a reader skips.

    >>> parse_key(mark_key()), parse_key(b'["other",1]'), parse_key(None)
    (Key(kind='mark', model='', version='', segment_key='', segment_value='', event_hour=0, log_hour=0, digest=''), None, None)
    """
    try:
        parts = _decode_key(key or b"")
    except msgspec.MsgspecError:
        return None
    sizes = {"slim": 7, "full": 8, "mark": 1}
    if not parts or sizes.get(str(parts[0])) != len(parts):
        return None
    return Key(*parts)  # type: ignore[arg-type]


def pack_slim(matrix: Rows, confusion: Confusion = (), partial: bool = False) -> bytes:
    """The record of one hour; `matrix` is (12, WIDTH).

    >>> from runway_streams.ground_truth import slim
    >>> matrix = slim.empty(12); matrix[3, slim.INDEX["predictions"]] = 5
    >>> record = unpack_slim(pack_slim(matrix, [(3, "1", "0", 2)]))
    >>> bool((record.matrix == matrix).all()), record.confusion, record.partial
    (True, [(3, '1', '0', 2)], False)
    """
    return pack_slim_many(matrix[np.newaxis], [confusion], [partial])[0]


def pack_slim_many(
    matrices: Rows,
    confusions: Sequence[Confusion] | None = None,
    partials: Sequence[bool] | None = None,
    written_in: int = 1,
) -> list[bytes]:
    """The records of many hours at once: `matrices` is (m, 12, WIDTH), `written_in` their format. About 2 us each for
    thousands."""
    count = len(matrices)
    flat = np.ascontiguousarray(matrices, dtype="<f8").reshape(count, CELLS)
    filled = flat != 0
    masks = np.packbits(filled, axis=1).tobytes()
    values = flat.reshape(-1)[np.flatnonzero(filled)].tobytes()
    ends = (8 * np.cumsum(np.count_nonzero(filled, axis=1))).tolist()
    confusions = [()] * count if confusions is None else confusions
    partials = [False] * count if partials is None else partials
    records, start = [], 0
    for i, end in enumerate(ends):
        mask = masks[i * MASK_BYTES : (i + 1) * MASK_BYTES]
        records.append(_encode((written_in, mask, values[start:end], confusions[i], bool(partials[i]))))
        start = end
    return records


def unpack_slim(record: bytes) -> Slim:
    """The hour of a slim record."""
    found = read_slim(record)
    return Slim(_matrices([found])[0], found.confusion, found.partial)


def unpack_slim_many(records: Sequence[bytes]) -> tuple[Rows, list[SlimRecord]]:
    """The hours of many slim records at once, (m, 12, WIDTH), and the decoded records for their other fields."""
    found = [read_slim(record) for record in records]
    return _matrices(found), found


def read_slim(record: bytes) -> SlimRecord:
    """A slim record as it was sent. Raises OtherFormat where this version does not read it."""
    return _read(_decode_slim, record)


def _matrices(records: Sequence[SlimRecord]) -> Rows:
    masks = np.frombuffer(b"".join(record.mask for record in records), dtype=np.uint8).reshape(-1, MASK_BYTES)
    filled = np.unpackbits(masks, axis=1, count=CELLS).astype(bool)
    flat = np.zeros((len(records), CELLS))
    flat[filled] = np.frombuffer(b"".join(record.values for record in records), dtype="<f8")
    return flat.reshape(len(records), BINS_PER_HOUR, WIDTH)


def pack_full(layout: Layout, cells: NDArray[np.float64], sketches: dict[str, bytes] | None = None) -> bytes:
    """The record of an hour's histograms; `cells` is one flat array of `layout.size`.

    >>> from runway_streams.ground_truth.settings import Settings
    >>> layout = Layout.of(Settings("m", task="binary"))
    >>> cells = np.zeros(layout.size); cells[2] = 5
    >>> unpack_full(pack_full(layout, cells)).families["score_class"][:4].tolist()
    [0.0, 0.0, 5.0, 0.0]
    """
    return pack_full_many([layout], cells[np.newaxis], sketches)[0]


def pack_full_many(
    layouts: Sequence[Layout],
    cells: NDArray[np.float64],
    sketches: dict[str, bytes] | None = None,
    written_in: int = 1,
) -> list[bytes]:
    """The records of many hours at once, whose layouts have one size: `cells` is (m, size), `written_in` their format."""
    filled = cells != 0
    # Flat: numpy finds and takes what is filled several times faster than by rows.
    at = np.flatnonzero(filled)
    counts = np.count_nonzero(filled, axis=1)
    first = np.repeat(np.arange(len(layouts)) * cells.shape[1], counts)
    columns = (at - first).astype("<u4").tobytes()
    values = cells.reshape(-1)[at].astype("<f8").tobytes()
    ends = np.cumsum(counts).tolist()
    records, start = [], 0
    for layout, end in zip(layouts, ends, strict=True):
        parts = columns[4 * start : 4 * end], values[8 * start : 8 * end]
        records.append(_encode((written_in, layout.packed, *parts, sketches or {})))
        start = end
    return records


def unpack_full(record: bytes) -> Full:
    """The families of a full record, each as an array of its own cells."""
    found = _read(_decode_full, record)
    flat = np.zeros(max((first + size for first, size in found.families.values()), default=0))
    flat[np.frombuffer(found.cells, dtype="<u4")] = np.frombuffer(found.values, dtype="<f8")
    return Full({name: flat[first : first + size] for name, (first, size) in found.families.items()}, found.sketches)


def cells_of(record: bytes, families: Sequence[str]) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The filled cells of some families, family -> (cells from the family's first on, values): what is left out costs nothing.

    >>> from runway_streams.ground_truth.settings import Settings
    >>> layout = Layout.of(Settings("m", task="binary"))
    >>> cells = np.zeros(layout.size); cells[515] = 5
    >>> cells_of(pack_full(layout, cells), ["calibration"])
    {'calibration': (array([3]), array([5.]))}
    """
    found = _read(_decode_full, record)
    cells, values = np.frombuffer(found.cells, dtype="<u4"), np.frombuffer(found.values, dtype="<f8")
    parts = {}
    for name in families:
        first, size = found.families[name]
        low, high = np.searchsorted(cells, (first, first + size))
        parts[name] = (cells[low:high].astype(np.int64) - first, values[low:high])
    return parts


def family_names(record: bytes) -> list[str]:
    """The families of a full record."""
    return list(_read(_decode_full, record).families)


def pack_mark(mark: Mark) -> bytes:
    """The record of a mark."""
    return _encode(mark)


def unpack_mark(record: bytes) -> Mark:
    """The mark of a record. Raises OtherFormat where this version does not read it.

    >>> unpack_mark(pack_mark(Mark({"runway.predictions": 3}, 1000, 5, {"events": 3}))).offsets
    {'runway.predictions': 3}
    """
    formats.check_document(record, "A partition's mark in runway.metrics")
    return _decode_mark(record)


def glance_at_mark(record: bytes) -> Mark:
    """The mark of a record; of one that this version does not read, its format alone.

    >>> glance_at_mark(msgspec.msgpack.encode({"format": 99, "offsets": "elsewhere"})).format
    99
    """
    try:
        return unpack_mark(record)
    except formats.OtherFormat as other:
        return Mark({}, 0, 0, {}, format=other.number)


def _read(decode: Callable[[bytes], Sent], record: bytes) -> Sent:
    try:
        found = decode(record)
    except msgspec.MsgspecError:
        formats.check_array(record, RECORD)
        raise
    formats.check(found.format, RECORD)
    return found
