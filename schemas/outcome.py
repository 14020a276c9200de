"""Outcome: what really happened, written to `runway.outcomes` with the key of its prediction."""

from msgspec import Struct

from schemas.prediction import Id, Label, Timestamp


class Outcome(Struct):
    """The ground truth of one prediction.

    >>> import msgspec
    >>> msgspec.json.decode(b'{"prediction_id":"a","actual_outcome":"late","timestamp":2}', type=Outcome).actual_outcome
    'late'
    """

    prediction_id: Id
    actual_outcome: Label
    timestamp: Timestamp
