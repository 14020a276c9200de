"""The options by which commands say what a model is and how its events are read."""

from enum import StrEnum
from typing import Annotated

import typer


class TaskName(StrEnum):
    """What a model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class CriticalityName(StrEnum):
    """How much depends on it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class FeaturesName(StrEnum):
    """What the archive keeps of feature values."""

    KEEP = "keep"
    HASH = "hash"
    DROP = "drop"


Owner = Annotated[str | None, typer.Option(help="The team that owns it.")]
Name = Annotated[str | None, typer.Option(help="A name for people.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Tags = Annotated[list[str] | None, typer.Option(help="A tag; once for each.")]
Criticality = Annotated[CriticalityName | None, typer.Option(help="How much depends on it.")]
Task = Annotated[TaskName | None, typer.Option(help="What it predicts; guessed from the events without.")]
JoinWindow = Annotated[str | None, typer.Option(help="How long an outcome may take, such as PT12H.")]
Threshold = Annotated[float | None, typer.Option(help="The score from which on it is positive.")]
Labels = Annotated[list[str] | None, typer.Option(help="A class; once for each.")]
PositiveLabel = Annotated[str | None, typer.Option(help="The positive class.")]
Segments = Annotated[list[str] | None, typer.Option(help="A segment key to break down by; once for each.")]
Features = Annotated[FeaturesName | None, typer.Option(help="What the archive keeps of feature values.")]
Flow = Annotated[str | None, typer.Option(help="The Metaflow flow that trains it.")]
Shadow = Annotated[bool | None, typer.Option("--shadow/--no-shadow", help="Record verdicts, alert and retrain nothing.")]

MEMBERS = {
    "model": "model_id",
    "owner": "owner",
    "name": "name",
    "description": "description",
    "tag": "tags",
    "criticality": "criticality",
    "task": "task",
    "join_window": "join_window",
    "threshold": "threshold",
    "label": "labels",
    "positive_label": "positive_label",
    "segment": "segments",
    "features": "features",
    "flow": "flow",
    "shadow": "shadow",
}
"""The member of a model that each option gives."""
