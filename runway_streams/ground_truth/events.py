"""Events: raw records of the two topics, decoded, checked and read by their models' settings.

The one door into every layer: the speed layer, the archive and replay all read events through it.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import msgspec
from msgspec import Struct

from runway_streams.ground_truth.join import OutcomeHead, PredictionHead
from runway_streams.ground_truth.labels import canonical_label, number
from runway_streams.ground_truth.readings import read_prediction
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from runway_streams.times import AHEAD, YEAR_ONE, event_time
from schemas.outcome import Outcome
from schemas.prediction import Prediction

MAX_EVENT_BYTES = 256 * 1024
"""A larger event is a bad one: it would push thousands of others out of memory."""
MAX_SEGMENTS = 16
"""Segment keys of one prediction."""
FINITE = 1e300
"""Values and outcomes stay below this, so that their squares and sums stay finite."""


NOT_KEPT: dict[str, Any] = {}
"""Stands for the features of an archived prediction that were hashed or dropped: they cannot be counted again."""


class PredictionEvent(Struct, gc=False):
    """A valid prediction: `head` is what the join keeps of it, read by `settings`, the ones in force at its log time."""

    id: str
    offset: int
    head: PredictionHead
    settings: Settings
    source: Prediction


class OutcomeEvent(Struct, gc=False):
    """A valid outcome: `head` is what the join keeps of it."""

    id: str
    offset: int
    head: OutcomeHead


class BadEvent(Struct, gc=False):
    """An event that could not be used: `reason` is one word for counting, `detail` a sentence for people."""

    offset: int
    log_time: int
    reason: str
    detail: str
    raw: bytes | None


class _Unusable(Exception):
    def __init__(self, reason: str, detail: str):
        self.reason, self.detail = reason, detail


_decode_prediction = msgspec.json.Decoder(Prediction).decode
_decode_outcome = msgspec.json.Decoder(Outcome).decode


def read_predictions(
    raws: Sequence[bytes | None], offsets: Sequence[int], log_times: Sequence[int], history: SettingsHistory
) -> tuple[list[PredictionEvent], list[BadEvent]]:
    """Decodes records of `runway.predictions`; `log_times` are the partition's running maximum.

    >>> good, bad = read_predictions(
    ...     [b'{"prediction_id":"a","model_id":"m","timestamp":1,"prediction":true}', b"{"], [7, 8], [1000, 1000],
    ...     SettingsHistory())
    >>> good[0].head.label, good[0].head.time, bad[0].reason, bad[0].offset
    ('1', 1000, 'not_json', 8)
    """
    good: list[PredictionEvent] = []
    bad: list[BadEvent] = []
    for raw, offset, log_time in zip(raws, offsets, log_times, strict=True):
        try:
            good.append(_prediction(raw, offset, log_time, history))
        except _EXPECTED as error:
            bad.append(_bad(error, raw, offset, log_time))
    return good, bad


def read_outcomes(
    raws: Sequence[bytes | None], offsets: Sequence[int], log_times: Sequence[int]
) -> tuple[list[OutcomeEvent], list[BadEvent]]:
    """Decodes records of `runway.outcomes`.

    >>> good, bad = read_outcomes([b'{"prediction_id":"a","timestamp":1,"actual_outcome":2}', None], [1, 2], [0, 0])
    >>> good[0].head.label, good[0].head.value, bad[0].reason
    ('2', 2.0, 'empty')
    """
    good: list[OutcomeEvent] = []
    bad: list[BadEvent] = []
    for raw, offset, log_time in zip(raws, offsets, log_times, strict=True):
        try:
            good.append(_outcome(raw, offset, log_time))
        except _EXPECTED as error:
            bad.append(_bad(error, raw, offset, log_time))
    return good, bad


# RecursionError: an event nested a thousand levels deep.
_EXPECTED = (msgspec.DecodeError, _Unusable, OverflowError, RecursionError, ValueError)


def _prediction(raw: bytes | None, offset: int, log_time: int, history: SettingsHistory) -> PredictionEvent:
    if not raw or len(raw) > MAX_EVENT_BYTES:
        raise _size_problem(raw)
    source = _decode_prediction(raw)
    time = event_time(source.timestamp)
    if time > log_time + AHEAD or time < YEAR_ONE:
        raise _misplaced(time, log_time)
    settings = history.at(source.model_id, log_time)
    reading = read_prediction(source.prediction, settings)
    value, lower, upper = reading.value, reading.lower, reading.upper
    if value is not None and not -FINITE < value < FINITE:
        raise _Unusable("not_finite", f"prediction: {value} is not a finite number.")
    if lower is not None and not (upper is not None and -FINITE < lower <= upper < FINITE):
        raise _Unusable("invalid", f"prediction.interval: lower {lower} and upper {upper} are no interval.")
    if reading.label is None and value is None and reading.score is None:
        raise _Unusable("invalid", f"prediction: says nothing that a {settings.task or 'model'} can use.")
    segment = source.segment
    pairs = tuple(sorted(segment.items())[:MAX_SEGMENTS]) if segment else ()
    interval = None if lower is None or upper is None else (lower, upper)
    head = PredictionHead(
        log_time, crc32(raw), False, time, source.model_id, source.model_version or "",
        reading.label, reading.score, value, pairs, interval, reading.scores,
    )  # fmt: skip
    return PredictionEvent(source.prediction_id, offset, head, settings, source)


def _outcome(raw: bytes | None, offset: int, log_time: int) -> OutcomeEvent:
    if not raw or len(raw) > MAX_EVENT_BYTES:
        raise _size_problem(raw)
    source = _decode_outcome(raw)
    time = event_time(source.timestamp)
    if time > log_time + AHEAD or time < YEAR_ONE:
        raise _misplaced(time, log_time)
    actual = source.actual_outcome
    value = number(actual)
    if value is not None and not -FINITE < value < FINITE:
        raise _Unusable("not_finite", f"actual_outcome: {value} is not a finite number.")
    if value is None and isinstance(actual, float):
        raise _Unusable("not_finite", f"actual_outcome: {actual} is not a finite number.")
    head = OutcomeHead(log_time, crc32(raw), False, time, canonical_label(actual), value)
    return OutcomeEvent(source.prediction_id, offset, head)


def _size_problem(raw: bytes | None) -> _Unusable:
    if not raw:
        return _Unusable("empty", "The record has no value.")
    return _Unusable("too_large", f"The event has {len(raw)} bytes; at most {MAX_EVENT_BYTES} are taken.")


def _misplaced(time: int, log_time: int) -> _Unusable:
    if time < YEAR_ONE:
        return _Unusable("invalid", f"timestamp: {time} ms lies before the year 1.")
    return _Unusable("ahead", f"timestamp {time} lies {(time - log_time) // 1000} s ahead of the log's {log_time}.")


def _bad(error: Exception, raw: bytes | None, offset: int, log_time: int) -> BadEvent:
    match error:
        case _Unusable():
            reason, detail = error.reason, error.detail
        case OverflowError() | msgspec.ValidationError() if isinstance(error, OverflowError) or "out of range" in str(error):
            reason, detail = "not_finite", str(error)
        case msgspec.ValidationError():
            reason, detail = "invalid", str(error)
        case _:
            reason, detail = "not_json", str(error)
    return BadEvent(offset, log_time, reason, detail, raw)


def features_of(event: PredictionEvent) -> dict[str, Any]:
    """The features as they came; empty where there were none."""
    return event.source.features or {}
