"""The slim tier: five-minute bins of counts, losses and regression moments, as rows of one float64 matrix.

Every cell is additive but the four moments, which merge by Chan, Golub and LeVeque (1979). A row is one bin of one
(model, version, segment, log hour); `FIELDS` names its cells, and the batch view has a column of each name.
"""

import numpy as np
from numpy.typing import NDArray

from runway_streams.times import DAY, HOUR, MINUTE

Rows = NDArray[np.float64]

DELAY_EDGES = (0, 1_000, 5_000, 15_000, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR,
               8 * HOUR, 12 * HOUR, DAY, 3 * DAY)  # fmt: skip
"""Inner edges of the label delay histogram, ms: bin i counts delays with exactly i edges below them (d > edge)."""
DELAYS = tuple(f"delay_{i}" for i in range(len(DELAY_EDGES) + 1))
COUNTS = ("predictions", "joined", "late", "early", *DELAYS)
QUALITY = (
    "scored", "log_loss", "brier",
    "errors", "error_mean", "error_m2", "outcome_mean", "outcome_m2", "abs_error", "ape_n", "ape",
    "intervals", "covered", "width",
)  # fmt: skip
"""`scored` .. `brier`: labelled predictions with a score, and the sums of their losses. `errors` .. `ape`: numeric
predictions with a numeric outcome, e = value - outcome. `ape_n`, `ape`: |e / outcome| where the outcome is not 0."""
FIELDS = COUNTS + QUALITY
INDEX = {name: i for i, name in enumerate(FIELDS)}
WIDTH = len(FIELDS)
CLIP = 1e-15
"""Probabilities are clipped to [CLIP, 1 - CLIP] before the logarithm."""

_N = INDEX["errors"]
_MOMENTS = ((INDEX["error_mean"], INDEX["error_m2"]), (INDEX["outcome_mean"], INDEX["outcome_m2"]))


def empty(rows: int) -> Rows:
    """`rows` rows of nothing, the neutral element of `merge`."""
    return np.zeros((rows, WIDTH))


def merge(rows: Rows, groups: NDArray[np.intp] | None = None, count: int = 1) -> Rows:
    """Merges rows group by group: shape (n, WIDTH) and group numbers below `count` give (count, WIDTH).

    >>> parts = empty(2); parts[:, _N] = 1; parts[:, INDEX["error_mean"]] = [1, 3]
    >>> whole = merge(parts)
    >>> whole[0, [_N, INDEX["error_mean"], INDEX["error_m2"]]].tolist()
    [2.0, 2.0, 2.0]
    """
    if groups is None:
        groups = np.zeros(len(rows), dtype=np.intp)
    width = rows.shape[1]
    cells = (groups[:, np.newaxis] * width + np.arange(width)).ravel()
    # bincount of nothing is of integers.
    merged = np.bincount(cells, rows.ravel(), count * width).astype(np.float64, copy=False).reshape(count, width)
    n = merged[:, _N]
    some = np.maximum(n, 1)
    for mean, m2 in _MOMENTS:
        means = np.bincount(groups, rows[:, _N] * rows[:, mean], count) / some
        spread = rows[:, _N] * (rows[:, mean] - means[groups]) ** 2
        merged[:, mean] = means
        merged[:, m2] = np.bincount(groups, rows[:, m2] + spread, count)
    return merged


def delay_bins(delays: NDArray[np.int64]) -> NDArray[np.intp]:
    """The number of the delay bin of each delay in ms.

    >>> delay_bins(np.array([0, 1, 3_600_000, 3_600_001])).tolist()
    [0, 1, 8, 9]
    """
    return np.searchsorted(np.asarray(DELAY_EDGES), delays, side="left")


def losses(truth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-loss and Brier score of the probability that was given to what became true (binary).

    >>> [x.round(3).tolist() for x in losses(np.array([0.8, 0.5]))]
    [[0.223, 0.693], [0.04, 0.25]]
    """
    return -np.log(np.clip(truth, CLIP, 1 - CLIP)), (1 - truth) ** 2
