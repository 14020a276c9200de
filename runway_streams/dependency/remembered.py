"""Remembered: the last answers about the graph, for the time in which it does not answer. Each tells from when it is."""

from collections import OrderedDict
from typing import Any, TypeVar

import msgspec

MAX_ANSWERS = 1_000
"""Answers that are kept; the one that was asked for longest ago goes first."""
MAX_BYTES = 128 << 20
"""Bytes of all that is kept, questions and answers as JSON: what they take in memory, for they are kept as they are written."""
MAX_AGE_MS = 24 * 3_600_000
"""An older answer is none."""

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Remembered:
    """Answers by question, within MAX_ANSWERS and MAX_BYTES. A question is a tuple that JSON can write.

    >>> answers = Remembered(max_answers=2)
    >>> for name in "abc":
    ...     answers.keep((name,), name.upper(), now=1_000)
    >>> answers.recall(("a",), str, now=1_000), answers.recall(("c",), str, now=3_000)
    (None, ('C', 1000))
    """

    def __init__(self, max_answers: int = MAX_ANSWERS, max_bytes: int = MAX_BYTES):
        self._max_answers, self._max_bytes = max_answers, max_bytes
        self._kept: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()
        self._bytes = 0

    def keep(self, question: tuple, answer: Any, *, now: int) -> None:
        """Keeps an answer that was given now (epoch ms), unless it alone has too many bytes."""
        key, text = _encode(question), _encode(answer)
        self._forget(key)
        self._kept[key] = text, now
        self._bytes += len(key) + len(text)
        while len(self._kept) > self._max_answers or self._bytes > self._max_bytes:
            self._forget(key if len(key) + len(text) > self._max_bytes else next(iter(self._kept)))

    def recall(self, question: tuple, kind: type[T], *, now: int) -> tuple[T, int] | None:
        """The last answer to a question, of the type that it has, and when it was given."""
        key = _encode(question)
        if key not in self._kept:
            return None
        text, at = self._kept[key]
        if now - at > MAX_AGE_MS:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return msgspec.json.decode(text, type=kind), at

    def _forget(self, key: bytes) -> None:
        if key in self._kept:
            self._bytes -= len(key) + len(self._kept.pop(key)[0])
