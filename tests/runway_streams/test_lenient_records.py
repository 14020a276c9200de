"""Header names that are not UTF-8: the records around them are read as they are, compressed or not."""

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from runway_streams.lenient_records import LenientRecords


class NoText(str):
    """A header's name that goes out as other bytes."""

    def encode(self, *_):
        return b"\xff\xfe"


def batch(names: list[str], compression: int = 0, first: int = 0) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 20)
    for i, name in enumerate(names):
        builder.append(i, 1000 + i, b"k%d" % i, b"v%d" % (first + i), [("own", b"\xff"), (name, None)])
    return bytes(builder.build())


def read(raw: bytes, kind=LenientRecords) -> list[tuple]:
    records, found = kind(raw), []
    while records.has_next():
        found += [(r.offset, r.key, r.value, r.headers) for r in records.next_batch()]
    return found


@pytest.mark.parametrize("compression", [0, 1], ids=["plain", "gzip"])
def test_a_name_that_is_no_text_is_escaped_and_costs_no_other_record(compression: int):
    raw = batch(["a", "b"]) + batch(["c", NoText("xx"), "ä", NoText("xx")], compression, 2) + batch(["d"], 0, 6)
    with pytest.raises(UnicodeDecodeError):
        read(raw, MemoryRecords)
    found = read(raw)
    assert [value for _, _, value, _ in found] == [b"v%d" % i for i in range(7)]
    assert [headers[1][0] for *_, headers in found] == ["a", "b", "c", "\\xff\\xfe", "ä", "\\xff\\xfe", "d"]
    assert all(headers[0] == ("own", b"\xff") and headers[1][1] is None for *_, headers in found)
    assert all(type(key) is bytes and type(value) is bytes for _, key, value, _ in found)


def test_records_in_text_are_read_as_by_the_parser_itself():
    raw = batch(["a", "b"]) + batch(["c"], 1)
    assert read(raw) == read(raw, MemoryRecords)
