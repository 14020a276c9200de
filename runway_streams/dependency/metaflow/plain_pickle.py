"""PlainPickle: reads a pickle that holds one plain value, without ever running what a pickle can run.

Metaflow keeps artifacts as gzipped pickles, and unpickling runs code. Here the opcodes are walked one by one, those that
build plain values are followed, and any other ends the reading. Nothing is imported or called.
"""

import pickletools
import struct
import zlib
from collections.abc import Callable
from typing import Any

from runway_streams.errors import RunwayError

Scalar = str | int | float | bool | None
MAX_BYTES = 1 << 20
"""Bytes of a pickle, before and after decompression."""
MAX_OPCODES = 200_000
MAX_VALUES = 100_000
"""Values in the whole, those that occur twice counted twice, so that no small pickle becomes a huge value."""
MAX_DEPTH = 32
MAX_INTEGER = 1 << 4096
PROTOCOLS = range(2, 6)

_VALUES = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_CONSTANTS: dict[str, Scalar] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class NotPlain(RunwayError):
    """The bytes are no pickle of one plain value, or it is larger than is read."""


def unzip_pickle(stored: bytes) -> bytes:
    """The pickle in a gzip file, of which no more than MAX_BYTES are unpacked. Raises NotPlain."""
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        data = inflate.decompress(stored, MAX_BYTES + 1)
    except zlib.error:
        raise NotPlain("It is not a gzip file.") from None
    if len(data) > MAX_BYTES:
        raise NotPlain(f"It is larger than {MAX_BYTES >> 20} MiB.")
    if not inflate.eof or inflate.unused_data:
        raise NotPlain("It is not one whole gzip file.")
    return data


def read_plain(data: bytes) -> Any:
    """The value of a pickle (protocols 2 to 5) of one string, number, boolean, None, or lists and dicts of them; what
    `pickle.loads` gives. Raises NotPlain for everything else.

    >>> import pickle
    >>> read_plain(pickle.dumps({"auc": [0.9, None]}))
    {'auc': [0.9, None]}
    >>> read_plain(pickle.dumps(print))
    Traceback (most recent call last):
    ...
    runway_streams.dependency.metaflow.plain_pickle.NotPlain: It is not a plain value: it holds STACK_GLOBAL.
    """
    if len(data) > MAX_BYTES:
        raise NotPlain(f"It is larger than {MAX_BYTES >> 20} MiB.")
    machine, count, end = _Machine(), 0, -1
    try:
        for opcode, argument, position in pickletools.genops(data):
            count, end = count + 1, position or 0
            if (count == 1) != (opcode.name == "PROTO") or count > MAX_OPCODES:
                raise NotPlain(f"It is no pickle of protocol 2 or later with at most {MAX_OPCODES} opcodes.")
            machine.follow(opcode.name, argument)
    except (ValueError, OverflowError, AssertionError, struct.error) as error:
        raise NotPlain(f"It is no pickle: {str(error)[:100]}.") from None
    if end + 1 != len(data):
        raise NotPlain("Something follows the pickle's end.")
    return machine.result()


class _Machine:
    """The pickle machine, but for everything that names, calls or builds objects."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        # Of every list and dict by identity: itself, so that identities stay unique, how many values it holds, and how deep.
        self._sizes: dict[int, tuple[Any, int, int]] = {}
        # Those that occur again. A pickler has filled them by then: to add more makes a value that holds itself.
        self._shared: set[int] = set()
        self._steps: dict[str, Callable[[Any], None]] = {
            "PROTO": self._proto,
            "FRAME": self._frame,
            "STOP": lambda nothing: None,
            "MARK": self._mark,
            "EMPTY_LIST": lambda nothing: self._push_new([]),
            "EMPTY_DICT": lambda nothing: self._push_new({}),
            "APPEND": lambda nothing: self._append([self._pop()]),
            "APPENDS": lambda nothing: self._append(self._to_mark()),
            "SETITEM": lambda nothing: self._set([self._pop(), self._pop()][::-1]),
            "SETITEMS": lambda nothing: self._set(self._to_mark()),
            "MEMOIZE": lambda nothing: self._put(len(self._memo)),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "BINGET": self._get,
            "LONG_BINGET": self._get,
        }

    def follow(self, name: str, argument: Any) -> None:
        """Does one opcode, or raises NotPlain."""
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            if isinstance(argument, int) and abs(argument) >= MAX_INTEGER:
                raise NotPlain("It holds a number of more than 4096 bits.")
            self._stack.append(argument)
        elif name in self._steps:
            self._steps[name](argument)
        else:
            raise NotPlain(f"It is not a plain value: it holds {name}.")

    def result(self) -> Any:
        """The one value."""
        if len(self._stack) != 1 or self._marks:
            raise NotPlain("It is no pickle of one value.")
        return self._stack[0]

    def _proto(self, protocol: int) -> None:
        if protocol not in PROTOCOLS:
            raise NotPlain(f"It is a pickle of protocol {protocol}.")

    def _frame(self, size: int) -> None:
        if size > MAX_BYTES:
            raise NotPlain("It is a broken pickle: a frame is longer than the whole.")

    def _mark(self, nothing: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        if not self._marks:
            raise NotPlain("It is a broken pickle: a mark is missing.")
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _pop(self) -> Any:
        if not self._stack:
            raise NotPlain("It is a broken pickle: a value is missing.")
        return self._stack.pop()

    def _push_new(self, value: Any) -> None:
        self._sizes[id(value)] = (value, 1, 1)
        self._stack.append(value)

    def _put(self, index: int) -> None:
        value = self._pop()
        self._memo[index] = value
        self._stack.append(value)

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise NotPlain("It is a broken pickle: it refers to nothing.")
        value = self._memo[index]
        self._stack.append(value)
        self._shared.add(id(value))

    def _append(self, items: list[Any]) -> None:
        target = self._target(list, items)
        target.extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self._target(dict, items)
        if len(items) % 2 or any(isinstance(key, list | dict) for key in items[::2]):
            raise NotPlain("It is a broken pickle: a dict has keys that are none.")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _target(self, kind: type, items: list[Any]) -> Any:
        target = self._stack[-1] if self._stack else None
        if not isinstance(target, kind) or id(target) in self._shared:
            raise NotPlain("It is a broken pickle, or a value that holds itself.")
        sizes = [self._sizes.get(id(item), (None, 1, 0)) for item in items]
        _, size, depth = self._sizes[id(target)]
        size += sum(values for _, values, _ in sizes)
        depth = max([depth, *(deep + 1 for _, _, deep in sizes)])
        if size > MAX_VALUES or depth > MAX_DEPTH:
            raise NotPlain(f"It holds more than {MAX_VALUES} values, or is more than {MAX_DEPTH} levels deep.")
        self._sizes[id(target)] = (target, size, depth)
        return target
