"""A partition is a pure function of its log: order of reading, batches, commits, crashes and rewinds change nothing."""

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runway_streams.ground_truth import accumulators
from runway_streams.ground_truth import partition as module
from runway_streams.ground_truth.join import MARGIN
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, RawBatch
from runway_streams.ground_truth.records import parse_key, unpack_full
from runway_streams.times import AHEAD, HOUR, HOUR_CLOSES_AFTER, LIFE, MINUTE
from schemas.model_settings import BinProfile, ModelSettings, ReferenceProfile
from tables.memory_store import MemoryStore
from tables.partition_store import Memory, PartitionStore
from tests.runway_streams.ground_truth.partition_log import (
    CHANGE,
    T0,
    assert_same,
    expected,
    expected_counters,
    expire,
    feed,
    feed_all,
    fresh,
    history_of,
    id_of_one_life,
    logs,
    seen,
)

H0 = T0 // HOUR
FEED = st.tuples(st.sampled_from([PREDICTIONS, OUTCOMES]), st.integers(1, 8))
STEPS = st.lists(FEED | FEED | st.sampled_from(["commit", "commit", "crash"]), max_size=25)


def run(log, steps, reopen, partition):
    """Does the steps, then reads the rest; `reopen` gives the partition that a process finds after a crash."""
    for step in steps:
        if step == "commit":
            partition.commit()
        elif step == "crash":
            partition = reopen(partition)
        else:
            feed(partition, log, *step)
    feed_all(partition, log)
    return partition


def assert_is_the_oracles(partition, log):
    assert_same(seen(partition.store.iter_records()), expected(log))
    expire(partition)
    counters = partition.state.counters
    assert {name: counters.get(name, 0) for name in expected_counters(log)} == expected_counters(log)
    assert partition.store.scan_rows(b"", 1) == []


@given(logs(), STEPS)
@settings(max_examples=150, deadline=None)
def test_any_interleaving_batch_size_commit_and_crash_in_memory(log, steps):
    partition = run(log, steps, lambda crashed: fresh(crashed.store), fresh(MemoryStore()))
    assert_is_the_oracles(partition, log)


