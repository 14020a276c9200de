"""Recovery: where a partition goes on after an assignment, decided from its state, its last mark and what the log still has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runway_streams import formats
from runway_streams.errors import Refused
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.times import HOUR, LIFE, format_time
from schemas.metrics_record import Mark

TOPICS = (PREDICTIONS, OUTCOMES)
MAX_INCOMPLETE = 8 * 24
"""Hours that a gap marks incomplete: as long as `runway.metrics` keeps its records."""


@dataclass(frozen=True)
class LogRange:
    """What a topic-partition's log has: offsets from `begin` up to, not including, `end`."""

    begin: int
    end: int


@dataclass(frozen=True)
class Checkpoint:
    """A state that was uploaded, as its manifest describes it; `state_format` is the state's."""

    name: str
    offsets: dict[str, int]
    cluster_id: str
    partitions: int
    state_format: int = 1


@dataclass(frozen=True)
class Plan:
    """Where to read on. `rebuild_from` is a log time (ms) where the state must be made anew, None where it is good;
    `closed_before` is the first log hour to be emitted again; `wait_for` are the offsets to reach before anything is emitted;
    `checkpoint` names the uploaded state that takes the local one's place; `replay` are the offsets, by topic, that the
    state is to be fed from the archive before it goes on at `offsets`."""

    offsets: dict[str, int]
    rebuild_from: int | None = None
    closed_before: int = 0
    wait_for: dict[str, int] = field(default_factory=dict)
    incomplete_hours: tuple[int, ...] = ()
    checkpoint: str = ""
    replay: dict[str, LogRange] = field(default_factory=dict)


def plan_recovery(
    state: PartitionState | None,
    mark: Mark | None,
    log: dict[str, LogRange],
    cluster_id: str,
    partitions: int,
    mark_offsets: dict[str, int] | None = None,
    checkpoints: Iterable[Checkpoint] = (),
) -> Plan:
    """What to do with a partition. Of the local state and the checkpoints, the one that has gone furthest and lies within
    the log goes on where it was; where there is none, the state is rebuilt from LIFE before the first hour that was not
    closed (`rebuild_from`; the caller finds the offsets of that time); without state and mark it is a first start, from
    the earliest. A checkpoint that does not fit is passed over; a local state that does not is refused: it says that
    something is set wrong. Raises Refused where no answer would be right.

    >>> log = {"predictions": LogRange(0, 10), "outcomes": LogRange(0, 5)}
    >>> plan_recovery(None, None, log, "c", 4).offsets
    {'predictions': 0, 'outcomes': 0}
    >>> plan_recovery(PartitionState(offsets={"predictions": 7, "outcomes": 2}), None, log, "c", 4).offsets
    {'predictions': 7, 'outcomes': 2}
    """
    wait_for = mark_offsets or {}
    if mark:
        _check_mark(mark, wait_for, log, cluster_id)
    found = [one for one in checkpoints if fits(one, log, cluster_id, partitions)]
    best = max(found, key=lambda one: sum(one.offsets.values()), default=None)
    if state is not None:
        _check_identity(state, log, cluster_id, partitions)
        offsets = {topic: state.offsets.get(topic, log[topic].begin) for topic in TOPICS}
        within = all(offsets[topic] >= log[topic].begin for topic in TOPICS)
        if within and (best is None or sum(offsets.values()) >= sum(best.offsets.values())):
            return Plan(offsets, wait_for=wait_for)
    if best is not None:
        return Plan(dict(best.offsets), wait_for=wait_for, checkpoint=best.name)
    if state is None and mark is None:
        return Plan({topic: log[topic].begin for topic in TOPICS})
    closed_before = max(mark.closed_before if mark else 0, state.closed_before if state else 0)
    return Plan({}, max(0, closed_before * HOUR - LIFE), closed_before, wait_for)


def fits(checkpoint: Checkpoint, log: dict[str, LogRange], cluster_id: str, partitions: int) -> bool:
    """Whether a checkpoint is of this log, in a format that this version reads, and the log still follows on it.

    >>> log = {"predictions": LogRange(5, 10), "outcomes": LogRange(0, 5)}
    >>> [fits(Checkpoint("", {"predictions": at, "outcomes": 2}, "c", 4), log, "c", 4) for at in (4, 5, 10, 11)]
    [False, True, True, False]
    """
    same = (checkpoint.cluster_id, checkpoint.partitions) == (cluster_id, partitions)
    within = all(log[topic].begin <= checkpoint.offsets.get(topic, -1) <= log[topic].end for topic in TOPICS)
    return same and within and formats.is_read(checkpoint.state_format)


def has_reached(state: PartitionState | None, offsets: dict[str, int], log: dict[str, LogRange]) -> bool:
    """Whether a state lies within the log and has reached offsets, those of the last mark: then no other has gone further,
    but for what was not emitted yet.

    >>> log = {"predictions": LogRange(5, 10), "outcomes": LogRange(0, 5)}
    >>> state = PartitionState(offsets={"predictions": 7, "outcomes": 2})
    >>> has_reached(state, {"predictions": 7}, log), has_reached(state, {"predictions": 8}, log), has_reached(None, {}, log)
    (True, False, False)
    """
    if state is None:
        return False
    reached = all(state.offsets.get(topic, 0) >= offset for topic, offset in offsets.items())
    return reached and all(state.offsets.get(topic, log[topic].begin) >= log[topic].begin for topic in TOPICS)


