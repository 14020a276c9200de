"""PlainPickle reads plain values as pickle does, and nothing else, whatever the bytes."""

import gzip
import os
import pickle
import pickletools
import zlib
from collections import OrderedDict
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency.metaflow.plain_pickle import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_VALUES,
    NotPlain,
    read_plain,
    unzip_pickle,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters())
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=40
)
PROTOCOLS = st.integers(2, 5)


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@given(PLAIN, PROTOCOLS)
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    assert repr(read_plain(pickle.dumps(value, protocol))) == repr(value)


@given(PLAIN, PROTOCOLS)
def test_a_value_that_occurs_twice_is_read_twice(value, protocol):
    inner = [value]
    data = pickle.dumps({"a": inner, "b": [inner, inner]}, protocol)
    assert repr(read_plain(data)) == repr(pickle.loads(data))


@given(st.binary(max_size=200))
def test_no_bytes_crash_it(data):
    for start in (b"", b"\x80\x04", b"\x80\x02"):
        try:
            found = read_plain(start + data)
        except NotPlain:
            continue
        assert repr(found) == repr(pickle.loads(start + data))


@given(PLAIN, PROTOCOLS, st.data())
def test_a_changed_pickle_is_refused_or_read_as_pickle_reads_it(value, protocol, data):
    changed = bytearray(pickle.dumps(value, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_plain(bytes(changed))
    except NotPlain:
        return
    assert all(name not in names(bytes(changed)) for name in ("GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "BUILD"))
    try:
        expected = pickle.loads(bytes(changed))  # only opcodes of plain values are in it by now
    except (pickle.UnpicklingError, EOFError, ValueError):
        return  # a frame's length, which is not looked at here
    assert repr(found) == repr(expected)


def names(data: bytes) -> set[str]:
    return {opcode.name for opcode, _, _ in pickletools.genops(data)}


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "value",
    [(), (1, 2), {1}, frozenset(), b"bytes", bytearray(b"x"), print, Decimal(1), OrderedDict(), 1j, range(3), [{"a": (1,)}]],
    ids=repr,
)
def test_anything_else_is_refused(value, protocol):
    with pytest.raises(NotPlain):
        read_plain(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", range(6))
def test_what_would_run_code_runs_nothing(tmp_path, protocol):
    left = tmp_path / "left"
    for value in (Trap(str(left)), {"runway_lineage": Trap(str(left))}, [Trap(str(left))]):
        with pytest.raises(NotPlain):
            read_plain(pickle.dumps(value, protocol))
    assert not left.exists()


def test_older_protocols_are_refused():
    for protocol in (0, 1):
        with pytest.raises(NotPlain, match="protocol 2"):
            read_plain(pickle.dumps({"a": 1}, protocol))


def test_a_value_that_holds_itself_is_refused():
    own: list = []
    own.append(own)
    mapping: dict = {}
    mapping["a"] = [mapping]
    for value in (own, mapping):
        with pytest.raises(NotPlain, match="holds itself"):
            read_plain(pickle.dumps(value))


def test_a_small_pickle_cannot_become_a_huge_value():
    value: list = ["x"] * 10
    for _ in range(12):
        value = [value] * 10
    with pytest.raises(NotPlain, match=str(MAX_VALUES)):
        read_plain(pickle.dumps(value))


def test_depth_and_numbers_are_bounded():
    value: list = []
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert read_plain(pickle.dumps(value)) == value
    with pytest.raises(NotPlain, match="levels deep"):
        read_plain(pickle.dumps([value]))
    deep = b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."
    with pytest.raises(NotPlain, match="levels deep"):
        read_plain(deep)
    assert read_plain(pickle.dumps(MAX_INTEGER - 1)) == MAX_INTEGER - 1
    with pytest.raises(NotPlain, match="4096 bits"):
        read_plain(pickle.dumps(-MAX_INTEGER))


def test_opcodes_and_bytes_are_bounded():
    with pytest.raises(NotPlain, match="opcodes"):
        read_plain(b"\x80\x04" + b"N" * 300_000 + b".")
    with pytest.raises(NotPlain, match="1 MiB"):
        read_plain(pickle.dumps("x" * MAX_BYTES))


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"\x80\x04.", b"\x80\x04NN.", b"\x80\x04N.N", b"\x80\x04(N.", b"\x80\x04a.", b"\x80\x04u.",
             b"\x80\x04}]Ns.", b"\x80\x04h\x05.", b"\x80\x04]N\x80\x04a.", b"\x80\x09N.", b"\x80\x04\x94.", b"\x80\x04]}a(Nu."],
)  # fmt: skip
def test_broken_pickles_are_refused(data):
    with pytest.raises(NotPlain):
        read_plain(data)


def test_a_gzip_file_is_unpacked_up_to_a_bound():
    assert unzip_pickle(gzip.compress(b"abc")) == b"abc"
    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    assert len(bomb) < MAX_BYTES
    with pytest.raises(NotPlain, match="1 MiB"):
        unzip_pickle(bomb)
    for bad in (b"", b"abc", gzip.compress(b"abc")[:-4], gzip.compress(b"a") + b"more", zlib.compress(b"abc")):
        with pytest.raises(NotPlain):
            unzip_pickle(bad)
