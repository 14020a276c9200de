"""Settings: how a model's events are read, and which settings are in force at a log time."""

import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from runway_streams.errors import RunwayError
from runway_streams.ground_truth.labels import canonical_label
from runway_streams.times import DEFAULT_WINDOW, MAX_WINDOW, MINUTE, parse_duration
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile

NOTICE = MINUTE
"""A change takes effect at least this long after it was published, so that every layer knows it in time."""
ALWAYS = (-(1 << 63), 1 << 63)
"""Before and after every log time."""
DEFAULTS = ModelSettings("m")
"""What a document says that leaves everything out."""
MAX_EDGES = 63
"""Interior edges of a profile's variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One model's settings, checked and ready for use; times in milliseconds."""

    model_id: str
    task: str | None = None
    window: int = DEFAULT_WINDOW
    positive: str = "1"
    negative: str = "0"
    threshold: float = 0.5
    labels: tuple[str, ...] = ()
    segments: frozenset[str] = frozenset()
    features: str = "keep"
    profile: ReferenceProfile | None = None
    profile_digest: str = ""
    effective_from: int = 0

    def label_of(self, score: float) -> str:
        """The label that a bare score stands for: positive at or above the threshold."""
        return self.positive if score >= self.threshold else self.negative

    @classmethod
    def from_document(cls, document: ModelSettings) -> "Settings":
        """Raises RunwayError, with the field's name, where the document contradicts itself.

        >>> Settings.from_document(ModelSettings("m", task="binary", labels=["late", "on_time"], positive_label="late")).negative
        'on_time'
        """
        window = parse_duration(document.join_window)
        if not 0 < window <= MAX_WINDOW:
            raise RunwayError(f"join_window of {document.model_id}: {document.join_window} is not within PT1S and PT24H.")
        labels = [canonical_label(label) for label in document.labels]
        _check_labels(document, labels)
        profile = document.profile
        if profile:
            _check_profile(document.model_id, profile)
        return cls(
            model_id=document.model_id,
            task=document.task,
            window=window,
            positive=canonical_label(document.positive_label),
            negative=_negative_label(document, labels),
            threshold=document.threshold,
            labels=tuple(labels),
            segments=frozenset(document.segments),
            features=document.features,
            profile=profile,
            profile_digest=digest_of(profile) if profile else "",
            effective_from=document.effective_from or 0,
        )


def _check_labels(document: ModelSettings, labels: list[str]) -> None:
    if document.task == "regression":
        _check_regression(document)
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise RunwayError(f"labels of {document.model_id}: {twice!r} is named twice.")
    positive = canonical_label(document.positive_label)
    if document.task != "binary" and labels and positive not in (*labels, DEFAULTS.positive_label):
        raise RunwayError(f"positive_label of {document.model_id}: {positive!r} is not among its labels {labels}.")


def _check_regression(document: ModelSettings) -> None:
    # A default that was given and one that was not look alike; only another value contradicts the task.
    for name in ("labels", "positive_label", "threshold"):
        if getattr(document, name) != getattr(DEFAULTS, name):
            raise RunwayError(f"{name} of {document.model_id}: a regression predicts numbers and has none.")


def _negative_label(document: ModelSettings, labels: list[str]) -> str:
    positive = canonical_label(document.positive_label)
    if document.task != "binary" or (not labels and positive == "1"):
        return "0"
    if len(labels) != 2 or positive not in labels:
        raise RunwayError(
            f"labels of {document.model_id}: a binary model names its two labels, the positive one ({positive!r}) among them."
        )
    return labels[0] if labels[1] == positive else labels[1]


def _check_profile(model_id: str, profile: ReferenceProfile) -> None:
    variables = {f"feature {name}": feature for name, feature in profile.features.items()}
    if profile.score:
        variables["score"] = profile.score
        if profile.score.edges is None:
            raise RunwayError(f"profile of {model_id}: the score has no edges; scores and values are numbers.")
    if profile.outcome:
        variables["outcome"] = profile.outcome
    for name, variable in variables.items():
        problem = _problem_of(variable)
        if problem:
            raise RunwayError(f"profile of {model_id}: the {name} {problem}.")


def _problem_of(variable: BinProfile) -> str:
    edges, categories, counts = variable.edges, variable.categories, variable.counts
    if (edges is None) == (categories is None):
        return "has either edges or categories, not both or neither"
    if edges is None:
        return "" if len(counts) == len(categories or ()) else "has not one count a category"
    if len(edges) > MAX_EDGES:
        return f"has {len(edges)} edges; at most {MAX_EDGES} are taken"
    if any(low > high for low, high in pairwise(edges)):
        return "has edges that do not ascend"
    return "" if len(counts) == len(edges) + 1 else "has not one count a bin: one more than edges"


def digest_of(profile: ReferenceProfile) -> str:
    """Names a reference profile by content, so that counts in different bins are never added up."""
    return hashlib.sha256(msgspec.json.encode(profile, order="deterministic")).hexdigest()[:16]


@dataclass
class SettingsHistory:
    """Every model's settings over log time. Bound: 32 changes a model; the oldest give way. `revision` counts the changes:
    what was remembered of an earlier one may be wrong."""

    _by_model: dict[str, list[Settings]] = field(default_factory=dict)
    _defaults: dict[str, Settings] = field(default_factory=dict)
    revision: int = 0

    CHANGES = 32
    DEFAULTS = 100_000

    def add(self, settings: Settings) -> None:
        """Takes a change; the same one twice is one."""
        changes = self._by_model.get(settings.model_id, [])
        if settings in changes:
            return
        self.revision += 1
        # Of two changes for the same moment the later published one counts. The list is replaced, never changed: a thread
        # that replays the archive may be reading it.
        changes = sorted([*changes, settings], key=lambda change: change.effective_from)
        self._by_model[settings.model_id] = changes[-self.CHANGES :]

    def at(self, model_id: str, log_time: int) -> Settings:
        """The settings in force at a log time; the defaults where nothing was said.

        >>> history = SettingsHistory()
        >>> history.add(Settings("m", window=5, effective_from=100))
        >>> history.at("m", 99).window, history.at("m", 100).window
        (3600000, 5)
        """
        changes = self._by_model.get(model_id)
        if changes:
            if log_time >= changes[-1].effective_from:
                return changes[-1]
            index = bisect_right(changes, log_time, key=lambda change: change.effective_from)
            if index:
                return changes[index - 1]
        found = self._defaults.get(model_id)
        if found is None:
            if len(self._defaults) >= self.DEFAULTS:
                self._defaults.clear()
            found = self._defaults[model_id] = Settings(model_id)
        return found

    def span(self, model_id: str, log_time: int) -> tuple[Settings, int, int]:
        """The settings in force at a log time, and for which log times, [since, until), they are.

        >>> history = SettingsHistory()
        >>> history.add(Settings("m", window=5, effective_from=100))
        >>> history.span("m", 99)[1:] == (ALWAYS[0], 100), history.span("m", 100)[1:] == (100, ALWAYS[1])
        (True, True)
        """
        changes = self._by_model.get(model_id, [])
        index = bisect_right(changes, log_time, key=lambda change: change.effective_from)
        since = changes[index - 1].effective_from if index else ALWAYS[0]
        until = changes[index].effective_from if index < len(changes) else ALWAYS[1]
        return self.at(model_id, log_time), since, until

    def models(self) -> list[str]:
        """The models that somebody has said something about."""
        return sorted(self._by_model)