def cut_topics(offsets: dict[str, int], log: dict[str, LogRange]) -> list[str]:
    """The topics whose log may no longer reach back to these offsets, the first of a time. One that begins at offset 0 was
    never cut.

    >>> cut_topics({"predictions": 5, "outcomes": 0}, {"predictions": LogRange(5, 9), "outcomes": LogRange(0, 9)})
    ['predictions']
    """
    return [topic for topic in TOPICS if log[topic].begin > 0 and offsets[topic] <= log[topic].begin]


def check_reach(
    plan: Plan,
    offsets: dict[str, int],
    log: dict[str, LogRange],
    accept_gap: bool,
    now: int,
    archive: Mapping[str, LogRange] | None = None,
) -> Plan:
    """The plan with the offsets of its time, where the log still reaches back that far, or the archive does up to where the
    log begins.

    `offsets` are the first ones at or after `rebuild_from`; `archive` has the topics whose archive reaches back to it,
    from which offset and up to which. What the log has is read from the log, for the archive may not have kept the
    features. Where neither reaches back the partition is refused, or its hours marked incomplete if `accept_gap`.
    """
    assert plan.rebuild_from is not None
    cut = cut_topics(offsets, log)
    if not cut:
        return Plan(offsets, plan.rebuild_from, plan.closed_before, plan.wait_for)
    archive = archive or {}
    if all(topic in archive and archive[topic].end >= log[topic].begin for topic in cut):
        replay = {topic: LogRange(min(archive[topic].begin, log[topic].begin), log[topic].begin) for topic in cut}
        goes_on = offsets | {topic: log[topic].begin for topic in cut}
        return Plan(goes_on, plan.rebuild_from, plan.closed_before, plan.wait_for, replay=replay)
    if not accept_gap:
        raise Refused(
            f"The state is lost and the log of {' and '.join(cut)} no longer reaches back to {format_time(plan.rebuild_from)}; "
            "no checkpoint that the log follows on and no archive without a hole makes up for it.",
            "Bring back the lake at RUNWAY_ARCHIVE if it has them, or restore the state's folder from a backup, "
            "or start once with RUNWAY_ACCEPT_GAP=1: "
            "the hours since then are then marked incomplete until the batch owns them.",
        )
    last = now // HOUR + 1
    hours = tuple(range(max(plan.closed_before, last - MAX_INCOMPLETE), last))
    return Plan(offsets, plan.rebuild_from, plan.closed_before, {}, hours)


def refuse_new_log(topic: str, partition: int, reached: int, end: int) -> None:
    """Raises Refused where a log ends before the offset that was read up to: it is another log of the same name.

    >>> refuse_new_log("runway.outcomes", 0, 7, 7)
    >>> refuse_new_log("runway.outcomes", 0, 7, 3)
    Traceback (most recent call last):
    ...
    runway_streams.errors.Refused: runway.outcomes-0 was read up to offset 7, but its log ends at 3: it was made anew. ...
    """
    if end < reached:
        raise Refused(
            f"{topic}-{partition} was read up to offset {reached}, but its log ends at {end}: it was made anew.",
            "Nothing of the new log was counted. To start anew with it, stop all workers and move their state, "
            "runway.metrics and the archive away.",
        )


def _check_identity(state: PartitionState, log: dict[str, LogRange], cluster_id: str, partitions: int) -> None:
    formats.check(state.format, "The state")
    if state.cluster_id and cluster_id and state.cluster_id != cluster_id:
        raise Refused(
            f"The state belongs to the Kafka cluster {state.cluster_id}, this one is {cluster_id}.",
            "Point RUNWAY_BOOTSTRAP to the right cluster, or move the state's folder away to start anew.",
        )
    if state.partitions and state.partitions != partitions:
        raise Refused(
            f"The topics had {state.partitions} partitions and now have {partitions}: keys have moved between them.",
            "Stop the producers, let the workers read to the end, run a final batch, then start with new topics.",
        )
    for topic, offset in state.offsets.items():
        if offset > log[topic].end:
            raise Refused(
                f"The state has read {topic} up to offset {offset}, but the log ends at {log[topic].end}: it was made anew.",
                "Move the state's folder away to start anew with the new topic.",
            )


def _check_mark(mark: Mark, offsets: dict[str, int], log: dict[str, LogRange], cluster_id: str) -> None:
    formats.check(mark.format, "What runway.metrics has of this partition")
    if mark.cluster_id and cluster_id and mark.cluster_id != cluster_id:
        raise Refused(
            f"runway.metrics was written from the Kafka cluster {mark.cluster_id}, this one is {cluster_id}.",
            "Use a new runway.metrics topic with a new cluster.",
        )
    for topic, offset in offsets.items():
        if offset > log[topic].end:
            raise Refused(
                f"runway.metrics counts {topic} up to offset {offset}, but its log ends at {log[topic].end}: it was made anew.",
                "Make runway.metrics anew as well, with `runway topics create` after deleting it.",
            )
