"""One rule for all that outlives a process: a neighbour's is read, what is newer is refused by one sentence."""

import json

import msgspec
import numpy as np
import pytest

from batch import manifest, segments
from batch.lake import FolderLake
from runway_streams import formats
from runway_streams.config import Config
from runway_streams.errors import ConfigError
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.partition import Partition
from runway_streams.ground_truth.partition_state import PartitionState
from runway_streams.ground_truth.records import (
    glance_at_mark,
    pack_full_many,
    pack_mark,
    pack_slim_many,
    unpack_full,
    unpack_mark,
    unpack_slim,
)
from runway_streams.ground_truth.settings import Settings, SettingsHistory
from schemas.metrics_record import Mark
from tables.memory_store import MemoryStore

NEWER = formats.NEWEST + 1


@pytest.fixture
def next_version(monkeypatch):
    """A version that knows one more format, and goes on writing this one."""
    monkeypatch.setattr(formats, "NEWEST", NEWER)


def records(number):
    layout = Layout.of(Settings("m", task="binary"))
    yield unpack_slim, pack_slim_many(slim.empty(12)[np.newaxis], written_in=number)[0]
    yield unpack_full, pack_full_many([layout], np.zeros((1, layout.size)), written_in=number)[0]
    yield unpack_mark, pack_mark(Mark({}, 0, 0, {}, format=number))
    yield PartitionState.decode, PartitionState(format=number).encode()


def test_what_is_newer_is_refused_by_one_sentence_that_says_what_to_do():
    for read, raw in records(NEWER):
        with pytest.raises(formats.OtherFormat, match=f"has format {NEWER}") as refused:
            read(raw)
        assert "upgrade this process first" in refused.value.remedy


def test_the_next_version_reads_both_formats(next_version):
    for number in (formats.WRITTEN, NEWER):
        for read, raw in records(number):
            read(raw)


@pytest.mark.parametrize("read", [unpack_slim, unpack_full])
def test_a_record_whose_shape_has_changed_is_refused_and_no_crash(read):
    with pytest.raises(formats.OtherFormat):
        read(msgspec.msgpack.encode([NEWER, {"another": "shape"}]))


def test_a_state_and_a_mark_whose_shape_has_changed_are_refused_and_no_crash():
    raw = msgspec.msgpack.encode({"offsets": [["predictions", 7]], "format": NEWER})
    with pytest.raises(formats.OtherFormat):
        PartitionState.decode(raw)
    assert glance_at_mark(raw).format == NEWER


def test_what_is_older_than_can_be_read_says_to_upgrade_release_by_release(monkeypatch):
    monkeypatch.setattr(formats, "OLDEST", NEWER)
    monkeypatch.setattr(formats, "NEWEST", NEWER)
    with pytest.raises(formats.OtherFormat, match=f"reads formats from {NEWER} on. Upgrade release by release"):
        PartitionState.decode(PartitionState(format=NEWER - 1).encode())


def test_a_release_reads_what_it_writes_and_its_neighbour_does_too():
    assert formats.OLDEST <= formats.WRITTEN <= formats.NEWEST <= formats.WRITTEN + 1


def test_a_partition_writes_what_it_is_told_and_never_steps_back(next_version):
    store, history = MemoryStore(), SettingsHistory()
    first = Partition(store, history)
    first.commit()
    assert first.mark({}).format == formats.WRITTEN
    told = Partition(store, history, written_in=NEWER)
    told.commit()
    assert told.mark({}).format == NEWER
    assert Partition(store, history).mark({}).format == NEWER


def test_the_setting_chooses_among_the_formats_that_are_known(tmp_path, next_version):
    assert Config(home=tmp_path).written_in == formats.WRITTEN
    assert Config.from_env({"RUNWAY_HOME": str(tmp_path), "RUNWAY_FORMAT": str(NEWER)}).written_in == NEWER
    with pytest.raises(ConfigError, match="RUNWAY_FORMAT"):
        Config(home=tmp_path, format=NEWER + 1)


def test_a_segment_of_a_newer_version_is_refused(tmp_path):
    lake = FolderLake(tmp_path)
    segment = segments.Segment("s.parquet", "outcomes", 0, 0, 0, 0, 0)
    lake.put("s.parquet", segments.parquet_of(segments.OUTCOMES.empty_table(), segment, NEWER))
    with pytest.raises(formats.OtherFormat, match=r"The segment s\.parquet has format"):
        segments.read_footer(tmp_path / "s.parquet")


def test_an_archive_that_a_newer_version_has_gone_on_with_is_refused(tmp_path):
    lake = FolderLake(tmp_path)
    segments.SegmentWriter(lake, "outcomes", 3, written_in=NEWER).flush_open()
    with pytest.raises(formats.OtherFormat, match=r"archive/outcomes/3/progress\.json has format"):
        segments.read_progress(lake, "outcomes", 3)


def test_a_snapshot_of_a_newer_version_is_refused_and_stays_published(tmp_path):
    lake = FolderLake(tmp_path)
    made = manifest.Manifest(format=NEWER, cutoff=9, created_at=0, covered={}, owned_before=0)
    manifest.publish(lake, made)
    with pytest.raises(formats.OtherFormat, match=r"view/manifests/C000000009\.json has format"):
        manifest.read_current(lake)
    assert json.loads(lake.get(made.path))["format"] == NEWER
