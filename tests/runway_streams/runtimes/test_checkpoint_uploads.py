"""Uploads of checkpoints: when, one at a time, and what a failure leaves."""

import logging
import threading

import pytest

from runway_streams.runtimes.checkpoint_uploads import CheckpointUploads

LIMIT_S = 10


class Slow:
    """Checkpoints whose upload waits until it is let go, and fails where it is told to."""

    def __init__(self):
        self.uploaded, self.error = [], None
        self.begun, self.go = threading.Event(), threading.Event()
        self.stopped = None

    def upload(self, number, store, now, stopped):
        self.begun.set()
        assert self.go.wait(LIMIT_S)
        self.stopped = stopped()
        if self.error:
            raise self.error
        self.uploaded.append((number, now))


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def uploads(slow):
    return CheckpointUploads(slow, 900, lambda: 5_000)


def finish(uploads):
    uploads._thread.join(LIMIT_S)
    assert not uploads._thread.is_alive()


def test_an_upload_is_due_an_interval_after_the_last(slow, uploads):
    slow.go.set()
    for at in (0, 899, 900, 1_000, 1_799, 1_800):
        uploads.offer(0, None, at)
        if uploads._thread:
            finish(uploads)
    assert slow.uploaded == [(0, 5_000)] * 2
    assert uploads.ages() == {0: 0}


def test_one_at_a_time_and_nobody_waits_for_it(slow, uploads):
    for number in (0, 1):
        uploads.offer(number, None, 0)
    uploads.offer(0, None, 900)
    assert slow.begun.wait(LIMIT_S)
    uploads.offer(1, None, 900)
    slow.go.set()
    finish(uploads)
    uploads.offer(1, None, 901)
    finish(uploads)
    assert [number for number, _ in slow.uploaded] == [0, 1]


def test_a_failure_is_counted_said_once_and_tried_again(slow, uploads, caplog):
    slow.go.set()
    slow.error = OSError("no space left")
    with caplog.at_level(logging.WARNING):
        uploads.offer(0, None, 0)
        for at in (900, 1_800):
            uploads.offer(0, None, at)
            finish(uploads)
        assert uploads.failures == 2
        assert [record.getMessage() for record in caplog.records] == [
            "Partition 0: its state cannot be uploaded, and will be tried again every 900 s: no space left"
        ]
        assert uploads.ages() == {}
        slow.error = None
        uploads.offer(0, None, 2_700)
        finish(uploads)
    assert uploads.ages() == {0: 0}


def test_an_upload_whose_partition_went_away_is_told_to_end(slow, uploads):
    uploads.offer(0, None, 0)
    uploads.offer(0, None, 900)
    assert slow.begun.wait(LIMIT_S)
    slow.error = FileNotFoundError()
    uploads.stop()
    slow.go.set()
    finish(uploads)
    assert slow.stopped
    assert uploads.failures == 0
    assert uploads.ages() == {}
