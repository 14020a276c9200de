"""`runway apply`: models with their policies and rules, and defaults, from files."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from runway_streams.cli.addresses import default_path, model_path
from runway_streams.cli.common import AsJson, load_config, print_json, say
from runway_streams.cli.fields import shown
from runway_streams.cli.manifests import Desired, Scope, Wanted, read_desired
from runway_streams.cli.plan import Current, CurrentModel, Step, Tagged, make_plan
from runway_streams.cli.progress import for_each, progress
from runway_streams.cli.registry_client import RegistryClient, registry_client, run
from runway_streams.errors import ConfigError, RunwayError
from schemas.model import Model
from schemas.policy import Policy
from schemas.rules import RuleSet

MARKS = {"create": ("+", "green"), "change": ("~", "yellow"), "delete": ("-", "red")}
DONE = {"create": "created", "change": "changed", "delete": "taken away"}


def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A YAML or JSON file, or a folder of them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the registry as files describe it: models with their policies and rules, and the defaults.

    A document of a file is one whole model (what it leaves out has its default), with `policy` and `rules` where these
    are to be managed too; or `defaults` by teams and tasks. What no file names is left alone. The difference is shown
    first, and what somebody else changes meanwhile is an error. Applied again there is nothing to do.

    Example: runway apply -f registry/ --dry-run
    """
    desired = read_desired(file)
    # The wait for an answer lies between two clients: nothing is kept open while a person thinks.
    steps = make_plan(run(read_current(desired)), desired)
    if not as_json:
        show(steps)
    if dry_run or not steps:
        applied = False
    else:
        _ask(steps, yes)
        run(send(steps))
        applied = True
    if as_json:
        print_json({"applied": applied, "steps": [step.told() for step in steps]})
    elif not steps:
        say("There is nothing to do.")
    elif applied:
        say(f"{_counted(len(steps))} made.")


def show(steps: list[Step]) -> None:
    """Prints the difference, for people."""
    for step in steps:
        mark, colour = MARKS[step.action]
        typer.echo(typer.style(f"{mark} {step.what} {step.name}: {DONE[step.action]}", fg=colour, bold=True))
        for each in step.changes:
            known = step.action == "create" or each.before is None
            line = shown(each.after) if known else f"{shown(each.before)} -> {shown(each.after)}"
            typer.echo(f"    {each.field}: {line}")


def _ask(steps: list[Step], yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{_counted(len(steps))} to be made, and there is no terminal to ask at.", "Give --yes.")
    if not typer.confirm(f"{_counted(len(steps))} to be made. Go on?", err=True):
        say("Nothing was sent.")
        raise typer.Exit(1)


async def read_current(desired: Desired) -> Current:
    """What the registry has of all that the files describe, with its ETags."""
    async with registry_client(load_config()) as client:

        async def one_model(wanted: Wanted) -> CurrentModel:
            return await read_model(client, wanted)

        async def one_default(key: tuple[Scope, str]) -> Tagged:
            return await _read_policy(client, default_path(*key))

        models = await for_each(list(desired.models.values()), one_model, "Reading")
        defaults = await for_each(list(desired.defaults), one_default, "Reading")
    return Current(dict(zip(desired.models, models, strict=True)), dict(zip(desired.defaults, defaults, strict=True)))


async def read_model(client: RegistryClient, wanted: Wanted) -> CurrentModel:
    """What the registry has of a model, as far as its document names it."""
    model_id = wanted.model.model_id
    found = await client.find_tagged(model_path(model_id))
    if found is None:
        return CurrentModel()
    document, tag = found
    policy = rules = Tagged()
    if wanted.policy is not msgspec.UNSET:
        policy = await _read_policy(client, model_path(model_id, "policy"))
    if wanted.rules is not msgspec.UNSET:
        told, rules_tag = await client.get_tagged(model_path(model_id, "rules"))
        rules = Tagged(msgspec.convert({"rules": told["rules"]}, RuleSet), rules_tag)
    model = _part(document, Model) if document["registered"] else None
    return CurrentModel(model, tag, document["archived"], policy, rules)


async def _read_policy(client: RegistryClient, path: str) -> Tagged:
    answer = await client.ask("GET", path, accept=(404,))
    if "ETag" not in answer.headers:
        raise RunwayError(answer.json()["detail"])
    document = answer.json()
    # A model without a policy of its own is answered with the one in force; its ETag is that of its own nevertheless.
    there = answer.is_success and document.get("source", "model") == "model"
    return Tagged(_part(document, Policy) if there else None, answer.headers["ETag"])


async def send(steps: list[Step]) -> None:
    """Sends the steps one after the other. Raises RunwayError at the first that is not taken, with how many were."""
    untold = False
    async with registry_client(load_config()) as client:
        with progress("Sending", len(steps)) as advance:
            for done, step in enumerate(steps):
                answer = await _send_step(client, step, done, len(steps))
                untold |= step.what == "model" and not answer["settings"]["published"]
                advance()
    if untold:
        say("The workers are told how to read the models' events by an API process, once one runs.")


async def _send_step(client: RegistryClient, step: Step, done: int, of: int) -> Any:
    try:
        return await client.send(step.method, step.path, step.document, tag=step.tag)
    except RunwayError as error:
        made = f"{done} of {_counted(of)} had been made" if done else "Nothing had been changed"
        sentence = f"The {step.what} {step.name} was not {DONE[step.action]}: {error.sentence} {made}."
        raise RunwayError(sentence, "Run it again: it shows and sends what is left.") from error


def _part(document: dict[str, Any], kind: Any) -> Any:
    given = {name: document[name] for name in kind.__struct_fields__ if name in document}
    return msgspec.convert(given, kind)


def _counted(count: int) -> str:
    return f"{count:,} change{'' if count == 1 else 's'}"
