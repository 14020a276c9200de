"""`runway doctor`, and how findings are printed."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from runway_streams.cli.common import AsJson, load_config, print_json

if TYPE_CHECKING:
    from runway_streams.doctor import Check
    from runway_streams.topics import Finding

EXIT_FAILED = 1
_MARKS = {"ok": ("ok  ", typer.colors.GREEN), "warn": ("warn", typer.colors.YELLOW), "fail": ("FAIL", typer.colors.RED)}


def doctor(as_json: AsJson = False) -> None:
    """Check everything that this installation needs: one line and one remedy each; exit code 1 when a check fails.

    Example: runway doctor --json
    """
    from runway_streams.doctor import examine

    raise typer.Exit(print_findings(asyncio.run(examine(load_config())), as_json))


def print_findings(findings: "Sequence[Check | Finding]", as_json: bool) -> int:
    """Print findings, and return the exit code: 1 when one of them is a failure."""
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print_finding(finding)
    return EXIT_FAILED if failed else 0


def _print_finding(finding: "Check | Finding") -> None:
    mark, colour = _MARKS[finding.level]
    typer.echo(f"{typer.style(mark, fg=colour)}  {finding.sentence}")
    if finding.remedy and finding.level != "ok":
        typer.echo(f"      {finding.remedy}")
