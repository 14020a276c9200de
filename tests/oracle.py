"""The join rule and the metrics once more, slow and obvious: per-id lists and plain loops, nothing taken from the
implementations but their constants. Batch, stream and replay are compared with it."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from runway_streams.ground_truth.full import CALIBRATION_BINS, CLASS_BINS, SCORE_BINS
from runway_streams.ground_truth.slim import CLIP, DELAY_EDGES
from runway_streams.times import BIN, DAY, HOUR, LIFE

FAR = 7 * DAY
END = 2**62


@dataclass(frozen=True)
class P:
    """A valid prediction, read by its settings. `order` is its place in the log among those of equal log time."""

    id: str
    log_time: int
    time: int
    order: tuple[int, int] = (0, 0)
    model: str = "m"
    version: str = ""
    label: str | None = None
    score: float | None = None
    scores: dict[str, float] | None = field(default=None, hash=False)
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    segments: tuple[tuple[str, str], ...] = ()
    task: str | None = None
    window: int = HOUR
    positive: str = "1"
    labels: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class O:  # noqa: E742
    """A valid outcome."""

    id: str
    log_time: int
    time: int
    order: tuple[int, int] = (0, 0)
    label: str = "1"
    value: float | None = None


@dataclass(frozen=True)
class Judged:
    """A prediction that counts, what came of it, and its outcome; `status` is joined, late, early or unmatched."""

    prediction: P
    outcome: O | None
    status: str


def heads(records):
    """The records that count of one id on one topic: the first, and whatever comes more than LIFE after the last that did."""
    found = []
    for record in sorted(records, key=lambda record: (record.log_time, record.order)):
        if not found or record.log_time - found[-1].log_time > LIFE:
            found.append(record)
    return found


def judge(predictions, outcomes, final_before=END, far=True):
    """Every prediction that counts with its verdict. `far=False` is the stream: nothing beyond LIFE."""
    by_id = defaultdict(lambda: ([], []))
    for prediction in predictions:
        by_id[prediction.id][0].append(prediction)
    for outcome in outcomes:
        by_id[outcome.id][1].append(outcome)
    judged = []
    for ps, os in by_id.values():
        judged += _judge_one(heads(ps), heads(os), final_before, far)
    return judged


def _judge_one(ps, os, final_before, far):
    partner = {}
    for p in ps:
        for o in os:
            if o not in partner.values() and abs(o.log_time - p.log_time) <= LIFE:
                partner[p] = o
                break
    near = set(partner)
    for p in ps if far else ():
        for o in os:
            final = max(p.log_time, o.log_time) + LIFE < final_before
            free = p not in partner and o not in partner.values()
            if free and final and abs(o.log_time - p.log_time) <= FAR:
                partner[p] = o
    return [Judged(p, partner.get(p), _status(p, partner.get(p), p in near)) for p in ps]


def _status(p, o, near):
    if o is None:
        return "unmatched"
    delay = o.time - p.time
    if delay < 0:
        return "early"
    return "joined" if near and delay <= p.window else "late"


def rows(judged, width=BIN):
    """(model, version, segment key, segment value, bin in ms, log hour) -> {field: value}, the late ones' as `late_...`."""
    parts = defaultdict(list)
    for one in judged:
        for segment in (("", ""), *one.prediction.segments):
            parts[key_of(one.prediction, segment, width)].append(one)
    return {key: row_of(part) for key, part in parts.items()}


