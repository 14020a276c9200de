"""Policies: when a model counts as stale and what happens then; its own, or its team's, its task's, or the built-in one."""

from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response

from api.auth import require
from api.documents import answer, if_match, read_document
from api.pages import Whole, parse_page
from api.problems import Problem
from runway_streams.registry import catalog, policy_store
from runway_streams.registry.changes import Registry
from runway_streams.registry.policies import effective_policy
from runway_streams.registry.policy_store import PolicyRevision, Scope
from runway_streams.times import format_time
from schemas.answers import PolicyInForce, PolicyRevisionItem, PolicyRevisionPage
from schemas.model_settings import Task
from schemas.policy import Policy

DEFAULT_SCOPES: dict[str, Scope] = {"teams": "team", "tasks": "task"}


async def get_policy(request: Request) -> Response:
    """`GET /v1/models/{model_id}/policy`: the one in force, and whose it is."""
    model_id = request.path_params["model_id"]
    async with request.app.state.registry.read() as connection:
        return await _in_force(connection, model_id)


async def put_policy(request: Request) -> Response:
    """`PUT /v1/models/{model_id}/policy`: gives the model one of its own."""
    return await _change_own(request, await read_document(request, Policy))


async def delete_policy(request: Request) -> Response:
    """`DELETE /v1/models/{model_id}/policy`: from now on the defaults apply."""
    return await _change_own(request, None)


async def get_policy_revisions(request: Request) -> Response:
    """`GET /v1/models/{model_id}/policy/revisions`: who changed what, newest first."""
    model_id = request.path_params["model_id"]
    async with request.app.state.registry.read() as connection:
        await catalog.get(connection, model_id)
        return await _revisions(request, connection, "model", model_id)


async def get_default(request: Request) -> Response:
    """`GET /v1/policies/{scope}/{name}`: the default of a team or a task."""
    scope, name = _scope(request)
    async with request.app.state.registry.read() as connection:
        found = await policy_store.current(connection, scope, name)
    if found.policy is None:
        detail = f"The {scope} {name} has no policy of its own; PUT with If-None-Match: * makes one."
        raise Problem(404, "unknown", detail, {"ETag": f'"{found.revision}"'})
    return answer(_revision(found), revision=found.revision)


async def put_default(request: Request) -> Response:
    """`PUT /v1/policies/{scope}/{name}`."""
    return await _change_default(request, await read_document(request, Policy))


async def delete_default(request: Request) -> Response:
    """`DELETE /v1/policies/{scope}/{name}`."""
    return await _change_default(request, None)


async def get_default_revisions(request: Request) -> Response:
    """`GET /v1/policies/{scope}/{name}/revisions`."""
    scope, name = _scope(request)
    async with request.app.state.registry.read() as connection:
        return await _revisions(request, connection, scope, name)


async def _in_force(connection: Any, model_id: str) -> Response:
    entry = await catalog.get(connection, model_id)
    own = await policy_store.current(connection, "model", model_id)
    team = await policy_store.current(connection, "team", entry.model.owner)
    task = await policy_store.current(connection, "task", entry.model.task or "")
    policy, source = effective_policy(own.policy, team.policy, task.policy, entry.model.task)
    document = PolicyInForce(staleness=policy.staleness, retrain=policy.retrain, source=source, revision=own.revision)
    return answer(document, revision=own.revision)


async def _change_own(request: Request, policy: Policy | None) -> Response:
    registry: Registry = request.app.state.registry
    revision = if_match(request)
    model_id = request.path_params["model_id"]
    async with registry.change(require(request, "owner").name) as change:
        entry = await catalog.get(change.connection, model_id, lock=True)
        require(request, "owner", entry.model.owner)
        await policy_store.put(change, "model", model_id, policy, revision)
        return await _in_force(change.connection, model_id)


async def _change_default(request: Request, policy: Policy | None) -> Response:
    registry: Registry = request.app.state.registry
    revision = if_match(request)
    scope, name = _scope(request)
    async with registry.change(require(request, "admin").name) as change:
        now = await policy_store.put(change, scope, name, policy, revision)
    return answer(_revision(now), revision=now.revision)


async def _revisions(request: Request, connection: Any, scope: Scope, name: str) -> Response:
    page = parse_page(request, tuple[Whole])
    before = page.after[0] if page.after else None
    found = await policy_store.history(connection, scope, name, page.limit + 1, before)
    revisions, cursor = page.cut(found, lambda each: [each.revision])
    return answer(PolicyRevisionPage(items=[_revision(each) for each in revisions], next_cursor=cursor))


def _revision(found: PolicyRevision) -> PolicyRevisionItem:
    policy = found.policy
    return PolicyRevisionItem(
        staleness=policy.staleness if policy else None,
        retrain=policy.retrain if policy else None,
        revision=found.revision,
        at=format_time(found.at),
        actor=found.actor,
    )


def _scope(request: Request) -> tuple[Scope, str]:
    scope, name = DEFAULT_SCOPES.get(request.path_params["scope"]), request.path_params["name"]
    if scope is None or "\0" in name or not 1 <= len(name) <= 128 or (scope == "task" and name not in get_args(Task)):
        raise Problem(404, "unknown", "Defaults are at /v1/policies/teams/TEAM and /v1/policies/tasks/TASK.")
    return scope, name
