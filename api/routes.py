"""The routes of the API: what lies where, and which role each method needs."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import (
    audit,
    declarations,
    imports,
    incidents,
    keys,
    lineage,
    lineage_export,
    models,
    openlineage,
    policies,
    rules,
    versions,
)
from api.auth import require
from api.health import get_livez, get_metrics, get_readyz
from api.openapi import get_openapi, get_openapi_yaml
from api.performance import get_performance
from api.problems import Problem
from schemas.api_key import Role

Endpoint = Callable[[Request], Awaitable[Response]]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
ANYONE: Role | None = None
"""The role of what needs no key."""


class Resource(Route):
    """What lies at a path: for each method the least role that may use it, and the endpoint.

    Methods that it does not have end here too, in a 405: else one could go on to a longer name further below.
    """

    def __init__(self, path: str, methods: dict[str, tuple[Role | None, Endpoint]]):
        self.allowed = frozenset(methods)
        allow = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))

        async def answer(request: Request) -> Response:
            request.scope["route_path"] = path
            if any("\0" in part for part in request.path_params.values()):
                raise Problem(404, "unknown", "Nothing has a name with a NUL character.")
            method = "GET" if request.method == "HEAD" else request.method
            if method not in methods:
                raise HTTPException(405, headers={"Allow": allow})
            role, endpoint = methods[method]
            if role is not None:
                require(request, role)
            return await endpoint(request)

        super().__init__(path, answer, methods=METHODS)


def resource(path: str, **methods: tuple[Role | None, Endpoint]) -> Resource:
    """A resource, its methods by name."""
    return Resource(path, methods)


# A model's id may hold slashes: it comes from events. So what lies below a model stands before the model itself.
MODEL = "/v1/models/{model_id:path}"
VERSION = MODEL + "/versions/{version}"
ROUTES = [
    resource("/livez", GET=(ANYONE, get_livez)),
    resource("/readyz", GET=(ANYONE, get_readyz)),
    resource("/metrics", GET=("reader", get_metrics)),
    resource("/openapi.json", GET=("reader", get_openapi)),
    resource("/openapi.yaml", GET=("reader", get_openapi_yaml)),
    resource("/v1/models", GET=("reader", models.get_models), POST=("owner", models.post_models)),
    resource(MODEL + "/performance", GET=("reader", get_performance)),
    resource(VERSION + "/lineage", GET=("reader", lineage.get_version_lineage)),
    resource(VERSION + "/discovery", GET=("reader", lineage.get_discovery)),
    resource(MODEL + "/lineage", GET=("reader", lineage.get_model_lineage)),
    resource(VERSION + "/profile", GET=("reader", versions.get_profile)),
    resource(VERSION + "/moves", GET=("reader", versions.get_moves), POST=("owner", versions.post_moves)),
    resource(VERSION + "/status", PUT=("operator", versions.put_status)),
    resource(VERSION, GET=("reader", versions.get_version)),
    resource(MODEL + "/versions", GET=("reader", versions.get_versions), POST=("owner", versions.post_versions)),
    resource(
        MODEL + "/aliases/{alias}",
        GET=("reader", versions.get_alias),
        PUT=("owner", versions.put_alias),
        DELETE=("owner", versions.delete_alias),
    ),
    resource(MODEL + "/aliases", GET=("reader", versions.get_aliases)),
    resource(MODEL + "/rules/dry-run", POST=("reader", rules.post_dry_run)),
    resource(MODEL + "/rules", GET=("reader", rules.get_rules), PUT=("owner", rules.put_rules)),
    resource(MODEL + "/evaluations", GET=("reader", rules.get_evaluations)),
    resource(MODEL + "/policy/revisions", GET=("reader", policies.get_policy_revisions)),
    resource(
        MODEL + "/policy",
        GET=("reader", policies.get_policy),
        PUT=("owner", policies.put_policy),
        DELETE=("owner", policies.delete_policy),
    ),
    # What is registered has no slash in its id; so no method is taken for the model `m/versions`.
    resource("/v1/models/{model_id}", GET=("reader", models.get_model), PATCH=("owner", models.patch_model)),
    resource(MODEL, GET=("reader", models.get_model)),
    resource("/v1/policies/{scope}/{name:path}/revisions", GET=("reader", policies.get_default_revisions)),
    resource(
        "/v1/policies/{scope}/{name:path}",
        GET=("reader", policies.get_default),
        PUT=("admin", policies.put_default),
        DELETE=("admin", policies.delete_default),
    ),
    resource("/v1/impact", GET=("reader", lineage.get_impact)),
    resource("/v1/lineage/cycles", GET=("reader", lineage.get_cycles)),
    resource("/v1/lineage/nodes", GET=("reader", lineage.get_nodes)),
    resource("/v1/lineage/declarations", POST=("owner", declarations.post_declarations)),
    resource("/v1/lineage/export", GET=("reader", lineage_export.get_export)),
    resource(openlineage.EVENT, POST=("owner", openlineage.post_event)),
    resource(openlineage.BATCH, POST=("owner", openlineage.post_batch)),
    resource("/v1/incidents", GET=("reader", incidents.get_incidents)),
    resource("/v1/audit", GET=("operator", audit.get_audit)),
    resource("/v1/imports/mlflow", GET=("operator", imports.get_mlflow)),
    resource(imports.WEBHOOK, POST=(ANYONE, imports.post_webhook)),
    resource("/v1/keys", GET=("admin", keys.get_keys), POST=("admin", keys.post_key)),
    resource("/v1/keys/{prefix}", DELETE=("admin", keys.delete_key)),
]
