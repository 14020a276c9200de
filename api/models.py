"""`/v1/models`: the catalog of models, registered and seen."""

from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from api.auth import require
from api.documents import answer, convert, if_match, merge_patch, read_document
from api.once import once
from api.pages import Small, parse_page
from api.problems import bad_request
from api.registrations import announce_model
from runway_streams.registry import aliases, catalog, outbox, versions
from runway_streams.registry.catalog import Entry
from runway_streams.registry.changes import Registry
from runway_streams.registry.lifecycle import STAGES
from runway_streams.registry.search import SORTS, Search, place_of, search
from runway_streams.times import format_time
from schemas.answers import ModelDocument, ModelItem, ModelPage, Seen, SettingsState
from schemas.model import Model
from schemas.model_version import Stage

FILTERS = frozenset({"q", "owner", "tag", "stage", "status", "task", "registered", "archived", "sort"})
MAX_FILTER = 300
SHAPES: dict[str, type] = {
    "model_id": tuple[str],
    "name": tuple[str, str],
    "updated_at": tuple[int, str],
    "criticality": tuple[Small, str],
}
CHOICES = {
    "stage": STAGES,
    "status": ("HEALTHY", "AT_RISK", "RETRAINING", "UNKNOWN"),
    "task": ("binary", "multiclass", "regression"),
    "registered": ("true", "false"),
    "archived": ("true", "false", "any"),
    "sort": tuple(f"{sign}{name}" for name in SORTS for sign in ("", "-")),
}


async def get_models(request: Request) -> Response:
    """`GET`: a page of the models that were asked for."""
    state = request.app.state
    asked = parse_search(dict(request.query_params))
    page = parse_page(request, SHAPES[asked.sort], FILTERS)
    await state.seen.list_new(state.registry)
    async with state.registry.read() as connection:
        found = await search(connection, asked, page.limit + 1, page.after)
        entries, cursor = page.cut(found, lambda entry: place_of(asked, entry))
        names = [entry.model.model_id for entry in entries]
        stages = await versions.stages_of(connection, names)
        named = await aliases.aliases_of(connection, names)
    seen = state.seen.described(names)
    items = [
        item_of(entry, stages.get(name, []), named.get(name, {}), seen.get(name))
        for name, entry in zip(names, entries, strict=True)
    ]
    return answer(ModelPage(items=items, next_cursor=cursor, degraded=state.view.unavailable()))


async def post_models(request: Request) -> Response:
    """`POST`: registers a model."""
    registry: Registry = request.app.state.registry
    model = await read_document(request, Model)
    principal = require(request, "owner", model.owner)
    made: list[Entry] = []
    async with registry.change(principal.name) as change:

        async def register() -> Response:
            entry = await catalog.register(change, model)
            made.append(entry)
            location = f"/v1/models/{model.model_id}"
            return answer(
                await document_of(request, change.connection, entry), 201, revision=entry.revision, location=location
            )

        response = await once(request, change, register)
    for entry in made:
        await announce_model(request.app.state, entry)
    return response


async def get_model(request: Request) -> Response:
    """`GET`: one model, with what is known of it."""
    state = request.app.state
    model_id = request.path_params["model_id"]
    if model_id in state.seen.described([model_id]):
        await state.seen.list_new(state.registry)
    async with state.registry.read() as connection:
        entry = await catalog.get(connection, model_id)
        return answer(await document_of(request, connection, entry), revision=entry.revision)


async def patch_model(request: Request) -> Response:
    """`PATCH`: changes some fields, by JSON merge patch; `archived` among them, which takes a model out of the lists."""
    registry: Registry = request.app.state.registry
    revision = if_match(request)
    patch = await read_document(request, dict[str, Any])
    async with registry.change(require(request, "owner").name) as change:
        before = await catalog.get(change.connection, request.path_params["model_id"], lock=True)
        require(request, "owner", before.model.owner)
        merged = merge_patch(msgspec.to_builtins(before.model) | {"archived": before.archived}, patch)
        archived = merged.pop("archived", False)
        if not isinstance(archived, bool):
            raise bad_request("invalid-document", "archived must be true or false.")
        model = convert(merged, Model)
        require(request, "owner", model.owner)
        if model.model_id != before.model.model_id:
            raise bad_request("invalid-document", "model_id cannot be changed; register another model.")
        entry = await catalog.replace(change, model, revision, archived=archived)
        return answer(await document_of(request, change.connection, entry), revision=entry.revision)


def parse_search(given: dict[str, str]) -> Search:
    """What is looked for; a 400 names what is wrong."""
    for name, value in given.items():
        if name in CHOICES and value not in CHOICES[name]:
            choices = ", ".join(CHOICES[name])
            raise bad_request(f"bad-{name}", f"{name} is {value[:50]!r}; it must be one of {choices}.")
        if name in FILTERS and (len(value) > MAX_FILTER or "\0" in value):
            raise bad_request(f"bad-{name}", f"{name} must have at most {MAX_FILTER} characters, and no NUL.")
    sort = given.get("sort", "model_id")
    archived = given.get("archived", "false")
    return Search(
        text=given.get("q"),
        owner=given.get("owner"),
        tag=given.get("tag"),
        stage=given.get("stage"),
        status=given.get("status"),
        task=given.get("task"),
        registered=given["registered"] == "true" if "registered" in given else None,
        archived=None if archived == "any" else archived == "true",
        sort=sort.lstrip("-"),
        descending=sort.startswith("-"),
    )


def item_of(entry: Entry, stages: list[Stage], named: dict[str, str], seen: Seen | None) -> ModelItem:
    """One model of a list."""
    model = entry.model
    return ModelItem(
        model_id=model.model_id,
        name=model.name,
        owner=model.owner,
        task=model.task,
        tags=model.tags,
        criticality=model.criticality,
        seen=seen,
        **_kept(entry, stages, named),
    )


async def document_of(request: Request, connection: AsyncConnection, entry: Entry) -> ModelDocument:
    """A model with all that is known of it."""
    name = entry.model.model_id
    stages = (await versions.stages_of(connection, [name])).get(name, [])
    named = (await aliases.aliases_of(connection, [name])).get(name, {})
    since, published_at = await outbox.last_of(connection, name) or (None, None)
    published = published_at is not None
    since = since if published else None
    state = SettingsState(published=published, effective_from=None if since is None else format_time(since))
    return ModelDocument(
        **{field: getattr(entry.model, field) for field in Model.__struct_fields__},
        **_kept(entry, stages, named),
        settings=state,
        seen=request.app.state.seen.counted(name),
    )


def _kept(entry: Entry, stages: list[Stage], named: dict[str, str]) -> dict[str, Any]:
    return {
        "registered": entry.registered,
        "archived": entry.archived,
        "status": entry.status,
        "stages": sorted(stages, key=STAGES.index),
        "aliases": named,
        "created_at": format_time(entry.created_at),
        "updated_at": format_time(entry.updated_at),
        "revision": entry.revision,
    }
