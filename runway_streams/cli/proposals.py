"""Proposals: the entry of a model that nobody has registered, from what the stream has seen of it."""

import json
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
import yaml

from runway_streams.errors import RunwayError
from schemas.model import Model
from schemas.model_settings import Task
from schemas.prediction import ModelId

MAX_LABELS = 20
MAX_VERSIONS = 10
"""Versions that a comment names."""
OTHER_LABEL = "__other__"
"""What labels beyond the bound are counted under."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An entry and what people should know of it."""

    entry: Model
    notes: tuple[str, ...]


def refusal(model_id: str) -> str:
    """Why the catalog cannot take an id; empty where it can.

    >>> refusal("fraud"), refusal("risk/fraud")
    ('', 'An id has letters, digits, ".", "-" and "_", begins with a letter or "_", and has at most 128 characters.')
    """
    try:
        msgspec.convert(model_id, ModelId)
    except msgspec.ValidationError:
        return 'An id has letters, digits, ".", "-" and "_", begins with a letter or "_", and has at most 128 characters.'
    return ""


def propose(item: dict[str, Any], performance: dict[str, Any] | None) -> Proposal:
    """The entry for an item of the list of models, and for its performance where that is known.

    A task that was guessed without a single outcome says nothing and is left out, and so is what would contradict it.
    """
    model_id, notes = item["model_id"], _seen(item["seen"])
    entry = Model(model_id, name=item["name"] or model_id)
    task = (item["seen"] or {}).get("task")
    if task in get_args(Task):
        entry.task = task
        notes.append(f"Task {task}: as its settings have it.")
    if performance is None:
        return Proposal(entry, (*notes, "Its performance is not known here; give the task and the labels yourself."))
    totals = performance["totals"]
    notes.append(f"{totals['predictions']:,} predictions, {totals['joined'] + totals['late']:,} with an outcome.")
    if performance["degraded"]:
        notes.append(f"Not all was counted: {', '.join(performance['degraded'])}.")
    if not totals["joined"] + totals["late"] and entry.task is None:
        return Proposal(entry, (*notes, "No outcome has come yet, so the task is not guessed."))
    if entry.task is None:
        entry.task = performance["task"]
        notes.append(f"Task {entry.task}: guessed from the outcomes. Check it, and the labels.")
    return Proposal(_with_labels(entry, performance, notes), tuple(notes))


def text_of(proposal: Proposal) -> str:
    """The entry as a YAML document with its comments, for `runway apply`.

    >>> print(text_of(Proposal(Model("fraud", name="fraud"), ("Seen.",))), end="")
    # Seen.
    model_id: fraud
    name: fraud
    owner: ''
    join_window: PT1H
    segments: []
    """
    entry = proposal.entry
    document: dict[str, Any] = {"model_id": entry.model_id, "name": entry.name, "owner": entry.owner}
    if entry.task is not None:
        document["task"] = entry.task
    if entry.labels:
        document["labels"] = entry.labels
    if entry.task == "binary":
        document["positive_label"] = entry.positive_label
    document |= {"join_window": entry.join_window, "segments": entry.segments}
    comments = "".join(f"# {note}\n" for note in proposal.notes)
    return comments + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _with_labels(entry: Model, performance: dict[str, Any], notes: list[str]) -> Model:
    if entry.task == "regression":
        return entry
    labels = _labels(performance["totals"].get("confusion"))
    positive = performance.get("positive_label") if entry.task == "binary" else None
    if len(labels) > MAX_LABELS or OTHER_LABEL in labels:
        notes.append(f"It has more than {MAX_LABELS} labels, which are not listed.")
        return entry
    labelled = msgspec.structs.replace(entry, labels=labels, positive_label=positive or entry.positive_label)
    if _fits(labelled):
        return labelled
    notes.append(f"Labels that were seen, {json.dumps(labels)}, do not fit a {entry.task} model, or are not all of them.")
    without = msgspec.structs.replace(entry, positive_label=positive or entry.positive_label)
    return without if _fits(without) else msgspec.structs.replace(entry, task=None)


def _labels(confusion: dict[str, Any] | None) -> list[str]:
    """The labels that occur: a confusion may name others of the model too."""
    if not confusion:
        return []
    matrix = confusion["matrix"]
    counts = [sum(row) + sum(other[i] for other in matrix) for i, row in enumerate(matrix)]
    return [label for label, count in zip(confusion["labels"], counts, strict=True) if count]


def _fits(entry: Model) -> bool:
    from runway_streams.ground_truth.settings import Settings
    from runway_streams.registry.settings import settings_of

    try:
        msgspec.convert(msgspec.to_builtins(entry), Model)
        Settings.from_document(settings_of(entry, None))
    except (RunwayError, msgspec.ValidationError):
        return False
    return True


def _seen(seen: dict[str, Any] | None) -> list[str]:
    if seen is None:
        return ["Seen by the stream; this API does not know when."]
    # A version is any text of an event: as JSON it cannot break out of its comment.
    names = ", ".join(json.dumps(version) for version in seen["versions"][:MAX_VERSIONS])
    more = len(seen["versions"]) - MAX_VERSIONS
    some = f", and {more} more" if more > 0 else ""
    return [f"Seen from {seen['first']} to {seen['last']}, versions {names}{some}."]