@given(logs(), STEPS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_interleaving_batch_size_commit_and_crash_on_disk(log, steps):
    memory = Memory(8 << 20, 8 << 20)

    def reopen(crashed):
        crashed.store.close()
        return fresh(PartitionStore.open(crashed.store.path, memory))

    with tempfile.TemporaryDirectory() as folder:
        partition = run(log, steps, reopen, fresh(PartitionStore.open(Path(folder) / "0", memory)))
        assert_is_the_oracles(partition, log)
        partition.store.close()


@given(logs(), STEPS)
@settings(max_examples=40, deadline=None)
def test_records_that_were_let_go_of_come_back_as_they_were(log, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulators, "MAX_IN_MEMORY", 2)
        patch.setattr(accumulators, "MAX_CELLS", 1_000)
        partition = run(log, steps, lambda crashed: fresh(crashed.store), fresh(MemoryStore()))
        assert len(partition.accumulators) <= 3
        assert_is_the_oracles(partition, log)


@given(logs(id_of_one_life), st.integers(0, 150))
@settings(max_examples=60, deadline=None)
def test_a_rebuild_from_any_hour_emits_the_same_from_that_hour_on(log, hours):
    whole = fresh(MemoryStore())
    feed_all(whole, log)
    rebuilt = fresh(MemoryStore())
    rebuilt.state.closed_before = H0 + hours
    for topic in log:
        rewind = (H0 + hours) * HOUR - LIFE
        offset = next((i for i, record in enumerate(log[topic]) if record.log_time >= rewind), len(log[topic]))
        rebuilt.state.offsets[topic] = offset
    feed_all(rebuilt, log)
    assert_same(
        seen([*rebuilt.outbox.items(), *rebuilt.hourly_outbox.items()]), seen(whole.store.iter_records(), H0 + hours)
    )


@given(logs(), STEPS)
@settings(max_examples=40, deadline=None)
def test_hours_closed_as_soon_as_they_may_be_are_complete(log, steps):
    emitted = {}
    partition = fresh(MemoryStore())

    def emit_and_close(partition):
        partition.commit()
        emitted.update(partition.outbox)
        emitted.update(partition.hourly_outbox)
        before = partition.closable()
        assert before * HOUR <= max(partition.clock - HOUR_CLOSES_AFTER + HOUR, 0)
        partition.close_hours(before)
        partition.outbox.clear()
        partition.hourly_outbox.clear()

    for step in steps:
        emit_and_close(partition)
        if step in ("commit", "crash"):
            partition.commit()
            partition = fresh(partition.store)
        else:
            feed(partition, log, *step)
    feed_all(partition, log)
    emit_and_close(partition)
    assert_same(seen(emitted.items()), expected(log))
    expire(partition)
    emit_and_close(partition)
    partition.commit()
    assert list(partition.store.iter_records()) == []


@given(logs(), STEPS)
@settings(max_examples=40, deadline=None)
def test_after_a_restart_everything_open_is_in_the_outbox(log, steps):
    partition = run(log, steps, lambda crashed: fresh(crashed.store), fresh(MemoryStore()))
    again = fresh(partition.store)
    assert again.outbox | again.hourly_outbox == partition.store.records
    assert {parse_key(key).kind for key in again.outbox} <= {"slim"}
    assert {parse_key(key).kind for key in again.hourly_outbox} <= {"full"}


# -- single cases ------------------------------------------------------------------------------------------------


class Stream:
    """One partition, fed event by event: `predict` and `happen` at a log time in ms after T0."""

    def __init__(self, store=None, documents=()):
        self.history = history_of(documents)
        self.partition = fresh(store or MemoryStore(), self.history)

    def restart(self):
        self.partition = fresh(self.partition.store, self.history)
        return self.partition

    def send(self, topic, at, **document):
        start = self.partition.next_offset(topic) or 0
        raw = msgspec.json.encode(document)
        return self.partition.apply(topic, RawBatch([raw], [start], [T0 + at], start + 1))

    def predict(self, key, at, model="m", time=None, prediction=0.7, **more):
        time = T0 + (at if time is None else time)
        return self.send(PREDICTIONS, at, prediction_id=key, model_id=model, timestamp=time, prediction=prediction, **more)

    def happen(self, key, at, time=None, actual=1):
        time = T0 + (at if time is None else time)
        return self.send(OUTCOMES, at, prediction_id=key, timestamp=time, actual_outcome=actual)

    def totals(self):
        """(model, segment value) -> sums of all its rows."""
        self.partition.commit()
        found = {}
        for (model, _, _, value, *_), row in seen(self.partition.store.iter_records()).rows.items():
            total = found.setdefault((model, value), dict.fromkeys(row, 0))
            for name, n in row.items():
                total[name] += n
        return found

    def count(self, name):
        return self.partition.state.counters.get(name, 0)


@pytest.fixture
def stream():
    return Stream()


def test_an_outcome_that_nobody_claims_is_counted_once_and_freed(stream):
    stream.happen("a", 0)
    stream.partition.commit()
    stream.predict("other", LIFE + MARGIN)
    stream.partition.idle(OUTCOMES, T0 + LIFE + MARGIN)
    stream.partition.commit()
    assert (stream.count("unmatched"), len(stream.partition.store.rows)) == (0, 2)
    stream.predict("other", LIFE + MARGIN + 1)
    stream.partition.idle(OUTCOMES, T0 + LIFE + MARGIN + 1)
    for _ in range(3):
        stream.partition.commit()
        stream.restart().idle(OUTCOMES, T0 + LIFE + MARGIN + 1)
    assert stream.count("unmatched") == stream.count("expired") == 1
    assert list(stream.partition.store.rows) == [b"other"]


def test_nothing_expires_while_the_other_topic_lags_behind(stream):
    stream.predict("a", 0)
    stream.predict("b", 10 * LIFE)
    stream.happen("z", 1)
    stream.partition.commit()
    stream.partition.commit()
    assert stream.count("expired") == 0
    stream.happen("a", 2)
    assert stream.totals()["m", ""]["joined"] == 1


def test_the_sweep_passes_all_rows_a_stretch_at_a_time(stream, monkeypatch):
    monkeypatch.setattr(module, "SWEEP_IDLE", 7)
    for i in range(50):
        stream.happen(f"{i:03}", 0)
    stream.partition.commit()
    for topic in (PREDICTIONS, OUTCOMES):
        stream.partition.idle(topic, T0 + 2 * LIFE)
    for commits in range(1, 9):
        stream.partition.commit()
        assert stream.count("unmatched") == min(7 * commits, 50)
    assert stream.partition.store.rows == {}


def test_an_id_in_use_for_ever_keeps_a_row_of_two_heads_at_most(stream):
    for epoch in range(10):
        at = epoch * (LIFE + 2 * MARGIN)
        stream.happen("a", at)
        stream.predict("b", at)
        stream.partition.commit()
        assert all(len(row) < 300 for row in stream.partition.store.rows.values())
    expire(stream.partition)
    assert stream.count("unmatched") == 10
    assert stream.count("duplicates") == 0


def test_a_log_clock_that_runs_backwards_stands_still(stream):
    stream.predict("a", 10 * HOUR, time=9 * HOUR)
    stream.predict("b", 2 * HOUR, time=9 * HOUR)
    stream.partition.commit()
    assert {parse_key(key).log_hour for key in stream.partition.store.records} == {H0 + 10}
    stream.happen("z", 10 * HOUR)
    assert stream.partition.clock == T0 + 10 * HOUR
    stream.partition.commit()
    assert stream.restart().clock == T0 + 10 * HOUR


def test_the_clock_is_the_lesser_of_both_topics_and_follows_idle_ones(stream):
    partition = stream.partition
    assert partition.clock == 0
    stream.predict("a", HOUR)
    assert partition.clock == 0
    partition.idle(OUTCOMES, T0 + MINUTE)
    assert partition.clock == T0 + MINUTE
    partition.idle(OUTCOMES, T0)
    assert partition.clock == T0 + MINUTE
    stream.happen("a", 2 * HOUR)
    assert partition.clock == T0 + HOUR


def test_an_event_time_ahead_of_the_log_is_bad_and_an_old_one_is_not(stream):
    assert stream.predict("a", 0, time=AHEAD) == []
    [bad] = stream.predict("b", 0, time=AHEAD + 1)
    assert (bad.reason, bad.offset) == ("ahead", 1)
    assert stream.predict("c", 0, time=-T0) == []
    assert stream.count("dead_letters.ahead") == 1
    assert stream.totals()["m", ""]["predictions"] == 2


def test_bad_events_are_counted_and_the_offset_goes_on(stream):
    bad = stream.partition.apply(PREDICTIONS, RawBatch([b"{", None], [4, 9], [T0, T0], 12))
    assert [(event.reason, event.offset) for event in bad] == [("not_json", 4), ("empty", 9)]
    assert stream.partition.next_offset(PREDICTIONS) == 12
    assert stream.partition.next_offset(OUTCOMES) is None
    assert stream.partition.uncommitted == 2
    stream.partition.count_gap(3)
    assert stream.count("gaps") == 3


def test_an_empty_batch_moves_the_offset_alone(stream):
    assert stream.partition.apply(OUTCOMES, RawBatch([], [], [], 7)) == []
    assert (stream.partition.next_offset(OUTCOMES), stream.partition.clock) == (7, 0)


def test_copies_with_other_content_are_conflicts(stream):
    stream.predict("a", 0)
    stream.predict("a", 1, time=0)
    stream.predict("a", 2, time=0, prediction=0.1)
    assert (stream.count("duplicates"), stream.count("conflicts")) == (2, 1)
    assert stream.totals()["m", ""]["predictions"] == 1


def test_undeclared_segment_values_are_kept_up_to_64_a_model_and_hour():
    stream = Stream(documents=[ModelSettings("m", segments=["declared"])])
    for i in range(70):
        stream.predict(f"{i}", 0, segment={"user": f"u{i}", "declared": f"d{i}"})
        stream.happen(f"{i}", 1)
    totals = stream.totals()
    kept = {value for model, value in totals if value.startswith("u")}
    assert kept == {f"u{i}" for i in range(64)}
    assert {value for model, value in totals if value.startswith("d")} == {f"d{i}" for i in range(70)}
    assert all(totals["m", value]["joined"] == 1 for value in kept)
    assert totals["m", ""]["predictions"] == 70
    assert {key[2:4] for key in seen(stream.partition.store.iter_records()).partial} == {("", "")}


def test_the_places_of_segment_values_survive_a_restart():
    stream = Stream()
    for i in range(64):
        stream.predict(f"{i}", 0, segment={"user": f"u{i}"})
    stream.totals()
    stream.restart()
    stream.predict("new", 1, segment={"user": "new"})
    stream.predict("old", 2, segment={"user": "u5"})
    stream.happen("5", 3)
    totals = stream.totals()
    assert ("m", "new") not in totals
    assert (totals["m", "u5"]["predictions"], totals["m", "u5"]["joined"]) == (2, 1)
    stream.predict("next hour", HOUR, segment={"user": "new"})
    assert stream.totals()["m", "new"]["predictions"] == 1


def test_a_segment_undeclared_within_the_hour_keeps_its_place_after_a_restart():
    documents = [ModelSettings("m", segments=["user"]), ModelSettings("m", effective_from=T0 + 10 * MINUTE)]
    stream = Stream(documents=documents)
    stream.predict("a", 20 * MINUTE, segment={"user": "u"})
    stream.totals()
    stream.restart()
    stream.happen("a", 30 * MINUTE)
    assert stream.totals()["m", "u"]["joined"] == 1


def test_what_has_no_room_is_counted_as_other_loudly(monkeypatch):
    monkeypatch.setattr(accumulators, "MAX_OPEN", 3)
    stream = Stream()
    for i in range(10):
        stream.predict(f"{i}", 0, model=f"m{i}", time=-i * HOUR)
        stream.happen(f"{i}", 1, time=1 - i * HOUR)
    totals = stream.totals()
    assert set(totals) == {("m0", ""), ("m1", ""), ("m2", ""), ("__other__", "")}
    assert sum(row["predictions"] for row in totals.values()) == sum(row["joined"] for row in totals.values()) == 10
    assert stream.count("other") == 14
    assert len(stream.partition.store.records) < 10
    stream.restart()
    stream.predict("more", 2, model="m11")
    assert stream.totals()["__other__", ""]["predictions"] == 8


def test_other_has_one_record_a_log_hour_however_old_the_events(monkeypatch):
    monkeypatch.setattr(accumulators, "MAX_OPEN", 0)
    stream = Stream()
    for i in range(30):
        stream.predict(f"{i}", i * MINUTE, time=-i * 100 * HOUR)
    stream.totals()
    assert len(stream.partition.store.records) == 1


def test_predictions_are_judged_by_the_settings_of_their_log_time():
    stream = Stream(documents=[ModelSettings("m"), ModelSettings("m", join_window="PT12H", effective_from=CHANGE)])
    change = CHANGE - T0
    stream.predict("old", change - 1)
    stream.predict("new", change)
    stream.happen("old", change + 2 * HOUR)
    stream.happen("new", change + 2 * HOUR)
    total = stream.totals()["m", ""]
    assert (total["joined"], total["late"]) == (1, 1)


def test_a_positive_label_that_changes_within_an_hour_divides_the_histograms_rightly():
    labels = {"task": "binary", "labels": ["late", "on_time"]}
    stream = Stream(documents=[
        ModelSettings("m", positive_label="late", **labels),
        ModelSettings("m", positive_label="on_time", effective_from=T0 + MINUTE, **labels),
    ])  # fmt: skip
    for key, at in (("a", 0), ("b", 2 * MINUTE)):
        stream.predict(key, at, prediction=0.9)
        stream.happen(key, at + 1, actual="late")
    stream.totals()
    cells = {
        key[-1]: n for key, n in seen(stream.partition.store.iter_records()).histograms.items() if key[-2] == "score_class"
    }
    assert cells == {256 + 230: 1, 230: 1}


def test_a_profile_that_changes_within_an_hour_has_histograms_of_its_own():
    profiles = [ReferenceProfile({"x": BinProfile([1, 1], edges=[edge])}) for edge in (0.0, 10.0)]
    stream = Stream(documents=[
        ModelSettings("m", "regression", profile=profiles[0]),
        ModelSettings("m", "regression", profile=profiles[1], effective_from=T0 + MINUTE),
    ])  # fmt: skip
    for i in range(4):
        stream.predict(f"{i}", i % 2 and 2 * MINUTE, prediction=1.5, features={"x": 5})
        stream.happen(f"{i}", 2 * MINUTE, actual=2.5)
    stream.partition.commit()
    cells = [unpack_full(record).families["feature:x"].tolist() for record in stream.partition.hourly_outbox.values()]
    assert sorted(cells) == [[0, 1, 0, 0], [3, 0, 0, 0]]


def test_histograms_that_were_let_go_of_come_back_as_they_were(monkeypatch):
    monkeypatch.setattr(accumulators, "MAX_CELLS", 1_200)
    profile = ReferenceProfile({"x": BinProfile([1, 1], edges=[0.0])})
    stream = Stream(documents=[ModelSettings(f"m{i}", "binary", profile=profile) for i in range(3)])
    for i in range(30):
        stream.predict(f"{i}", 0, model=f"m{i % 3}", features={"x": i % 2})
        stream.happen(f"{i}", 0)
        stream.partition.commit()
    cells = seen(stream.partition.store.iter_records()).histograms
    for model in ("m0", "m1", "m2"):
        assert [cells[model, "", "", "", T0, H0, "feature:x", bin] for bin in (0, 1)] == [5, 5]
        assert cells[model, "", "", "", T0, H0, "score_class", 256 + int(0.7 * 256)] == 10


def test_closed_hours_are_forgotten_and_what_still_names_them_is_not_counted(stream):
    stream.predict("a", 0)
    stream.totals()
    stream.partition.outbox.clear()
    stream.partition.close_hours(H0 + 1)
    stream.happen("a", HOUR)
    stream.predict("b", HOUR)
    stream.totals()
    assert {parse_key(key).log_hour for key in stream.partition.store.records} == {H0 + 1}
    assert {parse_key(key).log_hour for key in stream.partition.outbox} == {H0 + 1}
    stream.partition.close_hours(H0)
    assert stream.partition.state.closed_before == H0 + 1
    assert stream.restart().state.closed_before == H0 + 1


def test_an_hour_closes_once_nothing_can_join_in_it(stream):
    for topic in (PREDICTIONS, OUTCOMES):
        stream.partition.idle(topic, T0 + HOUR + LIFE - 1)
    assert stream.partition.closable() == H0
    for topic in (PREDICTIONS, OUTCOMES):
        stream.partition.idle(topic, T0 + HOUR + LIFE)
    assert stream.partition.closable() == H0 + 1


def test_the_mark_says_how_far_the_committed_values_reach(stream):
    stream.predict("a", 0)
    stream.happen("a", 5)
    stream.partition.commit()
    mark = stream.partition.mark({PREDICTIONS: "runway.predictions", OUTCOMES: "runway.outcomes"})
    assert mark.offsets == {"runway.predictions": 1, "runway.outcomes": 1}
    assert (mark.clock, mark.cluster_id, mark.counters["joined"]) == (T0, "cluster", 1)
    assert stream.restart().mark({PREDICTIONS: "runway.predictions", OUTCOMES: "runway.outcomes"}) == mark


def test_the_outbox_takes_only_what_is_committed(stream):
    stream.predict("a", 0)
    assert stream.partition.outbox == {}
    stream.partition.commit()
    assert stream.partition.outbox == stream.partition.store.records
    assert stream.partition.uncommitted == 0
    stream.partition.outbox.clear()
    stream.partition.commit()
    assert stream.partition.outbox == {}
