# /// script
# requires-python = ">=3.11"
# dependencies = ["polars==2.1.0"]
# ///
"""The batch's join and slim counts alone, in Polars: what `benches/batch.py --polars` puts beside DuckDB's of the same.

    uv run --no-project --script benches/polars_join.py LAKE FIRST_HOUR END_HOUR

Left out is what the batch does beyond it: no search for duplicates, no second tier, no carried records, no sorted files.
The streaming engine of Polars reads the files; it has no bound of its own for memory.
"""

import json
import sys
import time
from pathlib import Path

import polars as pl

BIN = 300_000
HOUR = 3_600_000


def main() -> None:
    lake, first, end = Path(sys.argv[1]), int(sys.argv[2]) * HOUR, int(sys.argv[3]) * HOUR
    started = time.perf_counter()
    rows = join(lake, first, end).collect(engine="streaming")
    totals = rows.select(pl.col("predictions", "joined", "late", "log_loss").sum()).row(0, named=True)
    print(json.dumps({"seconds": round(time.perf_counter() - started, 3), "groups": rows.height, "totals": totals}))


def join(lake: Path, first: int, end: int) -> pl.LazyFrame:
    """Predictions with their outcomes, counted by model, version, five minutes and log hour."""
    predictions = scan(lake, "predictions", first, end).select(
        "id", "log_time", "time", "model", "version", "label", "score", "positive", "join_window"
    )
    outcomes = scan(lake, "outcomes", first, end).select(
        "id", outcome_time="time", outcome_label="label", outcome_value="value"
    )
    delay = pl.col("outcome_time") - pl.col("time")
    score = pl.col("score")
    truth = pl.when(pl.col("outcome_label") == pl.col("positive")).then(score).otherwise(1 - score)
    joined = delay.is_between(0, pl.col("join_window")).fill_null(False)
    late = (delay > pl.col("join_window")).fill_null(False)
    return (
        predictions.join(outcomes, on="id", how="left")
        .select(
            "model", "version",
            bin=pl.col("time") // BIN, log_hour=pl.col("log_time") // HOUR,
            joined=joined, late=late,
            log_loss=pl.when(joined).then(-truth.clip(1e-15, 1 - 1e-15).log()),
        )
        .group_by("model", "version", "bin", "log_hour")
        .agg(pl.len().alias("predictions"), pl.col("joined", "late", "log_loss").sum())
    )  # fmt: skip


def scan(lake: Path, topic: str, first: int, end: int) -> pl.LazyFrame:
    """The topic's rows of some hours of the log."""
    files = sorted((lake / "archive" / topic).rglob("*.parquet"))
    return pl.scan_parquet(files).filter(pl.col("log_time").is_between(first, end, closed="left"))


if __name__ == "__main__":
    main()
