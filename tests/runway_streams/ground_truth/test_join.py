"""The join rule: whatever the order in which the two topics are read, the pairs are those of the oracle."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.ground_truth.join import (
    MARGIN,
    OutcomeHead,
    PredictionHead,
    Row,
    prune,
    status_of,
    take_outcome,
    take_prediction,
)
from runway_streams.times import HOUR, LIFE
from tests.oracle import O, P, heads, judge

gaps = st.sampled_from([0, 1, HOUR, LIFE // 2, LIFE - 1, LIFE, LIFE + 1, LIFE + HOUR])
encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Row).decode


def log_of(gaps, record):
    log_time, found = 0, []
    for i, gap in enumerate(gaps):
        log_time += gap
        found.append(record("a", log_time, time=i, order=(0, i)))
    return found


logs = st.lists(gaps, max_size=7)


@given(logs, logs, st.randoms())
def test_every_interleaving_makes_the_pairs_of_the_oracle(prediction_gaps, outcome_gaps, order):
    predictions, outcomes = log_of(prediction_gaps, P), log_of(outcome_gaps, O)
    row, pairs, news = Row(), [], []
    left = [iter(predictions), iter(outcomes)]
    turns = [0] * len(predictions) + [1] * len(outcomes)
    order.shuffle(turns)
    for turn in turns:
        record = next(left[turn])
        if turn == 0:
            verdict, other = take_prediction(row, PredictionHead(record.log_time, 0, time=record.time))
            pair = (record.time, other and other.time)
        else:
            verdict, other = take_outcome(row, OutcomeHead(record.log_time, 0, time=record.time))
            pair = (other and other.time, record.time)
        news += [record] if verdict in ("new", "matched") else []
        pairs += [pair] if verdict == "matched" else []
        row = decode(encode(row))
    judged = judge(predictions, outcomes, far=False)
    assert sorted(pairs) == sorted((one.prediction.time, one.outcome.time) for one in judged if one.outcome)
    assert set(news) == {*heads(predictions), *heads(outcomes)}
    assert row.last == max((record.log_time for record in news), default=0)


@given(logs, logs)
def test_heads_that_nothing_can_reach_may_be_pruned_at_any_time(prediction_gaps, outcome_gaps):
    log = [(p.log_time, 0, p) for p in log_of(prediction_gaps, P)] + [(o.log_time, 1, o) for o in log_of(outcome_gaps, O)]
    whole, pruned, unmatched = Row(), Row(), 0
    for log_time, side, record in sorted(log, key=lambda one: one[:2]):
        unmatched += prune(pruned, log_time - LIFE - MARGIN)
        if side == 0:
            answers = [take_prediction(row, PredictionHead(log_time, 0, time=record.time)) for row in (whole, pruned)]
        else:
            answers = [take_outcome(row, OutcomeHead(log_time, 0, time=record.time)) for row in (whole, pruned)]
        assert answers[0] == answers[1]
        assert len(pruned.predictions) <= 2
        assert len(pruned.outcomes) <= 2
    unmatched += prune(pruned, 10**15)
    assert unmatched == sum(not outcome.settled for outcome in whole.outcomes)


def test_a_copy_within_life_is_a_duplicate_and_with_other_content_a_conflict():
    row = Row()
    assert take_prediction(row, PredictionHead(0, 7))[0] == "new"
    assert take_prediction(row, PredictionHead(LIFE, 7))[0] == "duplicate"
    assert take_prediction(row, PredictionHead(LIFE, 8))[0] == "conflict"
    assert take_prediction(row, PredictionHead(LIFE + 1, 7))[0] == "new"
    assert take_outcome(row, OutcomeHead(0, 1))[0] == "matched"
    assert take_outcome(row, OutcomeHead(0, 1))[0] == "duplicate"
    assert take_outcome(row, OutcomeHead(0, 2))[0] == "conflict"


def test_an_outcome_that_comes_first_waits_for_its_prediction():
    row = Row()
    assert take_outcome(row, OutcomeHead(0, 1, label="late")) == ("new", None)
    verdict, outcome = take_prediction(row, PredictionHead(LIFE, 1))
    assert (verdict, outcome.label) == ("matched", "late")


def test_life_is_symmetric_and_its_end_belongs_to_it():
    for early, late in ((take_prediction, take_outcome), (take_outcome, take_prediction)):
        head = {take_prediction: PredictionHead, take_outcome: OutcomeHead}
        for distance, verdict in ((LIFE, "matched"), (LIFE + 1, "new")):
            row = Row()
            early(row, head[early](0, 1))
            assert late(row, head[late](distance, 2))[0] == verdict


def test_a_settled_row_keeps_no_more_than_it_needs():
    row = Row()
    take_prediction(row, PredictionHead(1, 2, time=3, model="m", scores={"a": 1.0}))
    take_outcome(row, OutcomeHead(4, 5, time=6, label="x" * 200))
    assert row == Row(4, (PredictionHead(1, 2, True),), (OutcomeHead(4, 5, True),))
    assert len(encode(row)) < 30


@pytest.mark.parametrize(("delay", "status"), [(-1, "early"), (0, "joined"), (HOUR, "joined"), (HOUR + 1, "late")])
def test_a_pair_is_judged_by_its_delay(delay, status):
    assert status_of(delay, HOUR) == status
