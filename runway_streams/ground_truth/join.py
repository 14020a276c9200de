"""The join rule, on one row: what a prediction id has seen so far.

The first prediction of an id and its first outcome in the log count; they are its *heads*. A copy within LIFE of a head
is a duplicate; one past LIFE starts a new head. Each new head takes the earliest unsettled head of the other side
within LIFE. Both topics keep their order and |L_o - L_p| <= LIFE is symmetric, so every interleaving of the two makes the
same pairs (tests/runway_streams/ground_truth/test_join.py).

Bound: heads of one side lie more than LIFE apart, those that nothing can reach any more are pruned when the row is read,
and a row is freed LIFE + MARGIN after its last: so a row has two heads a side, unless one topic is read more than LIFE
ahead of the other.
"""

from typing import Literal

from msgspec import Struct

from runway_streams.times import LIFE, MINUTE

MARGIN = 10 * MINUTE
"""Rows are kept this much longer than they can join, so that a copy just within LIFE still finds its head."""

Status = Literal["joined", "late", "early"]
Verdict = Literal["new", "matched", "duplicate", "conflict"]


class PredictionHead(Struct, array_like=True, gc=False, omit_defaults=True):
    """A first prediction; once settled only its log time and digest are kept. `digest` is the CRC-32 of the raw event."""

    log_time: int
    digest: int
    settled: bool = False
    time: int = 0
    model: str = ""
    version: str = ""
    label: str | None = None
    score: float | None = None
    value: float | None = None
    segment: tuple[tuple[str, str], ...] = ()
    interval: tuple[float, float] | None = None
    scores: dict[str, float] | None = None


class OutcomeHead(Struct, array_like=True, gc=False, omit_defaults=True):
    """A first outcome."""

    log_time: int
    digest: int
    settled: bool = False
    time: int = 0
    label: str = ""
    value: float | None = None


class Row(Struct, array_like=True, gc=False):
    """What one prediction id has seen within LIFE: the heads of both sides, in log order.

    `last` is the log time of the newest: when the clock has passed it by LIFE + MARGIN, the row can be freed.
    """

    last: int = 0
    predictions: tuple[PredictionHead, ...] = ()
    outcomes: tuple[OutcomeHead, ...] = ()


def take_prediction(row: Row, head: PredictionHead) -> tuple[Verdict, OutcomeHead | None]:
    """Adds a prediction to its row, in place; a match returns the outcome that had waited for it.

    >>> row = Row()
    >>> take_prediction(row, PredictionHead(0, 1)), take_prediction(row, PredictionHead(5, 1))[0]
    (('new', None), 'duplicate')
    """
    if row.predictions and (copy := _copy_of(row.predictions, head)):
        return copy, None
    row.predictions = (*row.predictions, head) if row.predictions else (head,)
    row.last = max(row.last, head.log_time)
    outcome = _first_within_life(row.outcomes, head.log_time) if row.outcomes else None
    if outcome is None:
        return "new", None
    _settle(row, head, outcome)
    return "matched", outcome


def take_outcome(row: Row, head: OutcomeHead) -> tuple[Verdict, PredictionHead | None]:
    """Adds an outcome to its row, in place; a match returns its prediction.

    >>> row = Row(0, (PredictionHead(0, 1, time=7),))
    >>> verdict, prediction = take_outcome(row, OutcomeHead(3, 2))
    >>> verdict, prediction.time, row.predictions[0].settled
    ('matched', 7, True)
    """
    if row.outcomes and (copy := _copy_of(row.outcomes, head)):
        return copy, None
    row.outcomes = (*row.outcomes, head) if row.outcomes else (head,)
    row.last = max(row.last, head.log_time)
    prediction = _first_within_life(row.predictions, head.log_time) if row.predictions else None
    if prediction is None:
        return "new", None
    _settle(row, prediction, head)
    return "matched", prediction


def status_of(delay: int, window: int) -> Status:
    """What a matched pair counts as, by its delay t_outcome - t_prediction and the model's join window (ms).

    >>> status_of(-1, 10), status_of(10, 10), status_of(11, 10)
    ('early', 'joined', 'late')
    """
    if delay < 0:
        return "early"
    return "joined" if delay <= window else "late"


def prune(row: Row, before: int) -> int:
    """Drops heads older than `before`, which nothing can reach any more; returns how many outcomes nobody had claimed.

    >>> row = Row(9, (PredictionHead(0, 1), PredictionHead(9, 1)), (OutcomeHead(1, 2), OutcomeHead(2, 2, True)))
    >>> prune(row, 5), len(row.predictions), len(row.outcomes)
    (1, 1, 0)
    """
    unmatched = sum(head.log_time < before and not head.settled for head in row.outcomes)
    row.predictions = tuple(head for head in row.predictions if head.log_time >= before)
    row.outcomes = tuple(head for head in row.outcomes if head.log_time >= before)
    return unmatched


def _copy_of(heads: tuple, head: PredictionHead | OutcomeHead) -> Verdict | None:
    for other in heads:
        if head.log_time - other.log_time <= LIFE:
            return "duplicate" if head.digest == other.digest else "conflict"
    return None


def _first_within_life(heads: tuple, log_time: int):
    for other in heads:
        if not other.settled and -LIFE <= log_time - other.log_time <= LIFE:
            return other
    return None


def _settle(row: Row, prediction: PredictionHead, outcome: OutcomeHead) -> None:
    """Both heads stay, so that copies are known, but what they said is no longer needed."""
    row.predictions = _replaced(row.predictions, prediction, PredictionHead(prediction.log_time, prediction.digest, True))
    row.outcomes = _replaced(row.outcomes, outcome, OutcomeHead(outcome.log_time, outcome.digest, True))


def _replaced(heads: tuple, old: object, new: object) -> tuple:
    return (new,) if len(heads) == 1 else tuple(new if head is old else head for head in heads)
