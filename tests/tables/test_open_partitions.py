"""Partitions opened on assignment: as they were, from the beginning, rebuilt, or refused alone."""

from dataclasses import dataclass, field

import msgspec
import pytest
from rocksdict import Options

from batch.lake import FolderLake
from runway_streams import formats
from runway_streams.errors import DependencyDown
from runway_streams.ground_truth.events import read_predictions
from runway_streams.ground_truth.partition import OUTCOMES, PREDICTIONS, Changes, RawBatch
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.recovery import LogRange
from runway_streams.ground_truth.settings import SettingsHistory
from runway_streams.times import HOUR, LIFE
from schemas.metrics_record import Mark
from tables.checkpoints import RESTORING, Checkpoints
from tables.open_partitions import BAD_SHARE, OpenPartition, OpenPartitions, cut_to
from tables.partition_store import Memory, PartitionStore

H0 = 480_000
NOW = H0 * HOUR
NAMES = {PREDICTIONS: "runway.predictions", OUTCOMES: "runway.outcomes"}


@dataclass
class FakeLog:
    """A log whose records were appended one an hour, the first at `H0 - 100`."""

    begin: int = 0
    end: int = 100
    cluster_id: str = "c"
    partitions: int = 1
    asked: list[int] = field(default_factory=list)

    async def ranges(self, partition: int) -> dict[str, LogRange]:
        return {topic: LogRange(self.begin, self.end) for topic in NAMES}

    async def offsets_at(self, partition: int, log_time: int, log: dict[str, LogRange]) -> dict[str, int]:
        self.asked.append(log_time)
        return {topic: max(self.begin, log_time // HOUR - (H0 - 100)) for topic in NAMES}

    async def mark(self, partition: int) -> None:
        return None


def open_partitions(folder):
    return OpenPartitions(folder, SettingsHistory(), NAMES, Memory(8 << 20, 16 << 20))


async def claim_and_open(partitions, number, *arguments):
    return await partitions.open(number, *arguments) if partitions.claim(number) else None


def predict(opened, key="a"):
    """Applies one prediction of hour H0."""
    raw = msgspec.json.encode({"prediction_id": key, "model_id": "m", "timestamp": NOW, "prediction": 1})
    start = opened.partition.next_offset(PREDICTIONS)
    opened.partition.apply(PREDICTIONS, RawBatch([raw], [start], [NOW], start + 1))


def mark(**offsets):
    return Mark({NAMES[topic]: offset for topic, offset in offsets.items()}, NOW, H0, {}, cluster_id="c")


@pytest.fixture
def partitions(tmp_path):
    found = open_partitions(tmp_path)
    yield found
    for opened in found:
        found.close(opened.number)


async def test_a_first_start_begins_at_the_earliest(partitions):
    opened = await claim_and_open(partitions, 3, FakeLog(begin=5), None, False, NOW)
    assert partitions.positions(3) == {PREDICTIONS: 5, OUTCOMES: 5}
    assert opened.may_emit()
    assert (opened.partition.state.cluster_id, opened.partition.state.partitions) == ("c", 1)
    assert await claim_and_open(partitions, 3, FakeLog(), None, False, NOW) is opened


async def test_a_closed_partition_opens_where_it_was(partitions):
    predict(await claim_and_open(partitions, 0, FakeLog(), None, False, NOW))
    partitions.close(0)
    assert partitions.get(0) is None
    opened = await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    assert partitions.positions(0) == {PREDICTIONS: 1, OUTCOMES: 0}
    assert len(opened.partition.outbox) == 1


def in_a_newer_format(folder, families=False):
    """A state of the next version: its shape is another one."""
    store = PartitionStore.open(folder, Memory(8 << 20, 16 << 20))
    saved = msgspec.msgpack.encode({"format": formats.NEWEST + 1, "offsets": [["predictions", 7]]})
    store.write(Changes([(b"row", b"1")], [], [], [], saved))
    if families:
        store._db.create_column_family("more", Options(raw_mode=True))
    store.close()
    return saved


async def test_a_state_of_a_newer_version_is_refused_before_anybody_is_fenced_and_stays_as_it_is(partitions, tmp_path):
    saved = in_a_newer_format(tmp_path / "0")
    assert not partitions.claim(0)
    assert "has format 2, this version reads formats up to 1" in str(partitions.refused[0])
    assert await claim_and_open(partitions, 1, FakeLog(), None, False, NOW)
    store = PartitionStore.open(tmp_path / "0", Memory(8 << 20, 16 << 20))
    assert (store.read_state(), store.get_rows([b"row"])) == (saved, [b"1"])
    store.close()


async def test_a_state_with_parts_that_only_a_newer_version_knows_is_refused_as_such(partitions, tmp_path):
    in_a_newer_format(tmp_path / "0", families=True)
    assert not partitions.claim(0)
    assert "has more, which this version does not know. A newer version wrote it" in str(partitions.refused[0])


async def test_a_partition_that_a_newer_version_has_emitted_is_refused_alone(partitions):
    newer = Mark({}, 0, 0, {}, format=formats.NEWEST + 1)
    assert await claim_and_open(partitions, 0, FakeLog(), newer, False, NOW) is None
    assert "What runway.metrics has of this partition has format 2" in str(partitions.refused[0])
    assert await claim_and_open(partitions, 1, FakeLog(), mark(), False, NOW)
    partitions.forget_refused({0, 1})
    assert 0 in partitions.refused
    partitions.forget_refused({1})
    assert not partitions.refused, "another worker has it now"


async def test_a_newer_checkpoint_is_passed_over_for_an_older_one_that_is_read(partitions, tmp_path, monkeypatch):
    lake = FolderLake(tmp_path / "lake")
    partitions.checkpoints = Checkpoints(lake, "c")
    monkeypatch.setattr(formats, "NEWEST", formats.WRITTEN + 1)
    for at, written_in in ((10, formats.WRITTEN), (20, formats.NEWEST)):
        store = PartitionStore.open(tmp_path / "other" / str(at), Memory(8 << 20, 16 << 20))
        state = PartitionState(written_in, "c", 1, {PREDICTIONS: at, OUTCOMES: 0})
        store.write(Changes([], [], [], [], state.encode()))
        partitions.checkpoints.upload(0, store, 0)
        store.close()
    monkeypatch.undo()
    assert await claim_and_open(partitions, 0, FakeLog(), mark(predictions=5, outcomes=0), False, NOW)
    assert partitions.positions(0)[PREDICTIONS] == 10


def cut_short(opened):
    with opened.changing():
        predict(opened, "b")
        raise ConnectionError("its dead letters could not be written")


def commit(opened):
    with opened.changing():
        opened.partition.commit()


def full_disk(changes):
    raise OSError("no space left on device")


async def test_a_batch_that_was_cut_short_is_not_committed_when_it_is_closed(partitions):
    opened = await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    predict(opened, "a")
    opened.partition.commit()
    with pytest.raises(ConnectionError):
        cut_short(opened)
    partitions.close(0)
    again = await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    assert partitions.positions(0)[PREDICTIONS] == 1
    assert again.partition.state.counters == {"predictions": 1}


async def test_a_commit_that_failed_is_not_made_good_by_half_when_it_is_closed(partitions, monkeypatch):
    opened = await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    predict(opened)
    with monkeypatch.context() as patch:
        patch.setattr(opened.store, "write", full_disk)
        with pytest.raises(OSError):
            commit(opened)
    partitions.close(0)
    again = await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    assert partitions.positions(0)[PREDICTIONS] == 0, "the offset without its counts would lose the event"
    assert not list(again.store.iter_records())


async def test_nothing_is_emitted_before_the_mark_is_reached(partitions):
    opened = await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    predict(opened)
    partitions.close(0)
    opened = await claim_and_open(partitions, 0, FakeLog(), mark(predictions=3, outcomes=0), False, NOW)
    assert not opened.may_emit()
    predict(opened, "b")
    assert not opened.may_emit()
    predict(opened, "c")
    assert opened.may_emit()


async def test_a_lost_state_is_rebuilt_from_a_life_before_the_first_open_hour(partitions):
    log = FakeLog()
    opened = await claim_and_open(partitions, 0, log, mark(predictions=99, outcomes=99), False, NOW)
    assert log.asked == [NOW - LIFE]
    assert partitions.positions(0) == {PREDICTIONS: 75, OUTCOMES: 75}
    assert opened.partition.state.closed_before == H0
    assert not opened.may_emit()


async def test_a_state_that_the_log_has_left_behind_is_made_anew(partitions, tmp_path):
    opened = await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    predict(opened)
    opened.partition.state.closed_before = H0
    partitions.close(0)
    opened = await claim_and_open(partitions, 0, FakeLog(begin=50), None, False, NOW)
    assert partitions.positions(0) == {PREDICTIONS: 75, OUTCOMES: 75}
    assert opened.partition.outbox == {}
    assert opened.store.scan_rows(b"", 1) == []


async def test_a_partition_is_refused_alone_and_may_open_later(partitions):
    await claim_and_open(partitions, 0, FakeLog(), None, False, NOW)
    cut = FakeLog(begin=90)
    assert await claim_and_open(partitions, 1, cut, mark(predictions=99, outcomes=99), False, NOW) is None
    assert "RUNWAY_ACCEPT_GAP=1" in str(partitions.refused[1])
    assert [opened.number for opened in partitions] == [0]
    opened = await claim_and_open(partitions, 1, cut, mark(predictions=99, outcomes=99), True, NOW)
    assert opened.partition.state.incomplete_hours == [H0]
    assert partitions.refused == {}


async def test_a_state_held_by_another_worker_is_refused(partitions, tmp_path):
    held = PartitionStore.open(tmp_path / "0")
    assert await claim_and_open(partitions, 0, FakeLog(), None, False, NOW) is None
    assert "RUNWAY_INSTANCE" in str(partitions.refused[0])
    held.close()
    assert await claim_and_open(partitions, 0, FakeLog(), None, False, NOW) is not None


@pytest.fixture
def uploaded(tmp_path):
    """A lake with the checkpoint of a partition that had read three predictions, and how another worker sees it."""
    lake = FolderLake(tmp_path / "lake")

    async def upload(log, events=3):
        owner = open_partitions(tmp_path / "owner")
        opened = await claim_and_open(owner, 0, log, None, False, NOW)
        while opened.partition.next_offset(PREDICTIONS) < events:
            predict(opened, f"{opened.partition.next_offset(PREDICTIONS)}")
        opened.partition.commit()
        Checkpoints(lake, "c").upload(0, opened.store, NOW)
        owner.close(0)
        return lake

    return upload


@pytest.fixture
def heir(partitions, tmp_path):
    partitions.checkpoints = Checkpoints(FolderLake(tmp_path / "lake"), "c")
    return partitions


async def test_a_lost_state_goes_on_from_its_checkpoint_before_the_log_is_asked(heir, uploaded, tmp_path):
    await uploaded(FakeLog())
    log = FakeLog()
    opened = await claim_and_open(heir, 0, log, mark(predictions=5, outcomes=0), False, NOW)
    assert heir.positions(0) == {PREDICTIONS: 3, OUTCOMES: 0}
    assert log.asked == []
    assert opened.store.get_rows([b"0", b"2", b"3"])[2] is None
    assert None not in opened.store.get_rows([b"0", b"2"])
    assert not opened.may_emit()
    for key in "xy":
        predict(opened, key)
    assert opened.may_emit()
    assert not (tmp_path / f"0{RESTORING}").exists()


async def test_a_stale_local_state_gives_way_to_a_checkpoint_that_has_gone_further(heir, uploaded):
    predict(await claim_and_open(heir, 0, FakeLog(), None, False, NOW), "mine")
    heir.close(0)
    await uploaded(FakeLog())
    opened = await claim_and_open(heir, 0, FakeLog(begin=0), mark(predictions=3, outcomes=0), False, NOW)
    assert heir.positions(0) == {PREDICTIONS: 3, OUTCOMES: 0}
    assert opened.store.get_rows([b"mine"]) == [None]
    assert opened.may_emit()


async def test_a_state_that_has_reached_its_mark_does_not_ask_the_lake(partitions):
    predict(await claim_and_open(partitions, 0, FakeLog(), None, False, NOW))
    partitions.close(0)
    partitions.checkpoints = object()  # whatever is asked of it fails
    assert await claim_and_open(partitions, 0, FakeLog(), mark(predictions=1, outcomes=0), False, NOW)


async def test_a_damaged_checkpoint_is_passed_over_for_the_older_one(heir, uploaded, tmp_path):
    lake = await uploaded(FakeLog(), events=2)
    await uploaded(FakeLog(), events=4)
    older, newer = (msgspec.json.decode(lake.get(path)) for path in lake.paths("checkpoints/c/0/manifests"))
    of_older = {file["sha256"] for file in older["files"]}
    for file in newer["files"]:
        if file["sha256"] not in of_older and file["size"]:
            lake.put(f"checkpoints/c/0/files/{file['sha256']}", b"damaged")
    opened = await claim_and_open(heir, 0, FakeLog(), mark(predictions=5, outcomes=0), False, NOW)
    assert heir.positions(0) == {PREDICTIONS: 2, OUTCOMES: 0}
    assert not opened.may_emit()


async def test_a_lake_that_is_down_leaves_the_log(heir, uploaded):
    class Down:
        def paths(self, prefix):
            raise DependencyDown("The archive does not answer.")

    heir.checkpoints = Checkpoints(Down(), "c")
    log = FakeLog()
    assert await claim_and_open(heir, 0, log, mark(predictions=99, outcomes=99), False, NOW)
    assert log.asked == [NOW - LIFE]


async def test_a_crash_before_the_checkpoint_took_its_place_is_nothing(heir, uploaded, tmp_path):
    await uploaded(FakeLog())
    (tmp_path / f"0{RESTORING}").mkdir()
    (tmp_path / f"0{RESTORING}" / "half").write_bytes(b"x")
    assert await claim_and_open(heir, 0, FakeLog(), mark(predictions=3, outcomes=0), False, NOW)
    assert heir.positions(0)[PREDICTIONS] == 3


class FakeArchive:
    """An archive of one prediction an hour, as many as there were offsets; it ends in an error where it is told to."""

    def __init__(self, reach, error=None):
        self.reached, self.error, self.asked = reach, error, []

    def reach(self, number, log_time):
        self.asked.append(log_time)
        return self.reached

    def read(self, number, ranges):
        for offset in range(ranges[PREDICTIONS].begin, ranges[PREDICTIONS].end):
            time = (H0 - 99 + offset) * HOUR
            raw = msgspec.json.encode({"prediction_id": f"{offset}", "model_id": "m", "timestamp": time, "prediction": 1})
            yield PREDICTIONS, read_predictions([raw], [offset], [time], SettingsHistory())[0], offset + 1
        if self.error:
            raise self.error


async def test_a_cut_log_is_preceded_by_the_archive(partitions):
    partitions.archive = FakeArchive({topic: LogRange(75, 95) for topic in NAMES})
    opened = await claim_and_open(partitions, 0, FakeLog(begin=90), mark(predictions=95, outcomes=90), False, NOW)
    assert partitions.archive.asked == [NOW - LIFE]
    assert partitions.positions(0) == {PREDICTIONS: 90, OUTCOMES: 90}
    assert opened.partition.state.counters[PREDICTIONS] == 15
    assert opened.partition.state.closed_before == H0
    assert not opened.partition.state.incomplete_hours
    assert not opened.may_emit()
    partitions.close(0)
    assert await claim_and_open(partitions, 0, FakeLog(begin=90), mark(predictions=90, outcomes=90), False, NOW)
    assert len(partitions.archive.asked) == 1
    assert None not in partitions.get(0).store.get_rows([b"75", b"89"])


async def test_a_log_that_reaches_back_does_not_ask_the_archive(partitions):
    partitions.archive = object()  # whatever is asked of it fails
    assert await claim_and_open(partitions, 0, FakeLog(), mark(predictions=99, outcomes=99), False, NOW)


async def test_an_archive_with_a_hole_before_the_log_is_refused(partitions):
    partitions.archive = FakeArchive({topic: LogRange(75, 89) for topic in NAMES})
    assert await claim_and_open(partitions, 0, FakeLog(begin=90), mark(predictions=95, outcomes=90), False, NOW) is None
    assert "no archive without a hole" in str(partitions.refused[0])


async def test_a_replay_that_broke_off_is_refused_and_done_anew(partitions, monkeypatch):
    monkeypatch.setattr("tables.open_partitions.REPLAY_COMMIT", 1)
    log, last = FakeLog(begin=90), mark(predictions=95, outcomes=90)
    partitions.archive = FakeArchive({topic: LogRange(75, 95) for topic in NAMES}, DependencyDown("The archive is away."))
    assert await claim_and_open(partitions, 0, log, last, False, NOW) is None
    assert "could not be replayed: The archive is away." in str(partitions.refused[0])
    partitions.archive.error = None
    opened = await claim_and_open(partitions, 0, log, last, False, NOW)
    assert opened.partition.state.counters[PREDICTIONS] == 15
    assert opened.partition.state.counters.get("duplicates", 0) == 0


def test_the_share_of_bad_events_is_that_of_the_last_batches(tmp_path):
    opened = OpenPartition(0, None, None, {})
    opened.note_bad(99, 99)
    assert opened.bad_share() == 0
    opened.note_bad(101, 0)
    assert opened.bad_share() == 99 / 200 > BAD_SHARE
    for _ in range(20):
        opened.note_bad(100, 0)
    assert opened.bad_share() == 0


@pytest.mark.parametrize(("expected", "offsets"), [(0, [3, 4, 7]), (3, [3, 4, 7]), (4, [4, 7]), (5, [7]), (8, [])])
def test_a_batch_is_cut_to_what_was_not_yet_applied(expected, offsets):
    batch = RawBatch([b"a", b"b", b"c"], [3, 4, 7], [1, 2, 3], 8)
    found = cut_to(batch, expected)
    assert (list(found.offsets), found.next_offset) == (offsets, 8)
    assert len(found.values) == len(found.timestamps) == len(offsets)
