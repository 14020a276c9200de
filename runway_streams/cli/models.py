"""`runway models`: the settings by which each model's events are read."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runway_streams.cli.common import AsJson, load_config, print_json
from runway_streams.errors import ConfigError

if TYPE_CHECKING:
    from schemas.model_settings import ModelSettings

app = typer.Typer(help="Set and list how each model's events are read.", no_args_is_help=True)


class Task(StrEnum):
    """What a model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


@app.command("set")
def set_(
    model: Annotated[str | None, typer.Argument(help="The model's id.")] = None,
    task: Annotated[Task | None, typer.Option(help="What it predicts; guessed from the events without.")] = None,
    join_window: Annotated[str | None, typer.Option(help="How long an outcome may take, such as PT12H.")] = None,
    threshold: Annotated[float | None, typer.Option(help="The score from which on it is positive.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A class; once for each.")] = None,
    positive_label: Annotated[str | None, typer.Option(help="The positive class.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="A segment key to break down by; once for each.")] = None,
    profile: Annotated[Path | None, typer.Option(help="A JSON file with the reference profile.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A JSON file with all settings.")] = None,
) -> None:
    """Set how a model's events are read; options go over what a file says.

    New settings apply to predictions from about a minute later on; those of a new model from its first one.

    Example: runway models set fraud --task binary --join-window PT12H --threshold 0.7 --segment country
    """
    given = {
        "model_id": model,
        "task": task and task.value,
        "join_window": join_window,
        "threshold": threshold,
        "labels": label,
        "positive_label": positive_label,
        "segments": segment,
        "profile": profile and _read_json(profile),
    }
    settings = _settings(_read_json(file) if file else {}, given)
    from runway_streams.ground_truth.model_settings_store import set_model

    asyncio.run(set_model(load_config(), settings))
    typer.echo(f"The settings of {settings.model_id} are published.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the models that have settings.

    Example: runway models list --json
    """
    import msgspec

    from runway_streams.ground_truth.model_settings_store import list_models

    models = msgspec.to_builtins(asyncio.run(list_models(load_config())))
    if as_json:
        print_json({"items": models})
        return
    for model in models:
        task, window = model.get("task", "guessed"), model.get("join_window", "PT1H")
        typer.echo(f"{model['model_id']}  task {task}, window {window}")


def _settings(base: dict[str, Any], given: dict[str, Any]) -> "ModelSettings":
    import msgspec

    from schemas.model_settings import ModelSettings

    merged = base | {name: value for name, value in given.items() if value is not None}
    if "model_id" not in merged:
        raise ConfigError("No model is named.", "Give its id as the first argument, or as model_id in the file.")
    try:
        return msgspec.convert(merged, ModelSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The settings of {merged['model_id']} cannot be used: {error}.", "Correct that.") from error


def _read_json(path: Path) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Give the path of a JSON file.") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}.", "Correct the file.") from error
