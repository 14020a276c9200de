"""Search: the catalog's models by what is asked of them, in an order, page by page."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runway_streams.registry.catalog import CRITICALITIES, Entry, entry_of
from runway_streams.registry.tables import model_tags, models, versions

SORTS = ("model_id", "name", "updated_at", "criticality")
TOLD = [column for column in models.c if column.name != "search_text"]
MAX_WORDS = 8
"""Words of a text that are looked for; more are not read."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; None means anything. All words of `text` must occur, in any field, in any case."""

    text: str | None = None
    owner: str | None = None
    tag: str | None = None
    stage: str | None = None
    status: str | None = None
    task: str | None = None
    registered: bool | None = None
    archived: bool | None = False
    sort: str = "model_id"
    descending: bool = False


async def search(connection: AsyncConnection, asked: Search, limit: int, after: list[Any] | None = None) -> list[Entry]:
    """At most `limit` models, from the one after the place `after` (see `place_of`) on."""
    question = sa.select(*TOLD).where(*_conditions(asked))
    columns = _order(asked)
    if after is not None:
        place = sa.tuple_(*columns)
        question = question.where(place < after if asked.descending else place > after)
    ordered = question.order_by(*(column.desc() if asked.descending else column for column in columns))
    return [entry_of(row) for row in (await connection.execute(ordered.limit(limit))).all()]


def place_of(asked: Search, entry: Entry) -> list[Any]:
    """Where a model stands in the order, for the page after it."""
    model = entry.model
    first: dict[str, list[Any]] = {
        "model_id": [],
        "name": [model.name],
        "updated_at": [entry.updated_at],
        "criticality": [CRITICALITIES.index(model.criticality)],
    }
    return [*first[asked.sort], model.model_id]


def _order(asked: Search) -> list[sa.Column]:
    first = [] if asked.sort == "model_id" else [models.c[asked.sort]]
    return [*first, models.c.model_id]


def _conditions(asked: Search) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    for name in ("owner", "status", "task", "registered", "archived"):
        value = getattr(asked, name)
        if value is not None:
            found.append(models.c[name] == value)
    if asked.tag is not None:
        tagged = sa.select(model_tags.c.model_id).where(model_tags.c.tag == asked.tag)
        found.append(models.c.model_id.in_(tagged))
    if asked.stage is not None:
        staged = sa.select(versions.c.model_id).where(versions.c.stage == asked.stage)
        found.append(models.c.model_id.in_(staged))
    words = (asked.text or "").lower().split()[:MAX_WORDS]
    found.extend(models.c.search_text.contains(word, autoescape=True) for word in words)
    return found
