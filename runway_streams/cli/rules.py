"""`runway rules`: when a model's versions move from stage to stage by themselves, and why they did or did not."""

from pathlib import Path
from typing import Annotated, Any

import typer

from runway_streams.cli.addresses import File, Model, Version, model_path
from runway_streams.cli.common import AsJson, load_config, print_json, print_table, read_document, say
from runway_streams.cli.registry_client import registry_client, run
from runway_streams.errors import ConfigError

app = typer.Typer(help="Say when versions move by themselves, and see why they did or did not.", no_args_is_help=True)


@app.command()
def show(model: Model, as_json: AsJson = False) -> None:
    """Show a model's rules in the order in which they are tried.

    Example: runway rules show fraud
    """

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            return await client.get(model_path(model, "rules"))

    found = run(work())
    if as_json:
        print_json(found)
        return
    rows = [(each["name"], each["from"], each["to"], each["when"]) for each in found["rules"]]
    print_table(("rule", "from", "to", "when"), rows, empty=f"{model} has no rules.")


@app.command("set")
def set_(model: Model, file: File, as_json: AsJson = False) -> None:
    """Put the rules of a file, a list `rules`, in the place of a model's own. They are tried at once.

    Example: runway rules set fraud -f rules.yaml
    """
    document = _read_rules(file)

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            path = model_path(model, "rules")
            _, tag = await client.get_tagged(path)
            return await client.send("PUT", path, document, tag=tag)

    found = run(work())
    print_json(found) if as_json else say(f"{model} has {len(found['rules'])} rules, revision {found['revision']}.")


@app.command("dry-run")
def dry_run(
    model: Model,
    version: Version,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="A JSON or YAML file of rules; without, the model's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try rules on a version as things are now. Nothing is moved or written down.

    Example: runway rules dry-run fraud 1.2.0 -f rules.yaml
    """
    document = {"version": version} | (_read_rules(file) if file else {})

    async def work() -> Any:
        async with registry_client(load_config()) as client:
            return await client.send("POST", model_path(model, "rules", "dry-run"), document)

    found = run(work())
    if as_json:
        print_json(found)
        return
    rows = [(each["rule"], f"{each['from']} -> {each['to']}", each["outcome"], each["reason"]) for each in found["verdicts"]]
    print_table(("rule", "move", "outcome", "reason"), rows, empty=f"No rule is for stage {found['stage']}.")
    what = f"would move from {found['stage']} to {found['move_to']}" if found["move_to"] else f"stays in {found['stage']}"
    typer.echo(f"The version {version} {what}.")


@app.command()
def evaluations(
    model: Model,
    version: Annotated[str | None, typer.Option(help="Only those of this version.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what rules have come to, newest first: the last 1,000 times that an outcome changed.

    Example: runway rules evaluations fraud --version 1.2.0
    """

    async def work() -> list[dict[str, Any]]:
        async with registry_client(load_config()) as client:
            return await client.all(model_path(model, "evaluations"), version=version)

    items = run(work())
    if as_json:
        print_json({"items": items})
        return
    rows = [(each["at"], each["version"], each["rule"], each["outcome"], each["reason"]) for each in items]
    print_table(("at", "version", "rule", "outcome", "reason"), rows, empty="No rule has been tried yet.")


def _read_rules(file: Path) -> dict[str, Any]:
    document = read_document(file)
    document.pop("revision", None)  # as `show --json` prints it
    if document.keys() != {"rules"}:
        raise ConfigError(f"{file} does not hold a list `rules` alone.", "See `runway rules show MODEL --json`.")
    return document
