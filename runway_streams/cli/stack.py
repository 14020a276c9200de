"""`runway up` and `runway demo`: everything on this machine."""

from datetime import date
from typing import Annotated

import typer

from runway_streams.cli.common import AsJson, load_config, say
from runway_streams.errors import ConfigError

DEFAULT_API_PORT = 8000


def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The API's port; 0 for a free one.")] = DEFAULT_API_PORT,
) -> None:
    """Run Kafka, the workers, the API and the nightly batch on this machine until Ctrl-C.

    Everything lies below RUNWAY_HOME (~/.runway). The first start fetches Kafka's jars.

    Example: RUNWAY_HOME=/tmp/runway runway up --port 8080
    """
    from runway_streams.devstack.stack import Stack

    with Stack(load_config(), port, say=say) as stack:
        say(f"Ready. API: {stack.api_url}  Kafka: {stack.bootstrap}  Logs: {stack.config.home / 'logs'}")
        if stack.key:
            say(f"The API's first key, an admin's, told this once: {stack.key}")
        say("Ctrl-C stops everything.")
        stack.wait()


def demo(
    start: Annotated[str, typer.Option("--from", help="First scheduled date of the flights, in 2013.")] = "2013-04-01",
    end: Annotated[str, typer.Option("--to", help="The date after the last one.")] = "2013-05-01",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stream a month of real flights as predictions and outcomes, and print how two models did.

    The report comes last; with --json it is one document on the last line.

    Example: runway demo --from 2013-07-01 --to 2013-07-08
    """
    first, after = _date(start), _date(end)
    if first >= after:
        raise ConfigError(f"--from {first} is not before --to {after}.", "Give the date after the last one as --to.")
    from runway_streams.demo.run import run_demo

    raise typer.Exit(run_demo(load_config(), start=first, end=after, keep=keep, as_json=as_json))


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a date.", "Give one such as 2013-04-01.") from None
