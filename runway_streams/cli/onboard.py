"""`runway onboard`: proposes an entry for every model that the stream has seen but nobody has registered."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from runway_streams.cli.addresses import model_path
from runway_streams.cli.common import AsJson, load_config, print_json, say
from runway_streams.cli.fields import shown
from runway_streams.cli.progress import for_each
from runway_streams.cli.proposals import Proposal, propose, refusal, text_of
from runway_streams.cli.registry_client import RegistryClient, registry_client, run
from runway_streams.errors import ConfigError

FEW = 10
"""Beyond so many models a bar is shown: each takes a look through its whole history."""
WINDOW = "P366D"
"""The widest window: the totals are asked for, and 10,000 windows cover every range."""


def onboard(
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A folder, made where it is missing: a file for each model.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Propose an entry for each model that the stream has seen but nobody has registered, for `runway apply -f`.

    Entries go to stdout, or to one file a model. What is guessed says so in a comment; correct it before you apply it.

    Example: runway onboard -o registry/
    """
    seen = run(_look())
    proposals = [propose(item, performance) for item, performance in seen if not refusal(item["model_id"])]
    refused = [(item["model_id"], why) for item, _ in seen if (why := refusal(item["model_id"]))]
    kept = [] if out is None else _write(out, proposals)
    if as_json:
        print_json({
            "proposals": [{**msgspec.to_builtins(each.entry), "notes": list(each.notes)} for each in proposals],
            "refused": [{"model_id": model_id, "reason": reason} for model_id, reason in refused],
            "kept": [str(path) for path in kept],
        })  # fmt: skip
    elif out is None:
        typer.echo("---\n".join(map(text_of, proposals)), nl=False)
    for model_id, reason in refused:
        say(f"{shown(model_id)} cannot be registered: {reason}")
    for path in kept:
        say(f"{path} is there already and was left as it is.")
    if out is not None and proposals:
        written = len(proposals) - len(kept)
        say(f"Wrote {written:,} {'entry' if written == 1 else 'entries'} to {out}. Read first, then: runway apply -f {out}")
    if not seen:
        say("Every model that the stream has seen is registered.")


async def _look() -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    async with registry_client(load_config()) as client:
        items = await client.all("/v1/models", registered="false", archived="any")

        async def ask(item: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
            worth = item["seen"] and not refusal(item["model_id"])
            return item, await _performance(client, item) if worth else None

        return await for_each(items, ask, "Looking at models", FEW)


async def _performance(client: RegistryClient, item: dict[str, Any]) -> dict[str, Any] | None:
    """The totals of all that was seen of a model; None where the API cannot tell, whatever the reason."""
    last = datetime.fromisoformat(item["seen"]["last"])
    asked = {"start": item["seen"]["first"], "end": (last + timedelta(seconds=1)).isoformat(), "granularity": WINDOW}
    path = model_path(item["model_id"], "performance")
    answer = await client.ask("GET", path, params=asked, accept=(400, 404, 503))
    return answer.json() if answer.is_success else None


def _write(folder: Path, proposals: list[Proposal]) -> list[Path]:
    """Writes a file each, and returns those that were there already: somebody may have worked on them."""
    kept = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in proposals:
            path = folder / f"{each.entry.model_id}.yaml"
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(text_of(each))
            except FileExistsError:
                kept.append(path)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}.", "Give a folder for the entries.") from error
    return kept
