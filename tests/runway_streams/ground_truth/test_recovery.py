"""Recovery: where a partition goes on, and the refusals, each of which names its remedy."""

import pytest

from runway_streams.errors import Refused
from runway_streams.formats import NEWEST
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.recovery import (
    MAX_INCOMPLETE,
    Checkpoint,
    LogRange,
    Plan,
    check_reach,
    has_reached,
    plan_recovery,
)
from runway_streams.times import HOUR, LIFE
from schemas.metrics_record import Mark

H0 = 480_000
LOG = {PREDICTIONS: LogRange(100, 200), OUTCOMES: LogRange(10, 20)}


def state(predictions=150, outcomes=15, **more):
    return PartitionState(offsets={PREDICTIONS: predictions, OUTCOMES: outcomes}, cluster_id="c", partitions=4, **more)


def mark(closed_before=H0, cluster_id="c"):
    return Mark({}, H0 * HOUR, closed_before, {}, cluster_id=cluster_id)


def plan(state=None, mark=None, log=LOG, cluster_id="c", partitions=4, mark_offsets=None, checkpoints=()):
    return plan_recovery(state, mark, log, cluster_id, partitions, mark_offsets, checkpoints)


def checkpoint(predictions=150, outcomes=15, cluster_id="c", partitions=4, state_format=NEWEST):
    offsets = {PREDICTIONS: predictions, OUTCOMES: outcomes}
    return Checkpoint(f"at-{predictions}", offsets, cluster_id, partitions, state_format)


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


REACHED = {PREDICTIONS: 180, OUTCOMES: 18}


@pytest.mark.parametrize(
    ("local", "uploaded", "chosen"),
    [
        # whichever has gone further
        (state(150), [checkpoint(140)], "local"),
        (state(150), [checkpoint(150)], "local"),
        (state(150), [checkpoint(151)], "at-151"),
        (state(150, 15), [checkpoint(140, 20)], "local"),
        (None, [checkpoint(140), checkpoint(160), checkpoint(150)], "at-160"),
        # and lies within the log
        (state(99), [checkpoint(100, 10)], "at-100"),
        (state(150, 9), [checkpoint(140)], "at-140"),
        (state(150), [checkpoint(180, 9)], "local"),
        (state(150), [checkpoint(201)], "local"),
        (None, [checkpoint(201), checkpoint(120)], "at-120"),
        # and is of this log
        (None, [checkpoint(160, cluster_id="d"), checkpoint(120)], "at-120"),
        (None, [checkpoint(160, partitions=8), checkpoint(120)], "at-120"),
        (None, [checkpoint(160, state_format=NEWEST + 1), checkpoint(120)], "at-120"),
        # else the log, from a life before the first open hour
        (None, [], "log"),
        (None, [checkpoint(99), checkpoint(150, 9), checkpoint(160, cluster_id="d")], "log"),
        (state(99), [checkpoint(99)], "log"),
    ],
)
def test_the_furthest_state_within_the_log_goes_on(local, uploaded, chosen):
    found = plan(local, mark(), mark_offsets=REACHED, checkpoints=uploaded)
    assert found.wait_for == REACHED
    if chosen == "log":
        assert (found.rebuild_from, found.checkpoint) == (H0 * HOUR - LIFE, "")
    elif chosen == "local":
        assert found == Plan(local.offsets, wait_for=REACHED)
    else:
        offsets = next(one.offsets for one in uploaded if one.name == chosen)
        assert found == Plan(offsets, wait_for=REACHED, checkpoint=chosen)


def test_a_checkpoint_is_used_where_there_is_no_mark():
    assert plan(None, None, checkpoints=[checkpoint(120)]).checkpoint == "at-120"


def test_a_wrong_local_state_is_refused_even_where_a_checkpoint_would_do():
    with pytest.raises(Refused, match="state belongs to the Kafka cluster d"):
        plan(PartitionState(offsets={}, cluster_id="d"), mark(), checkpoints=[checkpoint()])


@pytest.mark.parametrize(
    ("state_", "reached"),
    [(state(180, 18), True), (state(179, 18), False), (state(180, 17), False), (state(300, 30), True), (None, False)],
)
def test_a_state_that_has_reached_the_mark_needs_no_other(state_, reached):
    assert has_reached(state_, REACHED, LOG) == reached


def test_a_state_that_the_log_has_left_behind_needs_another():
    assert not has_reached(state(99), {}, LOG)
    assert not has_reached(state(150, 9), {PREDICTIONS: 20}, LOG)


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


@pytest.mark.parametrize(
    ("offsets", "archive", "replay", "goes_on"),
    [
        # the archive fills in for what is cut, up to where the log begins, and the log goes on
        ((100, 12), {PREDICTIONS: (40, 130)}, {PREDICTIONS: (40, 100)}, (100, 12)),
        ((120, 10), {OUTCOMES: (3, 10)}, {OUTCOMES: (3, 10)}, (120, 10)),
        ((100, 10), {PREDICTIONS: (40, 100), OUTCOMES: (0, 20)}, {PREDICTIONS: (40, 100), OUTCOMES: (0, 10)}, (100, 10)),
        # the log begins before what is needed: it was cut just there
        ((100, 12), {PREDICTIONS: (110, 130)}, {PREDICTIONS: (100, 100)}, (100, 12)),
        # it does not where it has a hole before the log, or does not reach back
        ((100, 12), {PREDICTIONS: (40, 99)}, None, None),
        ((100, 12), {OUTCOMES: (0, 20)}, None, None),
        ((100, 10), {PREDICTIONS: (40, 130)}, None, None),
        ((100, 10), {PREDICTIONS: (40, 130), OUTCOMES: (0, 9)}, None, None),
        # it is not asked where the log has it all
        ((120, 12), {PREDICTIONS: (0, 130), OUTCOMES: (0, 20)}, {}, (120, 12)),
    ],
)
def test_the_archive_fills_in_for_a_log_that_was_cut(offsets, archive, replay, goes_on):
    offsets = dict(zip(LOG, offsets, strict=True))
    archive = {topic: LogRange(*reach) for topic, reach in archive.items()}
    if replay is None:
        with pytest.raises(Refused, match="no archive without a hole"):
            check_reach(REBUILD, offsets, LOG, False, NOW, archive)
        assert check_reach(REBUILD, offsets, LOG, True, NOW, archive).incomplete_hours
        return
    wanted = Plan(
        dict(zip(LOG, goes_on, strict=True)),
        REBUILD.rebuild_from,
        H0,
        REBUILD.wait_for,
        replay={topic: LogRange(*part) for topic, part in replay.items()},
    )
    assert check_reach(REBUILD, offsets, LOG, False, NOW, archive) == wanted
    assert check_reach(REBUILD, offsets, LOG, True, NOW, archive) == wanted


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
        ({"state": state(format=NEWEST + 1)}, f"format {NEWEST + 1}, this version reads formats up to {NEWEST}", "newer version"),
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
