"""Lifecycle: the stages of a version, and the moves between them that are legal."""

from typing import get_args

from runway_streams.errors import RunwayError
from schemas.model_version import Stage

STAGES: tuple[Stage, ...] = get_args(Stage)
"""From the first idea to the end."""

MOVES: dict[Stage, tuple[Stage, ...]] = {
    "exploration": ("training", "archived"),
    "training": ("evaluation", "exploration", "archived"),
    "evaluation": ("staging", "training", "archived"),
    "staging": ("production", "evaluation", "archived"),
    "production": ("deprecated", "staging"),
    "deprecated": ("production", "archived"),
    "archived": (),
}
"""Where a version may go from each stage. What serves is deprecated before it is archived; nothing comes back from there."""


def check_move(before: str, after: str) -> None:
    """Raises RunwayError, with the legal next stages, where a version may not move so.

    >>> check_move("staging", "production")
    >>> check_move("production", "archived")
    Traceback (most recent call last):
    ...
    runway_streams.errors.RunwayError: A version cannot move from production to archived. Move it to deprecated or staging.
    """
    for stage in (before, after):
        if stage not in STAGES:
            raise RunwayError(f"{stage[:50]!r} is no stage.", f"Stages are {', '.join(STAGES)}.")
    legal = MOVES[before]  # type: ignore[index]
    if after in legal:
        return
    if before == after:
        raise RunwayError(f"The version is in {before} already.", _remedy(legal))
    raise RunwayError(f"A version cannot move from {before} to {after}.", _remedy(legal))


def table() -> str:
    """The legal moves as a Markdown table, as the documentation shows them.

    >>> table().splitlines()[2]
    '| `exploration` | `training`, `archived` |'
    """
    rows = [f"| `{stage}` | {', '.join(f'`{after}`' for after in legal) or 'nowhere'} |" for stage, legal in MOVES.items()]
    return "\n".join(["| from | to |", "|---|---|", *rows])


def _remedy(legal: tuple[Stage, ...]) -> str:
    return f"Move it to {' or '.join(legal)}." if legal else "Archived is final: register a new version."
