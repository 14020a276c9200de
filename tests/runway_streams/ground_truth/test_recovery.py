"""Recovery: where a partition goes on, and the refusals, each of which names its remedy."""

import pytest

from runway_streams.errors import Refused
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS
from runway_streams.ground_truth.partition_state import FORMAT, PartitionState
from runway_streams.ground_truth.recovery import MAX_INCOMPLETE, LogRange, Plan, check_reach, plan_recovery
from runway_streams.ground_truth.times import HOUR, LIFE
from schemas.metrics_record import Mark

H0 = 480_000
LOG = {PREDICTIONS: LogRange(100, 200), OUTCOMES: LogRange(10, 20)}


def state(predictions=150, outcomes=15, **more):
    return PartitionState(offsets={PREDICTIONS: predictions, OUTCOMES: outcomes}, cluster_id="c", partitions=4, **more)


def mark(closed_before=H0, cluster_id="c"):
    return Mark({}, H0 * HOUR, closed_before, {}, cluster_id=cluster_id)


def plan(state=None, mark=None, log=LOG, cluster_id="c", partitions=4, mark_offsets=None):
    return plan_recovery(state, mark, log, cluster_id, partitions, mark_offsets)


def test_a_first_start_reads_from_the_earliest():
    assert plan() == Plan({PREDICTIONS: 100, OUTCOMES: 10})


@pytest.mark.parametrize("offsets", [(150, 15), (100, 10), (200, 20)])
def test_a_state_within_the_log_goes_on_where_it_was(offsets):
    assert plan(state(*offsets)) == Plan({PREDICTIONS: offsets[0], OUTCOMES: offsets[1]})


def test_a_state_that_lags_its_mark_emits_nothing_until_it_has_caught_up():
    reached = {PREDICTIONS: 180, OUTCOMES: 18}
    assert plan(state(), mark(), mark_offsets=reached) == Plan({PREDICTIONS: 150, OUTCOMES: 15}, wait_for=reached)


def test_a_topic_that_the_state_has_not_read_begins_at_its_beginning():
    only_outcomes = PartitionState(offsets={OUTCOMES: 12})
    assert plan(only_outcomes).offsets == {PREDICTIONS: 100, OUTCOMES: 12}


@pytest.mark.parametrize(
    ("state_", "mark_", "closed_before"),
    [
        (None, mark(), H0),
        (state(50, 15, closed_before=H0 - 5), mark(), H0),
        (state(150, 5, closed_before=H0 + 5), mark(), H0 + 5),
        (state(50, 15, closed_before=H0), None, H0),
    ],
)
def test_a_lost_or_too_old_state_is_rebuilt_from_a_life_before_the_first_open_hour(state_, mark_, closed_before):
    reached = {PREDICTIONS: 180, OUTCOMES: 18}
    found = plan(state_, mark_, mark_offsets=reached)
    assert found == Plan({}, closed_before * HOUR - LIFE, closed_before, reached)


def test_a_rebuild_before_any_hour_was_closed_reads_everything():
    assert plan(None, mark(closed_before=0)).rebuild_from == 0


REBUILD = Plan({}, H0 * HOUR - LIFE, H0, {PREDICTIONS: 180})
NOW = (H0 + 30) * HOUR


def test_a_rebuild_reads_from_the_offsets_of_its_time():
    offsets = {PREDICTIONS: 120, OUTCOMES: 12}
    assert check_reach(REBUILD, offsets, LOG, False, NOW) == Plan(offsets, REBUILD.rebuild_from, H0, {PREDICTIONS: 180})


def test_a_log_that_was_never_cut_reaches_back():
    whole = {PREDICTIONS: LogRange(0, 200), OUTCOMES: LogRange(0, 20)}
    offsets = {PREDICTIONS: 0, OUTCOMES: 0}
    assert check_reach(REBUILD, offsets, whole, False, NOW).offsets == offsets


@pytest.mark.parametrize(
    ("offsets", "named"),
    [
        ((100, 12), "predictions no longer"),
        ((120, 10), "outcomes no longer"),
        ((100, 10), "predictions and outcomes no longer"),
    ],
)
def test_a_log_that_no_longer_reaches_back_refuses_the_partition(offsets, named):
    offsets = dict(zip(LOG, offsets, strict=True))
    with pytest.raises(Refused, match=named) as refused:
        check_reach(REBUILD, offsets, LOG, False, NOW)
    assert "2024" in refused.value.sentence
    assert "RUNWAY_ACCEPT_GAP=1" in refused.value.remedy


def test_an_accepted_gap_marks_its_hours_incomplete():
    offsets = {PREDICTIONS: 100, OUTCOMES: 12}
    found = check_reach(REBUILD, offsets, LOG, True, NOW)
    assert found == Plan(offsets, REBUILD.rebuild_from, H0, {}, tuple(range(H0, H0 + 31)))


def test_the_hours_of_a_gap_are_bounded():
    never_closed = Plan({}, 0, 0)
    found = check_reach(never_closed, {PREDICTIONS: 100, OUTCOMES: 10}, LOG, True, NOW)
    assert len(found.incomplete_hours) == MAX_INCOMPLETE
    assert found.incomplete_hours[-1] == H0 + 30


@pytest.mark.parametrize(
    ("arguments", "sentence", "remedy"),
    [
        ({"state": state(), "cluster_id": "d"}, "state belongs to the Kafka cluster c, this one is d", "RUNWAY_BOOTSTRAP"),
        ({"state": state(), "partitions": 8}, "had 4 partitions and now have 8", "Stop the producers"),
        ({"state": state(predictions=201)}, "read predictions up to offset 201, but the log ends at 200", "Move the state's folder"),
        ({"state": state(format=FORMAT + 1)}, f"format {FORMAT + 1}, this version reads {FORMAT}", "newer version"),
        ({"mark": mark(cluster_id="d")}, "written from the Kafka cluster d, this one is c", "new runway.metrics topic"),
        ({"mark": mark(), "mark_offsets": {OUTCOMES: 21}}, "counts outcomes up to offset 21, but its log ends at 20", "runway topics create"),
    ],
)  # fmt: skip
def test_what_would_be_wrong_is_refused_with_what_to_do(arguments, sentence, remedy):
    with pytest.raises(Refused, match=sentence) as refused:
        plan(**arguments)
    assert remedy in refused.value.remedy


def test_a_cluster_without_a_name_is_not_compared():
    assert plan(state(), mark(cluster_id=""), cluster_id="").rebuild_from is None
