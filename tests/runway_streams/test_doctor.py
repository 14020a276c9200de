from datetime import UTC, datetime, timedelta

import pytest

from runway_streams.doctor import LATE_BATCH, judge_batch

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("published", "level"),
    [(None, "warn"), (NOW, "ok"), (NOW - LATE_BATCH, "ok"), (NOW - LATE_BATCH - timedelta(minutes=1), "warn")],
)
def test_a_late_batch_is_named_with_its_remedy(published, level):
    check = judge_batch(published, NOW)
    assert check.level == level
    assert bool(check.remedy) == (level != "ok")
