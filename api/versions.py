"""`/v1/models/{model_id}/versions`: what was trained, its stages, its status, and the aliases that stand for versions."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.auth import require
from api.documents import answer, if_match, read_document
from api.once import once
from api.pages import parse_page
from api.problems import Problem, bad_request
from api.registrations import announce_version
from runway_streams.registry import aliases, catalog, statuses, versions
from runway_streams.registry.changes import Registry
from runway_streams.registry.lifecycle import STAGES
from runway_streams.registry.versions import VersionEntry
from runway_streams.times import format_time
from schemas.answers import AliasItem, AliasList, MoveItem, MoveList, VersionDocument, VersionPage
from schemas.model_version import VersionContent
from schemas.requests import NewAlias, NewMove, NewStatus, NewVersion


async def get_versions(request: Request) -> Response:
    """`GET .../versions`: newest first; `stage` chooses."""
    page = parse_page(request, tuple[int, str], {"stage"})
    stage = request.query_params.get("stage")
    if stage is not None and stage not in STAGES:
        raise bad_request("bad-stage", f"stage is {stage[:50]!r}; it must be one of {', '.join(STAGES)}.")
    model_id = request.path_params["model_id"]
    async with request.app.state.registry.read() as connection:
        await catalog.get(connection, model_id)
        after = (page.after[0], page.after[1]) if page.after else None
        found = await versions.page(connection, model_id, page.limit + 1, after, stage)
        entries, cursor = page.cut(found, lambda entry: [entry.created_at, entry.version.version])
        named = await _names(connection, model_id)
    items = [version_item(entry, named) for entry in entries]
    return answer(VersionPage(items=items, next_cursor=cursor))


async def post_versions(request: Request) -> Response:
    """`POST .../versions`: registers a version; the same one again is answered with 200."""
    registry: Registry = request.app.state.registry
    document = await read_document(request, NewVersion)
    model_id = request.path_params["model_id"]
    made: list[VersionEntry] = []
    async with registry.change(require(request, "owner").name) as change:
        require(request, "owner", (await catalog.get(change.connection, model_id, lock=True)).model.owner)

        async def create() -> Response:
            entry, new = await versions.create(change, model_id, document.version_alone(), document.stage)
            made.append(entry)
            item = version_item(entry, await _names(change.connection, model_id))
            location = f"/v1/models/{model_id}/versions/{entry.version.version}"
            return answer(item, 201 if new else 200, revision=entry.revision, location=location)

        response = await once(request, change, create)
    await request.app.state.scans.try_now(model_id, document.version)
    if made:
        await announce_version(request.app.state, made[0])
    return response


async def get_version(request: Request) -> Response:
    """`GET .../versions/{version}`."""
    model_id, version = _place(request)
    async with request.app.state.registry.read() as connection:
        entry = await versions.get(connection, model_id, version)
        return answer(version_item(entry, await _names(connection, model_id)), revision=entry.revision)


async def get_profile(request: Request) -> Response:
    """`GET .../versions/{version}/profile`: the reference profile."""
    model_id, version = _place(request)
    async with request.app.state.registry.read() as connection:
        profile = await versions.profile_of(connection, await versions.get(connection, model_id, version))
    if profile is None:
        raise Problem(404, "no-profile", f"The version {version} of {model_id} has no reference profile.")
    return answer(profile)


async def get_moves(request: Request) -> Response:
    """`GET .../versions/{version}/moves`: how it came to its stage, newest first, the last 200."""
    model_id, version = _place(request)
    async with request.app.state.registry.read() as connection:
        found = await versions.moves_of(connection, model_id, version)
    items = [
        MoveItem(
            from_=move.from_stage,
            to=move.to_stage,
            at=format_time(move.at),
            actor=move.actor,
            reason=move.reason,
            rule=move.rule,
        )
        for move in found
    ]
    return answer(MoveList(items=items, next_cursor=None))


async def post_moves(request: Request) -> Response:
    """`POST .../versions/{version}/moves`: moves it to another stage; If-Match is optional, an illegal move is a 409."""
    registry: Registry = request.app.state.registry
    document = await read_document(request, NewMove)
    revision = if_match(request, required=False)
    model_id, version = _place(request)
    async with registry.change(require(request, "owner").name) as change:
        require(request, "owner", (await catalog.get(change.connection, model_id, lock=True)).model.owner)

        async def move() -> Response:
            entry = await versions.move(change, model_id, version, document.to, document.reason, revision=revision)
            return answer(version_item(entry, await _names(change.connection, model_id)), revision=entry.revision)

        return await once(request, change, move)


async def put_status(request: Request) -> Response:
    """`PUT .../versions/{version}/status`: what an operator, or another system, has found out; the ETag is the version's."""
    registry: Registry = request.app.state.registry
    revision = if_match(request)
    document = await read_document(request, NewStatus)
    model_id, version = _place(request)
    async with registry.change(require(request, "operator").name) as change:
        await statuses.set_status(change, model_id, version, document.status, document.reason, revision=revision)
        entry = await versions.get(change.connection, model_id, version)
        return answer(version_item(entry, await _names(change.connection, model_id)), revision=entry.revision)


