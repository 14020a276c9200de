"""`runway policies`: when models count as stale and what happens then; a model's own, and the defaults."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from runway_streams.cli.addresses import File, Model, default_path, model_path
from runway_streams.cli.common import AsJson, load_config, print_json, print_table, read_document, say
from runway_streams.cli.fields import flat, shown, whole
from runway_streams.cli.registry_client import RegistryClient, registry_client, run
from runway_streams.errors import RunwayError
from schemas.policy import Policy

app = typer.Typer(help="Say when a model counts as stale, and what happens then.", no_args_is_help=True)
default = typer.Typer(help="The policies of teams and tasks, for models without one of their own.", no_args_is_help=True)
app.add_typer(default, name="default")


class ScopeName(StrEnum):
    """Whose default it is."""

    TEAMS = "teams"
    TASKS = "tasks"


Scope = Annotated[ScopeName, typer.Argument(help="Whose default it is.")]
Name = Annotated[str, typer.Argument(help="The team, or binary, multiclass or regression.")]


@app.command()
def show(model: Model, as_json: AsJson = False) -> None:
    """Show the policy that applies to a model, and whose it is.

    Example: runway policies show fraud
    """
    _show(run(_get(model_path(model, "policy"))), as_json)


@app.command("set")
def set_(model: Model, file: File, as_json: AsJson = False) -> None:
    """Give a model a policy of its own, from a file with `staleness` and `retrain`.

    Example: runway policies set fraud -f policy.yaml
    """
    found = run(_put(model_path(model, "policy"), read_document(file)))
    print_json(found) if as_json else say(f"{model} has its own policy, revision {found['revision']}.")


@app.command()
def delete(model: Model, as_json: AsJson = False) -> None:
    """Take a model's own policy away: the defaults apply again.

    Example: runway policies delete fraud
    """
    found = run(_delete(model_path(model, "policy")))
    print_json(found) if as_json else say(f"{model} has no policy of its own; the {found['source']} one applies.")


@app.command()
def history(model: Model, as_json: AsJson = False) -> None:
    """List the revisions of a model's own policy, newest first: who changed what.

    Example: runway policies history fraud
    """
    _history(model_path(model, "policy", "revisions"), as_json)


@default.command("show")
def show_default(scope: Scope, name: Name, as_json: AsJson = False) -> None:
    """Show the default of a team or a task.

    Example: runway policies default show tasks binary
    """
    _show(run(_get(default_path(scope, name))), as_json)


@default.command("set")
def set_default(scope: Scope, name: Name, file: File, as_json: AsJson = False) -> None:
    """Give a team or a task a default, from a file with `staleness` and `retrain`.

    Example: runway policies default set teams risk -f policy.yaml
    """
    found = run(_put(default_path(scope, name), read_document(file)))
    print_json(found) if as_json else say(f"{scope}/{name} has a default, revision {found['revision']}.")


@default.command("delete")
def delete_default(scope: Scope, name: Name, as_json: AsJson = False) -> None:
    """Take the default of a team or a task away.

    Example: runway policies default delete teams risk
    """
    found = run(_delete(default_path(scope, name)))
    print_json(found) if as_json else say(f"{scope}/{name} has no default any more.")


@default.command("history")
def history_default(scope: Scope, name: Name, as_json: AsJson = False) -> None:
    """List the revisions of a default, newest first: who changed what.

    Example: runway policies default history teams risk
    """
    _history(default_path(scope, name, "revisions"), as_json)


async def policy_tag(client: RegistryClient, path: str) -> str:
    """The ETag of a policy, which there is too where it was taken away or nobody has said anything yet."""
    answer = await client.ask("GET", path, accept=(404,))
    if "ETag" not in answer.headers:
        raise RunwayError(answer.json()["detail"])
    return answer.headers["ETag"]


async def _get(path: str) -> Any:
    async with registry_client(load_config()) as client:
        return await client.get(path)


async def _put(path: str, document: dict[str, Any]) -> Any:
    async with registry_client(load_config()) as client:
        return await client.send("PUT", path, document, tag=await policy_tag(client, path))


async def _delete(path: str) -> Any:
    async with registry_client(load_config()) as client:
        return await client.send("DELETE", path, tag=await policy_tag(client, path))


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    given = {name: found[name] for name in Policy.__struct_fields__}
    fields = flat(whole(msgspec.convert(given, Policy)))
    source = {"source": found["source"]} if "source" in found else {}
    print_table(("policy", ""), [(name, shown(value)) for name, value in (source | fields).items() if value is not None])


def _history(path: str, as_json: bool) -> None:
    async def work() -> list[dict[str, Any]]:
        async with registry_client(load_config()) as client:
            return await client.all(path)

    items = run(work())
    if as_json:
        print_json({"items": items})
        return
    rows = [(str(new["revision"]), new["at"], new["actor"], _change(new, old)) for new, old in _with_older(items)]
    print_table(("revision", "at", "by", "change"), rows, empty="Nobody has set one yet.")


def _with_older(items: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(items, [*items[1:], {}], strict=True))


def _change(new: dict[str, Any], old: dict[str, Any]) -> str:
    if new["retrain"] is None:
        return "taken away"
    after, before = _fields(new), _fields(old) if old.get("retrain") else {}
    if not before:
        return "made"
    names = [name for name in after | before if after.get(name) != before.get(name)]
    return "; ".join(f"{name}: {shown(before.get(name))} -> {shown(after.get(name))}" for name in names)


def _fields(revision: dict[str, Any]) -> dict[str, Any]:
    return flat(whole(msgspec.convert({name: revision[name] for name in Policy.__struct_fields__}, Policy)))
