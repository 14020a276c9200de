"""`runway versions`: a model's versions, their stages and status, and the aliases that stand for them."""

from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from runway_streams.cli import version_options as options
from runway_streams.cli.addresses import Model, Version, model_path
from runway_streams.cli.common import AsJson, load_config, print_json, print_table, read_document, say
from runway_streams.cli.fields import shown
from runway_streams.cli.registry_client import registry_client, run
from runway_streams.errors import ConfigError

app = typer.Typer(help="Register a model's versions, move them, and name them.", no_args_is_help=True)
Alias = Annotated[str, typer.Argument(help="The alias, such as champion.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]


class StageName(StrEnum):
    """Where a version is in its life."""

    EXPLORATION = "exploration"
    TRAINING = "training"
    EVALUATION = "evaluation"
    STAGING = "staging"
    PRODUCTION = "production"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"


class StatusName(StrEnum):
    """How a version is doing."""

    HEALTHY = "HEALTHY"
    AT_RISK = "AT_RISK"
    RETRAINING = "RETRAINING"
    UNKNOWN = "UNKNOWN"


@app.command("list")
def list_(
    model: Model,
    stage: Annotated[StageName | None, typer.Option(help="Only those in this stage.")] = None,
    as_json: AsJson = False,
) -> None:
    """List a model's versions, newest first.

    Example: runway versions list fraud --stage production
    """

    async def work() -> list[dict[str, Any]]:
        async with registry_client(load_config()) as client:
            return await client.all(model_path(model, "versions"), stage=stage)

    items = run(work())
    if as_json:
        print_json({"items": items})
        return
    rows = [
        (each["version"], each["stage"], each["status"], ", ".join(each["aliases"]), each["created_at"], each["created_by"])
        for each in items
    ]
    print_table(("version", "stage", "status", "aliases", "registered", "by"), rows, empty="No version is like that.")


@app.command()
def show(model: Model, version: Version, as_json: AsJson = False) -> None:
    """Show one version and how it came to its stage.

    Example: runway versions show fraud 1.2.0
    """

    async def work() -> dict[str, Any]:
        async with registry_client(load_config()) as client:
            document = await client.get(model_path(model, "versions", version))
            moves = await client.get(model_path(model, "versions", version, "moves"))
            return {**document, "moves": moves["items"]}

    found = run(work())
    if as_json:
        print_json(found)
        return
    plain = {name: value for name, value in found.items() if name != "moves" and value not in (None, [], {}, "")}
    print_table(("", ""), [(name, value if isinstance(value, str) else shown(value)) for name, value in plain.items()])
    rows = [
        (each["at"], f"{each['from'] or 'registered'} -> {each['to']}", each["actor"], each["reason"])
        for each in found["moves"]
    ]
    print_table(("at", "move", "by", "reason"), rows)


@app.command()
def register(
    model: Model,
    version: Annotated[str | None, typer.Argument(help="The version's name; may stand in the file.")] = None,
    artifact_uri: Annotated[str | None, typer.Option(help="Where the trained artifact lies.")] = None,
    sha256: Annotated[str | None, typer.Option(help="The artifact's SHA-256 in hexadecimal.")] = None,
    artifact: Annotated[Path | None, typer.Option(help="The artifact's file, of which the SHA-256 is taken.")] = None,
    training_run: Annotated[str | None, typer.Option("--run", help="The training run, such as FraudFlow/17.")] = None,
    code: Annotated[str | None, typer.Option(help="The code, such as git:1f2e3d.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="A training metric as NAME=VALUE; once for each.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="A hyperparameter as NAME=VALUE, JSON or text; once for each.")
    ] = None,
    trained_at: Annotated[str | None, typer.Option(help="When training ended; the version's age begins there.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="The first time of the training data.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The first time after the training data.")] = None,
    profile: Annotated[Path | None, typer.Option(help="The reference profile, as `runway profile -o` writes it.")] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="A feature, with the age at which it is stale: NAME=PT1H; once for each.")
    ] = None,
    stage: Annotated[StageName | None, typer.Option(help="The stage that it begins in; exploration without.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A JSON or YAML file; options go over it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a version. It never changes afterwards: the same one again is no error, another one of its name is.

    Example: runway versions register fraud 1.2.0 --run FraudFlow/17 --metric mae=4.5 --parameter depth=3
    --trained-at 2026-04-02T10:00Z --from 2026-01-01 --to 2026-04-01 --profile profile.json --feature amount=PT1H
    """
    given = {
        "version": version,
        "artifact_uri": artifact_uri,
        "artifact_sha256": options.artifact_digest(artifact, sha256),
        "training_run": training_run,
        "code_ref": code,
        "metrics": dict(map(options.parse_metric, metric)) if metric else None,
        "hyperparameters": dict(map(options.parse_parameter, parameter)) if parameter else None,
        "trained_at": options.parse_moment(trained_at) if trained_at else None,
        "training_interval": options.parse_interval(start, end),
        "profile": options.read_profile(profile),
        "features": [*map(options.parse_feature, feature)] if feature else None,
        "stage": stage,
    }
    document = _with_times(read_document(file) if file else {})
    document |= {name: value for name, value in given.items() if value is not None}
    if "version" not in document:
        raise ConfigError("No version is named.", "Give its name as the second argument, or as version in the file.")

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            return await client.send("POST", model_path(model, "versions"), document)

    _tell(run(work()), "is registered, in stage {stage}.", as_json)


@app.command()
def move(
    model: Model,
    version: Version,
    stage: Annotated[StageName, typer.Argument(help="The stage that it shall move to.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Move a version to another stage. Only legal steps are taken.

    Example: runway versions move fraud 1.2.0 staging --reason "better than 1.1.0 on last month"
    """

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            document = {"to": stage, "reason": reason}
            return await client.send("POST", model_path(model, "versions", version, "moves"), document)

    _tell(run(work()), "is in stage {stage}.", as_json)


@app.command()
def status(
    model: Model,
    version: Version,
    value: Annotated[StatusName, typer.Argument(metavar="STATUS", help="How it is doing.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Say how a version is doing, and why that is known.

    Example: runway versions status fraud 1.2.0 AT_RISK --reason "complaints from the branch"
    """

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            _, tag = await client.get_tagged(model_path(model, "versions", version))
            document = {"status": value, "reason": reason}
            return await client.send("PUT", model_path(model, "versions", version, "status"), document, tag=tag)

    _tell(run(work()), "is {status}.", as_json)


@app.command()
def alias(model: Model, name: Alias, version: Version, as_json: AsJson = False) -> None:
    """Let an alias stand for a version, whichever it stood for before.

    Example: runway versions alias fraud champion 1.2.0
    """

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            path = model_path(model, "aliases", name)
            before = await client.find_tagged(path)
            # Without one before it must be new, so that two who make it at once do not both succeed.
            condition = {"If-Match": before[1]} if before else {"If-None-Match": "*"}
            return (await client.ask("PUT", path, headers=condition, json={"version": version})).json()

    found = run(work())
    print_json(found) if as_json else say(f"{name} of {model} is {found['version']}.")


@app.command()
def unalias(model: Model, name: Alias) -> None:
    """Take an alias away.

    Example: runway versions unalias fraud challenger
    """

    async def work() -> None:
        async with registry_client(load_config()) as client:
            path = model_path(model, "aliases", name)
            _, tag = await client.get_tagged(path)
            await client.send("DELETE", path, tag=tag)

    run(work())
    say(f"{name} of {model} stands for nothing any more.")


def _tell(document: dict[str, Any], sentence: str, as_json: bool) -> None:
    said = f"The version {document['version']} of {document['model_id']} {sentence.format_map(document)}"
    print_json(document) if as_json else say(said)


def _with_times(document: Any) -> Any:
    # YAML reads 2026-04-02 as a date; a time needs its zone, and a date is taken as everywhere else: midnight in UTC.
    if isinstance(document, dict):
        return {name: _with_times(value) for name, value in document.items()}
    if isinstance(document, date) and not isinstance(document, datetime):
        return options.parse_moment(document.isoformat())
    return document
