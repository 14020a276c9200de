"""The contract of the batch's engines: one log, one view, whichever engine joined it."""

import pyarrow.parquet as pq
import pytest

from batch.ground_truth_rows import export
from batch.lake import FolderLake
from batch.view_files import SCHEMAS
from runway_streams.errors import Refused
from runway_streams.times import HOUR
from tests.batch.log import ONE_THREAD, T0, archive, snapshot
from tests.batch.test_nightly import H0, config
from tests.batch.test_view import log
from tests.oracle import O


@pytest.fixture(params=["duckdb"])
def engine(request):
    return ONE_THREAD


def test_the_files_of_a_table_have_its_columns_whatever_was_merged(tmp_path, engine, monkeypatch):
    monkeypatch.setattr("batch.view_files.MOST_FILES", 1)
    lake = FolderLake(tmp_path / "lake")
    archive(lake, *log(), until=H0 + 80)
    seen = set()
    for hour in (30, 80):
        for file in snapshot(lake, tmp_path, H0 + hour, engine=engine).files:
            found = pq.read_schema(lake.root / file.path)
            assert {f.name: f.type for f in found} == {f.name: f.type for f in SCHEMAS[file.table]}, file.path
            seen.add((file.table, "merged" in file.path))
    assert seen == {(table, merged) for table in SCHEMAS for merged in (False, True)}


def test_outcomes_alone_are_ground_truth_too(tmp_path, engine):
    lake = FolderLake(tmp_path / "lake")
    archive(lake, [], [O(f"o{i}", T0 + i, T0 + i, (0, i)) for i in range(5)], until=H0 + 10)
    (file,) = snapshot(lake, tmp_path, H0 + 10, engine=engine).ground_truth
    assert (file.rows, file.times) == (5, (T0, T0 + 4))
    assert lake.exists(file.path)
    with pytest.raises(Refused, match="never seen"):
        export(config(tmp_path), "m", T0, T0 + HOUR, tmp_path / "out.parquet")
