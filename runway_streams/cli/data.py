"""Commands over files: `runway replay` and `runway ground-truth export`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from runway_streams.cli.common import AsJson, load_config, parse_time, print_json
from runway_streams.errors import ConfigError

ground_truth = typer.Typer(help="The joined rows: each prediction with its outcome.", no_args_is_help=True)


def replay(
    predictions: Annotated[Path, typer.Argument(help="Predictions as Parquet, CSV or NDJSON.")],
    outcomes: Annotated[Path, typer.Argument(help="Outcomes as Parquet, CSV or NDJSON.")],
    settings: Annotated[Path | None, typer.Option(help="A JSON file with the models' settings.")] = None,
) -> None:
    """Join two files and compute all metrics, by the very rules of the stream but without a broker.

    Prints one JSON document.

    Example: runway replay predictions.parquet outcomes.parquet --settings models.json
    """
    for path in filter(None, (predictions, outcomes, settings)):
        if not path.exists():
            raise ConfigError(f"{path} does not exist.", "Give the path of a file.")
    from batch.replay import replay as run_replay

    print_json(run_replay(predictions, outcomes, settings))


@ground_truth.command("export")
def export(
    model: Annotated[str, typer.Argument(help="The model's id.")],
    start: Annotated[str, typer.Option(help="The first prediction time, such as 2026-11-01 or 2026-11-01T06:00Z.")],
    end: Annotated[str, typer.Option(help="The first prediction time that is not wanted any more.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write a model's ground-truth rows to one Parquet file.

    Example: runway ground-truth export fraud --start 2026-11-01 --end 2026-11-08 --out fraud.parquet
    """
    first, after = parse_time(start), parse_time(end)
    if first >= after:
        raise ConfigError(f"--start {start} is not before --end {end}.", "Swap them, or choose another range.")
    from batch.ground_truth_rows import export as write_rows

    rows = write_rows(load_config(), model, _ms(first), _ms(after), out)
    print_json({"rows": rows, "path": str(out)}) if as_json else typer.echo(f"Wrote {rows:,} rows to {out}.")


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
