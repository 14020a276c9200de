"""What several commands share: the configuration, printing, and the shapes of arguments."""

import json
import os
from datetime import UTC, datetime
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
