"""Ground-truth rows: a model's predictions with their outcomes as one Parquet file, for training and audits."""
# ruff: noqa: S608 - statements are made of our own names and numbers; what is foreign is a row of a table.

import tempfile
from pathlib import Path

import pyarrow as pa

from batch.duckdb_engine import DuckDBEngine, copy, open_duckdb
from batch.join import GROUND_TRUTH
from batch.lake import Lake, open_lake
from batch.manifest import Manifest, read_current
from batch.segments import PREDICTIONS, first_offset
from runway_streams.config import Config
from runway_streams.errors import Refused


def export(config: Config, model: str, start: int, end: int, out_path: Path) -> int:
    """Writes a model's rows with event times of [start, end) (ms) to a Parquet file; returns how many.

    `status` is joined, late, early or unmatched; features are JSON as the model's settings had them kept. Rows go back
    `RETENTION_DAYS["ground_truth"]`. Raises Refused before the first batch, and where the model was never seen.
    """
    lake = open_lake(config.archive_url)
    manifest = read_current(lake)
    if manifest is None:
        raise Refused("There is no ground truth yet: no batch has run.", "Run `runway batch`.")
    if model not in {seen.model for seen in manifest.models}:
        raise Refused(f"The batch has never seen a model {model!r}.", "See `GET /v1/models` for those it has.")
    config.home.joinpath("scratch").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=config.home / "scratch") as folder:
        return _export(lake, manifest, model, (start, end), out_path, Path(folder), config.memory_limit)


def _export(
    lake: Lake, manifest: Manifest, model: str, times: tuple[int, int], out: Path, scratch: Path, memory_limit: str
) -> int:
    start, end = times
    files = [file.path for file in manifest.ground_truth if file.times[0] < end and file.times[1] >= start]
    named = "model = (SELECT model FROM asked)"
    with open_duckdb(lake, scratch, memory_limit) as engine:
        engine.load("asked", pa.table({"model": pa.array([model], pa.string())}))
        engine.files("ground_truth", files, GROUND_TRUTH)
        engine.view(
            "wanted",
            f"""SELECT * FROM ground_truth
            WHERE {named} AND time >= {start} AND time < {end}""",
        )
        engine.files("segments", _segments(engine, lake), PREDICTIONS)
        engine.view("kept_beside", f"SELECT * FROM segments WHERE {named}")
        return copy(engine.db, engine.text("exported_rows"), out)


def _segments(engine: DuckDBEngine, lake: Lake) -> list[str]:
    """The segments that the wanted rows come from, as far as they are still kept."""
    paths = [path for path in lake.paths("archive/predictions") if first_offset(path) is not None]
    columns = {
        "path": pa.array(paths, pa.string()),
        "log_partition": pa.array([int(path.split("/")[2]) for path in paths], pa.int32()),
        "first": pa.array([first_offset(path) for path in paths], pa.int64()),
    }
    engine.load("segment_path", pa.table(columns))
    found = engine.rows("""SELECT DISTINCT path FROM wanted ASOF JOIN segment_path
        ON wanted.log_partition = segment_path.log_partition AND wanted.log_offset >= segment_path.first""")
    return sorted(path for (path,) in found)
