"""Addresses: the arguments that name what lies where in the registry, and their paths."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

Model = Annotated[str, typer.Argument(help="The model's id.")]
Version = Annotated[str, typer.Argument(help="The version's name.")]
File = Annotated[Path, typer.Option("-f", "--file", help="A JSON or YAML file.")]


def model_path(model: str, *below: str) -> str:
    """The path of what lies below a model.

    >>> model_path("fraud", "versions", "1.0+gpu"), model_path("a/b?")
    ('/v1/models/fraud/versions/1.0%2Bgpu', '/v1/models/a%2Fb%3F')
    """
    return _path("models", model, *below)


def default_path(scope: str, name: str, *below: str) -> str:
    """The path of what lies below a default policy; `scope` is teams or tasks.

    >>> default_path("teams", "card risk")
    '/v1/policies/teams/card%20risk'
    """
    return _path("policies", scope, name, *below)


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
