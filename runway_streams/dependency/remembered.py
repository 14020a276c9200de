"""Remembered: the last answers about the graph, for the time in which it does not answer. Each tells from when it is."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

MAX_ANSWERS = 1_000
"""Answers that are kept; the one that was asked for longest ago goes first."""
MAX_WEIGHT = 500_000
"""Nodes of all kept answers together."""
MAX_AGE_MS = 24 * 3_600_000
"""An older answer is none."""

T = TypeVar("T")


class Remembered(Generic[T]):
    """Answers by question, within MAX_ANSWERS and MAX_WEIGHT.

    >>> answers = Remembered[str](max_answers=2)
    >>> for name in "abc":
    ...     answers.keep(name, name.upper(), weight=1, now=1_000)
    >>> answers.recall("a", now=1_000), answers.recall("c", now=3_000)
    (None, ('C', 1000))
    """

    def __init__(self, max_answers: int = MAX_ANSWERS, max_weight: int = MAX_WEIGHT):
        self._max_answers, self._max_weight = max_answers, max_weight
        self._kept: OrderedDict[Hashable, tuple[T, int, int]] = OrderedDict()
        self._weight = 0

    def keep(self, question: Hashable, answer: T, *, weight: int, now: int) -> None:
        """Keeps an answer that was given now (epoch ms)."""
        self._forget(question)
        if weight > self._max_weight:
            return
        self._kept[question] = (answer, weight, now)
        self._weight += weight
        while len(self._kept) > self._max_answers or self._weight > self._max_weight:
            self._forget(next(iter(self._kept)))

    def recall(self, question: Hashable, *, now: int) -> tuple[T, int] | None:
        """The last answer to a question, and when it was given."""
        found = self._kept.get(question)
        if found is None:
            return None
        if now - found[2] > MAX_AGE_MS:
            self._forget(question)
            return None
        self._kept.move_to_end(question)
        return found[0], found[2]

    def _forget(self, question: Hashable) -> None:
        found = self._kept.pop(question, None)
        if found is not None:
            self._weight -= found[1]
