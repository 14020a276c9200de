import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from runway_streams import doctor
from runway_streams.config import Config
from runway_streams.doctor import LATE_BATCH, _lineage, judge_batch
from runway_streams.metaflow_settings import MetaflowSettings

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("published", "level"),
    [(None, "warn"), (NOW, "ok"), (NOW - LATE_BATCH, "ok"), (NOW - LATE_BATCH - timedelta(minutes=1), "warn")],
)
def test_a_late_batch_is_named_with_its_remedy(published, level):
    check = judge_batch(published, NOW)
    assert check.level == level
    assert bool(check.remedy) == (level != "ok")


async def test_the_lineage_graph_and_metaflow_are_asked(tmp_path):
    (tmp_path / ".metaflow").mkdir()
    there = Config(home=tmp_path / "a", metaflow=MetaflowSettings(str(tmp_path / ".metaflow")))
    assert [(check.level, check.part) async for check in _lineage(there)] == [("ok", "lineage"), ("ok", "metaflow")]
    away = Config(home=tmp_path / "b", metaflow=MetaflowSettings(str(tmp_path / "nothing")))
    found = [check async for check in _lineage(away)]
    assert [(check.level, check.part) for check in found] == [("ok", "lineage"), ("fail", "metaflow")]
    assert "is not there" in found[1].sentence
    gone = Config(home=tmp_path / "c", database="postgresql://nobody:secret@127.0.0.1:1/none")
    (check,) = [check async for check in _lineage(gone)]
    assert (check.level, check.part) == ("fail", "lineage")
    assert "secret" not in check.sentence


async def test_a_lineage_store_that_cannot_be_opened_is_one_line(tmp_path):
    (check,) = [check async for check in _lineage(Config(home=tmp_path, lineage_database="mysql://somewhere/lineage"))]
    assert (check.level, check.part) == ("fail", "lineage")


async def test_a_metaflow_that_never_answers_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "METAFLOW_LIMIT_S", 0.2)
    over = asyncio.Event()

    async def silent(_reader, writer):
        await over.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(10):
            found = [check async for check in _lineage(Config(home=tmp_path, metaflow=MetaflowSettings(address)))]
        over.set()
    assert [(check.level, check.part) for check in found] == [("ok", "lineage"), ("fail", "metaflow")]
    assert "within" in found[1].sentence
