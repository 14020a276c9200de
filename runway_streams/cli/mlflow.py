"""`runway mlflow`: takes models and versions from an MLflow server into the registry."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from runway_streams.cli.common import AsJson, load_config, print_json, say
from runway_streams.errors import ConfigError

if TYPE_CHECKING:
    from runway_streams.config import Config
    from runway_streams.registry.mlflow.mapping import Mark
    from runway_streams.registry.mlflow.sync import Key, Outcome, Report, Sink
    from schemas.model import Model
    from schemas.model_version import ModelVersion, Stage

LISTED = 1_000
"""Versions that are listed; all are counted."""
NOTES = 20
"""Notes that people are shown."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def mlflow() -> None:
    """Take models and versions from MLflow."""


@app.command("sync")
def sync(
    full: Annotated[bool, typer.Option("--full", help="Look at everything, not only at what has changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take what is new in MLflow into the registry, now, and say what came of each version.

    RUNWAY_MLFLOW names the server. The API does the same every five minutes; both may run at once.

    Example: runway mlflow sync --full
    """
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("Asking MLflow...") as status:
        watched, report = asyncio.run(_sync(load_config(), full, status.update))
    if as_json:
        print_json(asdict(report) | {"versions": [asdict(each) for each in watched.taken]})
    else:
        _show(watched.taken, report)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a version. `stage` is where MLflow has it, None where it has not moved it."""

    outcome: str
    model_id: str
    version: str
    stage: str | None
    aliases: list[str]


@dataclass
class Watched:
    """A sink that tells how far it has come, and lists the first 1,000 versions that were taken."""

    sink: "Sink"
    tell: Callable[[str], None]
    looked_at: int = 0
    count: int = 0
    taken: list[Taken] = field(default_factory=list)

    async def marks(self, uri: str, keys: "list[Key]") -> "dict[Key, Mark]":
        """See Sink."""
        self.looked_at += len(keys)
        self._tell()
        return await self.sink.marks(uri, keys)

    async def aliased(self, uri: str) -> "dict[Key, Mark]":
        """See Sink."""
        return await self.sink.aliased(uri)

    async def take(
        self, model: "Model", version: "ModelVersion", stage: "Stage | None", aliases: list[str], mark: "Mark"
    ) -> "Outcome":
        """See Sink."""
        outcome = await self.sink.take(model, version, stage, aliases, mark)
        self.count += 1
        if outcome != "unchanged" and len(self.taken) < LISTED:
            self.taken.append(Taken(outcome, model.model_id, version.version, stage, aliases))
        self._tell()
        return outcome

    def _tell(self) -> None:
        self.tell(f"{self.looked_at:,} versions looked at, {self.count:,} taken...")


async def _sync(config: "Config", full: bool, tell: Callable[[str], None]) -> "tuple[Watched, Report]":
    from api.app import open_registry
    from runway_streams.ground_truth.model_settings_store import wall_clock
    from runway_streams.registry.mlflow.importer import MlflowImport

    if config.mlflow is None:
        raise ConfigError("No MLflow server is named.", "Set RUNWAY_MLFLOW to its address, such as http://mlflow:5000.")
    registry = open_registry(config, wall_clock)
    importer = MlflowImport(registry, config.mlflow)
    watching: list[Watched] = []

    def watch(sink: "Sink") -> "Sink":
        watching.append(Watched(sink, tell))
        return watching[0]

    try:
        report = await importer.sync(full=full, wrap=watch)
    finally:
        await registry.database.close()
    return watching[0], report


def shown(text: str) -> str:
    """Another server's words without what a terminal would obey.

    >>> shown("a\\x1b[2Jb")
    'a?[2Jb'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _show(taken: list[Taken], report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("outcome", "model", "version", "why", box=None, pad_edge=False)
    for each in taken:
        why = ", ".join([each.stage or "", *each.aliases]).strip(", ")
        table.add_row(each.outcome, each.model_id, each.version, why)
    for skipped in report.reasons:
        table.add_row("skipped", *map(shown, (skipped.name, skipped.version, skipped.reason)))
    if table.row_count:
        Console(markup=False).print(table)
    counts = ", ".join(
        f"{getattr(report, name):,} {name}" for name in ("created", "moved", "stayed", "unchanged", "skipped")
    )
    typer.echo(f"{report.models:,} models: {counts}.")
    for note in report.notes[:NOTES]:
        say(shown(note))
    if len(report.notes) > NOTES:
        say(f"{len(report.notes) - NOTES} more notes; --json has them.")
