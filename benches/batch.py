"""The nightly batch: input rows a second of a first night over a week, and what the next night costs for its one day.

    uv run python benches/batch.py --rows 1_000_000 10_000_000 100_000_000 --memory 4GiB --polars --json

`--rows` are predictions of the week; several numbers are measured one after the other, and tell whether memory and time a row
stay flat. Each measurement is a process of its own, watched with all that it starts. Beside the night stand, on the same
files: the ceiling, DuckDB reading and joining them and nothing else; the bare join, DuckDB joining and counting with no search
for duplicates, no second tier and no files written; and, with `--polars`, that bare join in Polars, which is ended where it
takes more than `--memory`. `--engine spark` measures the night on Spark, on all cores of this machine. The archive is
generated (benches/support/archive.py), 116 MB a million rows.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from batch.cutoff import Cutoff
from batch.duckdb_engine import open_duckdb
from batch.engine import OpenEngine
from batch.join import OUTCOME_COLUMNS, PREDICTION_COLUMNS
from batch.lake import FolderLake
from batch.memory import memory_bytes
from batch.nightly import make_snapshot
from batch.segments import SCHEMAS, segments_after
from benches.support.archive import FIRST_HOUR, WEEK, generate
from benches.support.process_tree import ProcessTree
from runway_streams.ground_truth.slim import CLIP
from runway_streams.times import BIN, HOUR

POLARS = Path(__file__).with_name("polars_join.py")
SAMPLE_S = 0.1
BARE_JOIN = f"""
    SELECT count(*), sum(predictions)::BIGINT, sum(joined)::BIGINT, sum(late)::BIGINT, sum(log_loss) FROM (
        SELECT model, version, bin, log_hour, count(*) AS predictions, count_if(is_joined) AS joined,
            count_if(is_late) AS late,
            sum(CASE WHEN is_joined THEN -ln(greatest({CLIP}, least(1 - {CLIP}, truth))) END) AS log_loss
        FROM (
            SELECT model, version, one.time // {BIN} AS bin, one.log_time // {HOUR} AS log_hour,
                outcome.time - one.time AS delay,
                coalesce(delay BETWEEN 0 AND join_window, false) AS is_joined,
                coalesce(delay > join_window, false) AS is_late,
                CASE WHEN outcome.label = positive THEN score ELSE 1 - score END AS truth
            FROM predictions AS one LEFT JOIN outcomes AS outcome USING (id)
        )
        GROUP BY ALL
    )"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="predictions of the week")
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--memory", default="4GiB")
    parser.add_argument("--engine", choices=("duckdb", "spark"), default="duckdb")
    parser.add_argument("--polars", action="store_true")
    parser.add_argument("--home", type=Path, help="where to work; a temporary folder without it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options)))
        return
    home = options.home or Path(tempfile.mkdtemp(prefix="runway-bench-"))
    try:
        report = measure(options, home)
    finally:
        if options.home is None:
            shutil.rmtree(home)
    print(json.dumps(report) if options.json else "\n".join(f"{name}: {value}" for name, value in report.items()))


def measure(options: argparse.Namespace, home: Path) -> dict:
    """The largest number of rows in full, each in `sizes`, and how flat they are."""
    sizes = [measure_one(options, home / str(rows), rows) for rows in options.rows]
    report = dict(max(sizes, key=lambda one: one["predictions"]))
    if len(sizes) > 1:
        by_row = [one["cpu_seconds"] / (one["predictions"] + one["outcomes"]) * 1e6 for one in sizes]
        report["sizes"] = sizes
        report["cpu_microseconds_a_row"] = [round(one, 3) for one in by_row]
        report["peak_memory_mib_by_size"] = [one["peak_memory_mib"] for one in sizes]
        report["dearest_row_to_cheapest"] = round(max(by_row) / min(by_row), 2)
    return report


def measure_one(options: argparse.Namespace, home: Path, rows: int) -> dict:
    lake = home / "lake"
    began = time.perf_counter()
    generate(lake, rows, options.models, options.features)
    generated = time.perf_counter() - began
    bytes_ = sum(file.stat().st_size for file in lake.rglob("*") if file.is_file())
    bare, bare_use = watched(options, home, "bare")
    ceiling, _ = watched(options, home, "ceiling")
    nights, use = watched(options, home, "nights")
    week, day = nights["nights"]
    counted = {name: one["predictions"] + one["outcomes"] for name, one in (("week", week), ("day", day))}
    report = {
        "engine": options.engine,
        "rows_per_second": week["rows_per_second"],
        "predictions": week["predictions"],
        "outcomes": week["outcomes"],
        "seconds": week["seconds"],
        "cpu_seconds": nights["cpu_seconds"][0],
        "phases": week["phases"],
        "peak_memory_mib": use["peak_memory_mib"],
        "memory_limit": options.memory,
        "within_memory_limit": use["peak_memory_mib"] <= memory_bytes(options.memory) / 2**20,
        "joined": week["joined"],
        "late": week["late"],
        "duplicates": week["duplicates"],
        "second_night_rows": counted["day"],
        "second_night_seconds": day["seconds"],
        "second_night_cpu_seconds": nights["cpu_seconds"][1],
        "second_night_share_of_rows": round(counted["day"] / counted["week"], 3),
        "second_night_share_of_seconds": round(day["seconds"] / week["seconds"], 3),
        "ceiling_rows_per_second": round(counted["week"] / ceiling["seconds"]),
        "share_of_ceiling": round(ceiling["seconds"] / week["seconds"], 3),
        "bare_join_rows_per_second": round(counted["week"] / bare["seconds"]),
        "share_of_bare_join": round(bare["seconds"] / week["seconds"], 3),
        "bare_join": bare | bare_use,
        "models": options.models,
        "features": options.features,
        "archive_mib": bytes_ >> 20,
        "generated_in_seconds": round(generated, 1),
    }
    if options.polars:
        report["polars"] = beside_polars(options, home, bare, counted["week"])
    return report


def beside_polars(options: argparse.Namespace, home: Path, bare: dict, rows: int) -> dict:
    """Polars' figures of the bare join; its answer must be DuckDB's."""
    script = ["uv", "run", "--no-project", "--script", str(POLARS)]
    # Once over no hours, so that it is installed before it is measured.
    run([*script, str(home / "lake"), "0", "0"], home, None)
    found, use = run([*script, str(home / "lake"), str(FIRST_HOUR), str(FIRST_HOUR + WEEK)], home, options.memory)
    if found is None:
        return {"ended_beyond_memory_limit": True} | use
    same = found["groups"] == bare["groups"] and all(
        abs(found["totals"][name] - total) <= 1e-9 * abs(total) for name, total in bare["totals"].items()
    )
    if not same:
        sys.exit(f"Polars counts {found} where DuckDB counts {bare}.")
    return {"seconds": found["seconds"], "rows_per_second": round(rows / found["seconds"])} | use


# -- each measurement in a process of its own ---------------------------------------------------------------------------


def watched(options: argparse.Namespace, home: Path, part: str) -> tuple[dict, dict]:
    command = [sys.executable, __file__, "--part", part, "--home", str(home), "--memory", options.memory]
    found, use = run([*command, "--engine", options.engine], home, None)
    assert found is not None
    return found, use


def run(command: list[str], home: Path, ended_beyond: str | None) -> tuple[dict | None, dict]:
    """What a command prints in its last line, and what it used; None where it took more memory than it may."""
    home.mkdir(parents=True, exist_ok=True)
    limit = memory_bytes(ended_beyond) / 2**20 if ended_beyond else float("inf")
    with ProcessTree(command, home / "log", {}) as tree:
        while tree.alive and tree.rss_mib <= limit:
            tree.sample()
            time.sleep(SAMPLE_S)
        beyond = tree.rss_mib > limit
    use = {"peak_memory_mib": tree.rss_mib}
    if beyond:
        return None, use
    try:
        return json.loads(tree.lines()[-1]), use
    except (IndexError, json.JSONDecodeError):
        sys.exit(f"{' '.join(command)} has ended:\n{tree.tail()}")


def ceiling(options: argparse.Namespace) -> dict:
    """DuckDB reading the week's columns and joining them by id, and nothing else."""
    columns = {"predictions": PREDICTION_COLUMNS, "outcomes": OUTCOME_COLUMNS}
    read = ", ".join(f"any_value({topic}.{name})" for topic, names in columns.items() for name in names)
    _, seconds = asked(options, f"SELECT {read} FROM predictions JOIN outcomes USING (id)")
    return {"seconds": round(seconds, 3)}


def bare(options: argparse.Namespace) -> dict:
    """DuckDB reading the week's files, joining and counting, and nothing else."""
    (groups, predictions, joined, late, log_loss), seconds = asked(options, BARE_JOIN)
    totals = {"predictions": predictions, "joined": joined, "late": late, "log_loss": log_loss}
    return {"seconds": round(seconds, 3), "groups": groups, "totals": totals}


def asked(options: argparse.Namespace, query: str) -> tuple[tuple, float]:
    """The one row that a query has over the week's files in DuckDB, and its seconds."""
    lake, scratch = FolderLake(options.home / "lake"), options.home / "scratch"
    week = [segment for segment in segments_after(lake, {}, scratch) if segment.log_hour < FIRST_HOUR + WEEK]
    with open_duckdb(lake, scratch, options.memory) as engine:
        for topic, schema in SCHEMAS.items():
            engine.files(topic, [one.path for one in week if one.topic == topic], schema)
        started = time.perf_counter()
        (row,) = engine.rows(query)
        return row, time.perf_counter() - started


def nights(options: argparse.Namespace) -> dict:
    """The reports of a night over the week and of one over the day after it."""
    lake, scratch, process = FolderLake(options.home / "lake"), options.home / "scratch", psutil.Process()
    made, used = [], [spent(process)]
    for hour in (FIRST_HOUR + WEEK, FIRST_HOUR + WEEK + 24):
        made.append(make_snapshot(lake, Cutoff(hour, 0), scratch, options.memory, 0, engine=engine_of(options)))
        used.append(spent(process))
    return {
        "nights": [report.to_json() for report in made],
        "cpu_seconds": [round(after - before, 2) for before, after in pairwise(used)],
    }


def spent(process: psutil.Process) -> float:
    """CPU seconds of a process and, as far as they still run, of those that it has started."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def engine_of(options: argparse.Namespace) -> OpenEngine:
    if options.engine == "duckdb":
        return open_duckdb
    from batch.spark_engine import open_spark

    master = f"local[{len(os.sched_getaffinity(0))}]"
    return partial(open_spark, master=master, archive_url=(options.home / "lake").absolute().as_uri())


PARTS = {"ceiling": ceiling, "bare": bare, "nights": nights}


if __name__ == "__main__":
    main()
