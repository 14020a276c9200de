"""Feature bins: which bin of its reference profile each feature value falls in, for whole batches over many profiles."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from math import isnan
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.labels import canonical_label
from schemas.model_settings import BinProfile, ReferenceProfile


class EdgeTable:
    """The edges of all profiles side by side, one row a variable, padded with infinity: one search bins them all.

    Rows are as wide as the longest needs, a power of two, for the search halves them.

    >>> table = EdgeTable()
    >>> row = table.add([1.0, 2.0])
    >>> table.search(np.array([0.5, 1.0, 1.5, 9.0]), np.full(4, row)).tolist()
    [0, 0, 1, 2]
    """

    def __init__(self) -> None:
        self._edges = np.full((64, 16), np.inf)
        self._rows = 0

    def add(self, edges: Sequence[float]) -> int:
        """Takes a variable's interior edges and returns its row."""
        rows, width = self._edges.shape
        if self._rows == rows:
            self._edges = np.concatenate([self._edges, np.full_like(self._edges, np.inf)])
        while width <= len(edges):
            self._edges = np.concatenate([self._edges, np.full_like(self._edges, np.inf)], axis=1)
            width *= 2
        self._edges[self._rows, : len(edges)] = edges
        self._rows += 1
        return self._rows - 1

    def search(self, values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each value the number of its row's edges below it: a binary search, vectorised over values."""
        flat, step = self._edges.reshape(-1), self._edges.shape[1]
        base = rows * step
        found = base.copy()
        while step > 1:
            step //= 2
            found += np.multiply(values > flat.take(found + (step - 1)), step)
        return found - base


class FeaturePlan:
    """How the events of one layout are binned: made once a layout, used for every event of it.

    `columns` has three rows, an entry each numeric feature: its row in the edge table, its first cell and its NULL cell;
    OTHER, for what is neither a number nor missing, is the cell after NULL.
    """

    def __init__(self, profile: ReferenceProfile, layout: Layout, edges: EdgeTable):
        numeric = {name: feature for name, feature in profile.features.items() if feature.edges is not None}
        self.numeric = tuple(numeric)
        self.get_numeric = _getter(self.numeric)
        families = [layout.families[f"feature:{name}"] for name in numeric]
        self.columns = np.array(
            [
                [edges.add(feature.edges or ()) for feature in numeric.values()],
                [first for first, _ in families],
                [first + size - 2 for first, size in families],
            ],
            dtype=np.int64,
        )
        self.score_row = edges.add(profile.score.edges or ()) if profile.score else -1
        outcome = profile.outcome
        self.outcome_bins = len(outcome.counts) if outcome else 0
        self._outcome_edges = outcome.edges if outcome else None
        self._outcomes = {canonical_label(name): i for i, name in enumerate((outcome and outcome.categories) or ())}
        self.categorical = [
            (name, _category_cells(feature, layout.families[f"feature:{name}"]))
            for name, feature in profile.features.items()
            if feature.edges is None
        ]

    def outcome_bin(self, label: str, value: float) -> int | None:
        """The bin of an outcome, by its label or its number; None where it has none."""
        if self._outcome_edges is None:
            return self._outcomes.get(label)
        return None if isnan(value) else bisect_left(self._outcome_edges, value)

    def category_cells(self, features: Mapping[str, Any]) -> list[int]:
        """The cells that the categorical features of one event count in."""
        found = []
        for name, cells in self.categorical:
            value = features.get(name)
            found.append(cells["null"] if value is None else cells["of"].get(str(value), cells["other"]))
        return found


def numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Feature values as floats: NaN where missing, infinite where not a number.

    >>> numbers([1, None, True, 2.5]).tolist(), numbers(["a", 2]).tolist()
    ([1.0, nan, 1.0, 2.5], [inf, 2.0])
    """
    try:
        found = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        found = np.empty(0)
    # Lists of one length, one a value, would make a matrix.
    return found if found.shape == (len(values),) else np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> float:
    if value is None:
        return np.nan
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return np.inf


def _getter(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    if len(names) == 1:
        name = names[0]
        return lambda features: (features.get(name),)
    if not names:
        return lambda _: ()
    get_all = itemgetter(*names)

    def get(features: Mapping[str, Any]) -> Sequence[Any]:
        try:
            return get_all(features)
        except KeyError:
            return [features.get(name) for name in names]

    return get


def _category_cells(feature: BinProfile, family: tuple[int, int]) -> dict[str, Any]:
    first, size = family
    categories = feature.categories or []
    return {"of": {c: first + i for i, c in enumerate(categories)}, "null": first + size - 2, "other": first + size - 1}
