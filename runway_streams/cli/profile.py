"""`runway profile`: the reference profile of a version, from the rows that it was trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runway_streams.cli.common import AsJson, say
from runway_streams.errors import ConfigError

if TYPE_CHECKING:
    from schemas.model_settings import BinProfile, ReferenceProfile


def profile(
    file: Annotated[Path, typer.Argument(help="A Parquet file: the rows that the version was trained on.")],
    feature: Annotated[
        list[str] | None, typer.Option(help="A feature's column; once for each. Without: all others.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="The column of the version's scores, or of a regression's values.")
    ] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", "--label", help="The column of what really happened.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="A column that is no feature; once for each.")] = None,
    bins: Annotated[int, typer.Option(min=2, max=64, help="Bins of a number, of equally many rows each.")] = 10,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The JSON file to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count the values of a Parquet file's columns in bins: what the drift of live events is measured against.

    Prints what it found; `-o` and `--json` give the profile itself. What is not counted is told on stderr.

    Example: runway profile train.parquet --score score --label late --exclude flight_id -o profile.json
    """
    import msgspec

    from runway_streams.ground_truth.labels import canonical_label
    from runway_streams.registry.reference_profile import Columns, profile_file

    columns = Columns(tuple(feature) if feature else None, score, outcome, tuple(exclude or ()))
    made = profile_file(file, columns, canonical_label, bins)
    for note in made.notes:
        say(note)
    text = msgspec.json.encode(made.profile).decode()
    if out:
        _write(out, text)
        say(f"Wrote the profile of {made.rows:,} rows to {out}.")
    if as_json:
        typer.echo(text)
    elif not out:
        _show(made.profile)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", "Give the path of a file in a folder.") from error


def _show(made: "ReferenceProfile") -> None:
    for name, variable in made.features.items():
        typer.echo(f"{name}  {_summary(variable)}")
    for name, other in (("score", made.score), ("outcome", made.outcome)):
        if other:
            typer.echo(f"({name})  {_summary(other)}")


def _summary(variable: "BinProfile") -> str:
    count = f"{sum(variable.counts):,.0f} values"
    if variable.edges is None:
        names = variable.categories or []
        some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        return f"{count} in {len(names)} categories: {some}"
    edges = ", ".join(f"{edge:g}" for edge in variable.edges[:9]) + (", ..." if len(variable.edges) > 9 else "")
    return f"{count} in {len(variable.counts)} bins" + (f" at {edges}" if edges else "")
