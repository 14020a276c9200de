"""What several commands share: the configuration, printing, and the shapes of arguments."""

import getpass
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from runway_streams.config import Config
from runway_streams.errors import ConfigError

HOUR_S = 3600

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for scripts.")]


def load_config() -> Config:
    """The configuration of this process: the one place that reads the environment."""
    return Config.from_env(os.environ)


def say(sentence: str) -> None:
    """Tell people how it goes, on stderr: stdout is for results."""
    typer.echo(sentence, err=True)


def print_json(document: Any) -> None:
    """Print one JSON document on one line."""
    typer.echo(json.dumps(document, separators=(",", ":"), sort_keys=True, default=str))


def actor() -> str:
    """Who uses the command line, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"[:200]
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"  # a container may run as a user that has no name


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "") -> None:
    """Print a table for people, or a sentence where it would be empty."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(escape, row))
    if table.row_count or not empty:
        Console().print(table)
    else:
        say(empty)


def escape(text: str) -> str:
    """Text as it is, whatever brackets it has.

    >>> escape("[red]")
    '\\\\[red]'
    """
    from rich.markup import escape as escape_markup

    return escape_markup(text)


def read_document(path: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds one mapping."""
    import yaml

    try:
        found = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Give the path of a JSON or YAML file.") from error
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"{path} is neither JSON nor YAML: {why}.", "Correct the file.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no mapping.", "Write NAME: VALUE lines, or a JSON object.")
    return found


def parse_hour(text: str) -> int:
    """An RFC 3339 full hour as hours since 1970 (UTC).

    >>> parse_hour("1970-01-02T03:00Z"), parse_hour("1970-01-01T05:00:00+02:00")
    (27, 3)
    """
    moment = parse_time(text)
    hour, rest = divmod(int(moment.timestamp()), HOUR_S)
    if rest or moment.microsecond:
        raise ConfigError(f"{text!r} is not a full hour.", "Give one such as 2026-11-22T03:00Z.")
    return hour


def parse_time(text: str) -> datetime:
    """An RFC 3339 time, or a date for its midnight, in UTC.

    >>> parse_time("2026-11-22").isoformat()
    '2026-11-22T00:00:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a time.", "Give one such as 2026-11-22T03:00Z or 2026-11-22.") from None
    if moment.tzinfo is None and len(text) > len("2026-11-22"):
        raise ConfigError(f"{text!r} has no time zone.", "Add one, such as Z for UTC.")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
