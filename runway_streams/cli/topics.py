"""`runway topics`: create the topics, and check those that exist."""

import asyncio
from typing import Annotated

import typer

from runway_streams.cli.checks import print_findings
from runway_streams.cli.common import AsJson, load_config, print_json

app = typer.Typer(help="Create the topics, and check those that exist.", no_args_is_help=True)


@app.command("create")
def create(
    partitions: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Partitions of predictions, outcomes and metrics; 4.")
    ] = None,
    replication: Annotated[
        int | None, typer.Option(min=1, max=9, help="Copies of each record; 3, or as many as there are brokers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing; those that exist stay as they are.

    The number of partitions cannot be changed later.

    Example: runway topics create --partitions 12 --replication 3
    """
    from runway_streams.topics import create_topics

    created = asyncio.run(create_topics(load_config(), partitions, replication))
    if as_json:
        print_json({"created": created})
    else:
        typer.echo(f"Created {', '.join(created)}." if created else "All topics exist already.")


@app.command("check")
def check(as_json: AsJson = False) -> None:
    """Say what is wrong with the topics, and what to do; exit code 1 when a worker would refuse them.

    Example: runway topics check --json
    """
    from runway_streams.topics import inspect_topics

    raise typer.Exit(print_findings(asyncio.run(inspect_topics(load_config())), as_json))
