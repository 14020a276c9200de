"""The options by which `runway versions register` says what a version is, read into a document."""

import hashlib
import json
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from runway_streams.cli.common import parse_time
from runway_streams.errors import ConfigError


def parse_metric(text: str) -> tuple[str, float]:
    """A metric as NAME=VALUE.

    >>> parse_metric("mae=4.5")
    ('mae', 4.5)
    """
    name, value = _parse_pair("--metric", text)
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ConfigError(f"--metric {name} is {value!r}.", "Give a finite number.")
    return name, number


def parse_parameter(text: str) -> tuple[str, Any]:
    """A hyperparameter as NAME=VALUE: JSON where it is a number, true, false, null or quoted, else a text.

    >>> parse_parameter("depth=3"), parse_parameter("loss=log"), parse_parameter("layers=[64, 32]")
    (('depth', 3), ('loss', 'log'), ('layers', '[64, 32]'))
    """
    name, value = _parse_pair("--parameter", text)
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return name, value
    return name, value if isinstance(found, list | dict) else found


def parse_feature(text: str) -> dict[str, str]:
    """A feature as NAME, or as NAME=DURATION with the age beyond which its value is stale.

    >>> parse_feature("country"), parse_feature("age=PT1H")
    ({'name': 'country'}, {'name': 'age', 'freshness': 'PT1H'})
    """
    if "=" not in text:
        return {"name": text}
    name, _, freshness = text.rpartition("=")
    return {"name": name, "freshness": freshness}


def parse_interval(start: str | None, end: str | None) -> dict[str, str] | None:
    """The training data's interval; both ends or neither.

    >>> parse_interval("2026-01-01", "2026-04-01")["end"]
    '2026-04-01T00:00:00+00:00'
    """
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise ConfigError("The training data's interval has one end.", "Give both --from and --to.")
    return {"start": parse_moment(start), "end": parse_moment(end)}


def parse_moment(text: str) -> str:
    """A time, or a date for its midnight in UTC, as RFC 3339."""
    return parse_time(text).isoformat()


def artifact_digest(path: Path | None, said: str | None) -> str | None:
    """The SHA-256 of a file, or what was said of it. Raises ConfigError where they differ."""
    if path is None:
        return said
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Give the path of the artifact's file.") from error
    if said is not None and said.lower() != found:
        raise ConfigError(f"The SHA-256 of {path} is {found}, not {said}.", "Give one of --artifact and --sha256.")
    return found


def read_profile(path: Path | None) -> Any:
    """The reference profile in a JSON file, as `runway profile` writes it."""
    if path is None:
        return None
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Make it by `runway profile -o`.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}.", "Make it by `runway profile -o`.") from error


def _parse_pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{option} is {text!r}.", "Give NAME=VALUE.")
    return name, value
