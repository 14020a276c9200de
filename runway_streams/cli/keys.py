"""`runway keys`: API keys, straight in the registry's database: who reaches that needs no key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runway_streams.cli.common import AsJson, actor, load_config, print_json, say
from runway_streams.times import format_time, parse_duration

if TYPE_CHECKING:
    from runway_streams.registry.changes import Registry
    from runway_streams.registry.keys import KeyEntry

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
PAGE = 1_000


class RoleName(StrEnum):
    """What a key may do; each may do what those before it may."""

    READER = "reader"
    OWNER = "owner"
    OPERATOR = "operator"
    ADMIN = "admin"


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who or what uses the key.")],
    role: Annotated[RoleName, typer.Option(help="What it may do.")],
    team: Annotated[list[str] | None, typer.Option(help="A team whose models an owner may write; once for each.")] = None,
    expires: Annotated[str | None, typer.Option(help="After how long it ends, such as P90D; never without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once: nobody can read it again.

    Example: runway keys create ci --role owner --team risk --expires P90D
    """
    lasts = None if expires is None else parse_duration(expires)
    entry, key = asyncio.run(_create(name, role.value, team or [], lasts))
    if as_json:
        print_json({"key": key, "prefix": entry.prefix, "role": entry.role})
        return
    typer.echo(key)
    say("Keep it now: it is not shown again.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the keys by their prefixes, those that have ended too, for 90 days.

    Example: runway keys list --json
    """
    found = asyncio.run(_list())
    if as_json:
        print_json({"items": [_item(entry) for entry in found]})
        return
    for entry in found:
        item = _item(entry)
        state = f"revoked {item['revoked_at']}" if entry.revoked_at else f"expires {item['expires_at'] or 'never'}"
        of = f" of {', '.join(entry.teams)}" if entry.teams else ""
        typer.echo(f"{entry.prefix}  {entry.name}  {entry.role}{of}, {state}")


@app.command("revoke")
def revoke(prefix: Annotated[str, typer.Argument(help="The eight characters after rk_.")]) -> None:
    """End a key for ever; every API process refuses it within 30 seconds.

    Example: runway keys revoke k3vq7x2a
    """
    asyncio.run(_revoke(prefix))
    typer.echo(f"The key {prefix} is revoked.")


async def _create(name: str, role: str, teams: list[str], lasts: int | None) -> "tuple[KeyEntry, str]":
    from runway_streams.registry import keys

    async with _registry() as registry, registry.change(actor()) as change:
        return await keys.create(change, name, role, teams, None if lasts is None else change.now + lasts)


async def _list() -> "list[KeyEntry]":
    from runway_streams.registry import keys

    found: list[KeyEntry] = []
    async with _registry() as registry, registry.read() as connection:
        while page := await keys.page(connection, PAGE, found[-1].prefix if found else ""):
            found += page
    return found


async def _revoke(prefix: str) -> None:
    from runway_streams.registry import keys

    async with _registry() as registry, registry.change(actor()) as change:
        await keys.revoke(change, prefix)


@asynccontextmanager
async def _registry() -> "AsyncIterator[Registry]":
    from api.app import open_registry
    from runway_streams.ground_truth.model_settings_store import wall_clock

    registry = open_registry(load_config(), wall_clock)
    try:
        yield registry
    finally:
        await registry.database.close()


def _item(entry: "KeyEntry") -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at")
    told = asdict(entry)
    return told | {name: None if told[name] is None else format_time(told[name]) for name in times}
