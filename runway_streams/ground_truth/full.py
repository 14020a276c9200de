"""The full tier: hourly histograms, as one flat array of counts a (model, version, segment, hour, log hour).

All cells are counts or sums, so merging is addition. A `Layout` says where a family's cells lie; it follows from the
model's settings alone. Records of different layouts (another profile, other labels) never merge.
"""

import hashlib
from dataclasses import dataclass

import msgspec

from runway_streams.ground_truth.settings import Settings
from schemas.model_settings import BinProfile

SCORE_BINS = 256
"""Equal-width score bins by class, for the AUC; its error is at most half of what ties within a bin can hold."""
CALIBRATION_BINS = 10
"""Equal-width bins of the expected calibration error: cells n, sum of scores, positives."""
CLASS_BINS = 64
"""Score bins of each declared label of a multiclass model (one against the rest)."""


@dataclass(frozen=True)
class Layout:
    """`families`: name -> (first cell, cells); `size`: all cells; `digest` names the layout.

    Families: `score_class` (negatives' SCORE_BINS, then the positives'), `calibration` (CALIBRATION_BINS x 3),
    `class:LABEL` (rest, then LABEL, CLASS_BINS each), `feature:NAME` (the profile's bins, then NULL, OTHER),
    `score` (the profile's bins of the score or value) and `joint` (score bins x outcome bins, row-major).
    """

    families: dict[str, tuple[int, int]]
    size: int
    digest: str
    packed: msgspec.Raw
    """The families as they stand in every record of the layout."""

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        """The layout that a model's settings ask for.

        >>> Layout.of(Settings("m", task="binary")).families
        {'score_class': (0, 512), 'calibration': (512, 30)}
        """
        sizes = dict(_families(settings))
        families, first = {}, 0
        for name, size in sizes.items():
            families[name] = (first, size)
            first += size
        named = repr((sorted(sizes.items()), settings.profile_digest)).encode()
        packed = msgspec.Raw(msgspec.msgpack.encode(families))
        return cls(families, first, hashlib.sha256(named).hexdigest()[:12], packed)


def bins(profile: BinProfile) -> int:
    """How many bins a profile's variable has, NULL and OTHER not counted."""
    return len(profile.counts)


def _families(settings: Settings) -> list[tuple[str, int]]:
    """Labels and features by name: settings that name them in another order have the same layout, not only its digest."""
    families = []
    if settings.task != "regression":
        families += [("calibration", CALIBRATION_BINS * 3)]
        if settings.task == "multiclass":
            families += [(f"class:{label}", 2 * CLASS_BINS) for label in sorted(settings.labels)]
        else:
            families.insert(0, ("score_class", 2 * SCORE_BINS))
    profile = settings.profile
    if profile:
        families += [(f"feature:{name}", bins(feature) + 2) for name, feature in sorted(profile.features.items())]
        if profile.score:
            families.append(("score", bins(profile.score)))
            if profile.outcome:
                families.append(("joint", bins(profile.score) * bins(profile.outcome)))
    return families