async def get_aliases(request: Request) -> Response:
    """`GET .../aliases`: each alias and its version."""
    model_id = request.path_params["model_id"]
    async with request.app.state.registry.read() as connection:
        await catalog.get(connection, model_id)
        named = (await aliases.aliases_of(connection, [model_id])).get(model_id, {})
    items = [AliasItem(alias=alias, version=version) for alias, version in named.items()]
    return answer(AliasList(items=items, next_cursor=None))


async def get_alias(request: Request) -> Response:
    """`GET .../aliases/{alias}`."""
    model_id, alias = request.path_params["model_id"], request.path_params["alias"]
    async with request.app.state.registry.read() as connection:
        version, revision = await aliases.get(connection, model_id, alias)
    return answer(AliasItem(alias=alias, version=version), revision=revision)


async def put_alias(request: Request) -> Response:
    """`PUT .../aliases/{alias}`: lets it stand for a version."""
    registry: Registry = request.app.state.registry
    revision = if_match(request)
    document = await read_document(request, NewAlias)
    model_id, alias = request.path_params["model_id"], request.path_params["alias"]
    async with registry.change(require(request, "owner").name) as change:
        require(request, "owner", (await catalog.get(change.connection, model_id, lock=True)).model.owner)
        now = await aliases.put(change, model_id, alias, document.version, revision)
    return answer(AliasItem(alias=alias, version=document.version), revision=now)


async def delete_alias(request: Request) -> Response:
    """`DELETE .../aliases/{alias}`."""
    registry: Registry = request.app.state.registry
    revision = if_match(request)
    model_id, alias = request.path_params["model_id"], request.path_params["alias"]
    async with registry.change(require(request, "owner").name) as change:
        require(request, "owner", (await catalog.get(change.connection, model_id, lock=True)).model.owner)
        await aliases.delete(change, model_id, alias, revision)
    return Response(status_code=204)


def version_item(entry: VersionEntry, named: dict[str, str]) -> VersionDocument:
    """One version as the API tells it."""
    return VersionDocument(
        **{field: getattr(entry.version, field) for field in VersionContent.__struct_fields__},
        model_id=entry.model_id,
        profile_digest=entry.profile_digest,
        aliases=[alias for alias, version in named.items() if version == entry.version.version],
        stage=entry.stage,
        stage_since=format_time(entry.stage_since),
        status=entry.status,
        status_reason=entry.status_reason,
        status_since=format_time(entry.status_since),
        created_at=format_time(entry.created_at),
        created_by=entry.created_by,
        revision=entry.revision,
    )


async def _names(connection: Any, model_id: str) -> dict[str, str]:
    return (await aliases.aliases_of(connection, [model_id])).get(model_id, {})


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["model_id"], request.path_params["version"]
