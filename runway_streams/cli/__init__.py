"""The command line: `runway`. Each command is a few lines that call the part that does the work."""

import logging
import sys

import typer

from runway_streams.cli import (
    apply,
    backup,
    checks,
    data,
    dead_letters,
    keys,
    lineage,
    mlflow,
    models,
    onboard,
    policies,
    processes,
    profile,
    rules,
    stack,
    topics,
    versions,
)
from runway_streams.errors import RunwayError
from runway_streams.full_disk import full_disk

EXIT_REFUSED = 2

app = typer.Typer(
    name="runway",
    help="Watches machine-learning models in production: joins predictions with outcomes and serves performance.",
    epilog="Try it: runway demo    Run it: runway up    Look after it: runway doctor",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(stack.demo)
app.command("up")(stack.up)
app.command("worker")(processes.worker)
app.command("api")(processes.api)
app.command("batch")(processes.batch)
app.command("replay")(data.replay)
app.command("profile")(profile.profile)
app.command("apply")(apply.apply)
app.command("onboard")(onboard.onboard)
app.command("doctor")(checks.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(topics.app, name="topics")
app.add_typer(models.app, name="models")
app.add_typer(versions.app, name="versions")
app.add_typer(policies.app, name="policies")
app.add_typer(rules.app, name="rules")
app.add_typer(lineage.app, name="lineage")
app.add_typer(keys.app, name="keys")
app.add_typer(mlflow.app, name="mlflow")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(data.ground_truth, name="ground-truth")


def main() -> None:
    """Run the command line; an error for people is one sentence and exit code 2, a bug keeps its traceback."""
    # Where nobody configured logging, the errors that we raise say it better than aiokafka's records.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        app()
    except RunwayError as error:
        print(f"runway: {error}", file=sys.stderr)
        raise SystemExit(EXIT_REFUSED) from None
    except OSError as error:
        full = full_disk(error, error.filename or "a file")
        if full is None:
            raise
        print(f"runway: {full}", file=sys.stderr)
        raise SystemExit(EXIT_REFUSED) from None
