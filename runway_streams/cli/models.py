"""`runway models`: the catalog of models on the command line, as the API has it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from runway_streams.cli import settings_options as options
from runway_streams.cli.addresses import Model, model_path
from runway_streams.cli.common import AsJson, load_config, print_json, print_table, read_document, say
from runway_streams.cli.registry_client import registry_client, run
from runway_streams.errors import ConfigError

app = typer.Typer(help="Register models, change them, and look at them.", no_args_is_help=True)
MODELS = "/v1/models"


@app.command("list")
def list_(
    text: Annotated[
        str | None, typer.Argument(help="Words that must occur in id, name, owner, description or tags.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="The team that owns it.")] = None,
    tag: Annotated[str | None, typer.Option(help="A tag that it has.")] = None,
    stage: Annotated[str | None, typer.Option(help="A stage that one of its versions is in.")] = None,
    status: Annotated[str | None, typer.Option(help="HEALTHY, AT_RISK, RETRAINING or UNKNOWN.")] = None,
    task: Annotated[str | None, typer.Option(help="binary, multiclass or regression.")] = None,
    unregistered: Annotated[bool, typer.Option("--unregistered", help="Only those that nobody has registered.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Only archived ones.")] = False,
    sort: Annotated[
        str, typer.Option(help="model_id, name, updated_at or criticality; with - in front descending.")
    ] = "model_id",
    as_json: AsJson = False,
) -> None:
    """List models.

    Example: runway models list fraud --owner risk --stage production
    """
    asked = {"q": text, "owner": owner, "tag": tag, "stage": stage, "status": status, "task": task, "sort": sort}
    asked |= {"registered": "false" if unregistered else None, "archived": "true" if archived else None}

    async def work() -> list[dict[str, Any]]:
        async with registry_client(load_config()) as client:
            return await client.all(MODELS, **asked)

    items = run(work())
    if as_json:
        print_json({"items": items})
        return
    rows = [
        (
            item["model_id"] + ("" if item["registered"] else " (not registered)"),
            item["owner"],
            item["task"] or "",
            item["criticality"],
            item["status"],
            ", ".join(item["stages"]),
            ", ".join(f"{alias}={version}" for alias, version in item["aliases"].items()),
        )
        for item in items
    ]
    print_table(
        ("model", "owner", "task", "criticality", "status", "stages", "aliases"), rows, empty="No model is like that."
    )


@app.command()
def show(model: Model, as_json: AsJson = False) -> None:
    """Show one model, its versions and the policy in force.

    Example: runway models show fraud
    """

    async def work() -> dict[str, Any]:
        async with registry_client(load_config()) as client:
            document = await client.get(model_path(model))
            versions = await client.get(model_path(model, "versions"))
            policy = await client.get(model_path(model, "policy"))
            return {**document, "versions": versions["items"], "policy": policy}

    found = run(work())
    if as_json:
        print_json(found)
        return
    plain = {
        name: value
        for name, value in found.items()
        if name not in ("versions", "policy") and value not in (None, [], {}, "")
    }
    print_table(("", ""), [(name, _short(value)) for name, value in plain.items()])
    rows = [
        (each["version"], each["stage"], each["status"], each["created_at"], each["created_by"])
        for each in found["versions"]
    ]
    print_table(("version", "stage", "status", "registered", "by"), rows, empty="It has no version yet.")
    print_table(("policy", ""), [(name, _short(found["policy"][name])) for name in ("source", "staleness", "retrain")])


@app.command()
def register(
    model: Annotated[str | None, typer.Argument(help="The model's id; may stand in the file.")] = None,
    owner: options.Owner = None,
    name: options.Name = None,
    description: options.Description = None,
    tag: options.Tags = None,
    criticality: options.Criticality = None,
    task: options.Task = None,
    join_window: options.JoinWindow = None,
    threshold: options.Threshold = None,
    label: options.Labels = None,
    positive_label: options.PositiveLabel = None,
    segment: options.Segments = None,
    features: options.Features = None,
    flow: options.Flow = None,
    shadow: options.Shadow = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A JSON or YAML file; options go over it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a model. One that the stream has seen already keeps its history.

    Its settings apply to a new model from its first event, to one that has been seen from about a minute later on.

    Example: runway models register fraud --owner risk --task binary --join-window PT12H --threshold 0.7 --segment country
    """
    document = _document(locals(), file)
    if "model_id" not in document:
        raise ConfigError("No model is named.", "Give its id as the first argument, or as model_id in the file.")

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            return await client.send("POST", MODELS, document)

    _tell(run(work()), "registered", as_json)


@app.command()
def change(
    model: Model,
    owner: options.Owner = None,
    name: options.Name = None,
    description: options.Description = None,
    tag: options.Tags = None,
    criticality: options.Criticality = None,
    task: options.Task = None,
    join_window: options.JoinWindow = None,
    threshold: options.Threshold = None,
    label: options.Labels = None,
    positive_label: options.PositiveLabel = None,
    segment: options.Segments = None,
    features: options.Features = None,
    flow: options.Flow = None,
    shadow: options.Shadow = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A JSON or YAML file of what to change.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a model; the rest stays.

    Example: runway models change fraud --threshold 0.6
    """
    document = _document(locals(), file)
    if document.keys() <= {"model_id"}:
        raise ConfigError("Nothing is to be changed.", "Give an option, or a file.")
    _tell(run(_patch(model, document)), "changed", as_json)


@app.command()
def archive(model: Model, as_json: AsJson = False) -> None:
    """Take a model out of the lists; nothing of its history is lost.

    Example: runway models archive fraud
    """
    _tell(run(_patch(model, {"archived": True})), "archived", as_json)


@app.command()
def restore(model: Model, as_json: AsJson = False) -> None:
    """Bring an archived model back.

    Example: runway models restore fraud
    """
    _tell(run(_patch(model, {"archived": False})), "restored", as_json)


async def _patch(model: str, document: dict[str, Any]) -> Any:
    async with registry_client(load_config()) as client:
        _, tag = await client.get_tagged(model_path(model))
        return await client.send("PATCH", model_path(model), document, tag=tag)


def _document(given: dict[str, Any], file: Path | None) -> dict[str, Any]:
    document = read_document(file) if file else {}
    for option, member in options.MEMBERS.items():
        if given.get(option) is not None:
            document[member] = given[option]
    return document


def _tell(document: dict[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    say(f"{document['model_id']} is {what}.")
    if not document["settings"]["published"]:
        say("The workers are told how to read its events within seconds by an API process that runs, such as `runway api`.")


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_short(each)}" for name, each in value.items() if each is not None)
    return str(value)