def key_of(p, segment, width):
    return (p.model, p.version, *segment, p.time // width * width, p.log_time // HOUR)


def row_of(part):
    statuses = Counter(one.status for one in part)
    row = {"predictions": len(part)} | {name: statuses[name] for name in ("joined", "late", "early")}
    delays = [one.outcome.time - one.prediction.time for one in part if one.status in ("joined", "late")]
    for i in range(len(DELAY_EDGES) + 1):
        row[f"delay_{i}"] = sum(sum(d > edge for edge in DELAY_EDGES) == i for d in delays)
    row |= _quality([one for one in part if one.status == "joined"], "")
    return row | _quality([one for one in part if one.status == "late"], "late_")


def _quality(part, prefix):
    scored = [found for one in part if (found := truth(one)) is not None]
    numeric = [one for one in part if one.prediction.task in (None, "regression")
               and one.prediction.value is not None and one.outcome.value is not None]  # fmt: skip
    outcomes = [one.outcome.value for one in numeric]
    errors = [one.prediction.value - one.outcome.value for one in numeric]
    given = [one for one in numeric if one.prediction.lower is not None]
    error_mean, error_m2 = _moments(errors)
    outcome_mean, outcome_m2 = _moments(outcomes)
    found = {
        "scored": len(scored),
        "log_loss": math.fsum(-math.log(min(max(p, CLIP), 1 - CLIP)) for p, _ in scored),
        "brier": math.fsum(brier for _, brier in scored),
        "errors": len(errors),
        "error_mean": error_mean, "error_m2": error_m2,
        "outcome_mean": outcome_mean, "outcome_m2": outcome_m2,
        "abs_error": math.fsum(abs(e) for e in errors),
        "ape_n": sum(o != 0 for o in outcomes),
        "ape": math.fsum(abs(e / o) for e, o in zip(errors, outcomes, strict=True) if o != 0),
        "intervals": len(given),
        "covered": sum(one.prediction.lower <= one.outcome.value <= one.prediction.upper for one in given),
        "width": math.fsum(one.prediction.upper - one.prediction.lower for one in given),
    }  # fmt: skip
    return {prefix + name: value for name, value in found.items()}


def truth(one):
    """(probability given to what became true, Brier score), or None where there is no score."""
    p, actual = one.prediction, one.outcome.label
    if p.task in (None, "binary") and p.score is not None:
        given = p.score if actual == p.positive else 1 - p.score
        return given, (1 - given) ** 2
    if p.task == "multiclass" and p.scores:
        brier = math.fsum((s - (label == actual)) ** 2 for label, s in p.scores.items())
        return p.scores.get(actual, 0.0), brier + (actual not in p.scores)
    return None


def _moments(values):
    if not values:
        return 0.0, 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values)


def confusion(judged, width=BIN):
    """(row key..., predicted, actual) -> (joined, late)."""
    cells = Counter()
    for one in judged:
        p = one.prediction
        if one.status in ("joined", "late") and p.label is not None and p.task != "regression":
            for segment in (("", ""), *p.segments):
                cells[(*key_of(p, segment, width), p.label, one.outcome.label), one.status] += 1
    return _by_status(cells)


def histograms(judged):
    """(hourly row key..., family, cell) -> (joined, late)."""
    cells = Counter()
    for one in judged:
        if one.status not in ("joined", "late"):
            continue
        for segment in (("", ""), *(s for s in one.prediction.segments if s[0] in one.prediction.declared)):
            for family, cell, amount in _cells(one):
                cells[(*key_of(one.prediction, segment, HOUR), family, cell), one.status] += amount
    return {key: value for key, value in _by_status(cells).items() if any(value)}


def _cells(one):
    p, actual = one.prediction, one.outcome.label
    if p.task in (None, "binary") and p.score is not None:
        right = actual == p.positive
        yield "score_class", min(int(p.score * SCORE_BINS), SCORE_BINS - 1) + SCORE_BINS * right, 1
        yield from _calibration(p.score, right)
    if p.task == "multiclass" and p.scores:
        for label in p.labels:
            part = min(int(p.scores.get(label, 0.0) * CLASS_BINS), CLASS_BINS - 1)
            yield f"class:{label}", part + CLASS_BINS * (actual == label), 1
        if p.label in p.scores:
            yield from _calibration(p.scores[p.label], p.label == actual)


def _calibration(score, right):
    first = 3 * min(int(score * CALIBRATION_BINS), CALIBRATION_BINS - 1)
    yield "calibration", first, 1
    yield "calibration", first + 1, score
    yield "calibration", first + 2, int(right)


def _by_status(cells):
    found = defaultdict(lambda: [0, 0])
    for (key, status), amount in cells.items():
        found[key][status == "late"] += amount
    return {key: tuple(value) for key, value in found.items()}
