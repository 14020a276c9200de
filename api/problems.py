"""Problems: every error answer is RFC 9457 `application/problem+json`, in a sentence for people."""

import http
import logging

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from runway_streams.dependency.refusals import BadNode, BadQuestion, BadReport, QueueFull, ReportsRefused, UnknownNode
from runway_streams.errors import RunwayError
from runway_streams.registry.refusals import Conflict, Invalid, Mismatch, Stale, Unknown

_log = logging.getLogger(__name__)


class Problem(Exception):
    """An answer other than the one that was asked for: `slug` names its kind for programs, `detail` tells people."""

    def __init__(self, status: int, slug: str, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.slug, self.detail, self.headers = status, slug, detail, headers or {}


def bad_request(slug: str, detail: str) -> Problem:
    """A 400."""
    return Problem(400, slug, detail)


def problem_response(
    request: Request, status: int, slug: str, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """The document of a problem.

    >>> request = Request({"type": "http", "path": "/v1/models", "headers": []})
    >>> answer = problem_response(request, 404, "unknown-model", "There is no model m.")
    >>> answer.status_code, orjson.loads(answer.body)["type"]
    (404, 'urn:runway:problem:unknown-model')
    """
    document = {
        "type": f"urn:runway:problem:{slug}" if slug else "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
    }
    return Response(orjson.dumps(document), status, headers, media_type="application/problem+json")


async def on_problem(request: Request, error: Exception) -> Response:
    """Answers a Problem."""
    assert isinstance(error, Problem)
    return problem_response(request, error.status, error.slug, error.detail, error.headers)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answers what the router raises: 404, 405."""
    assert isinstance(error, HTTPException)
    details = {
        404: f"There is nothing at {request.url.path}; /openapi.json lists what there is.",
        405: f"{request.method} is not possible here; the header Allow lists what is.",
    }
    detail = details.get(error.status_code, error.detail)
    return problem_response(request, error.status_code, "", detail, dict(error.headers or {}))


async def on_runway_error(request: Request, error: Exception) -> Response:
    """Answers a dependency that is down."""
    _log.warning("%s %s: %s", request.method, request.url.path, error)
    return problem_response(request, 503, "dependency-down", str(error), {"Retry-After": "5"})


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answers what a service does not do, by its kind."""
    assert isinstance(error, RunwayError)
    status, slug = REFUSALS[type(error)]
    return problem_response(request, status, slug, str(error), {"Retry-After": "5"} if status == 503 else None)


async def on_bug(request: Request, error: Exception) -> Response:
    """Answers a bug, without what is inside; the traceback is in the log."""
    _log.error("%s %s failed.", request.method, request.url.path, exc_info=error)
    return problem_response(request, 500, "internal", "The server made a mistake; its log says which.")


REFUSALS: dict[type[Exception], tuple[int, str]] = {
    Invalid: (400, "invalid"),
    Unknown: (404, "unknown"),
    Conflict: (409, "conflict"),
    Stale: (412, "stale"),
    Mismatch: (422, "idempotency-mismatch"),
    BadNode: (400, "bad-node"),
    BadQuestion: (400, "bad-question"),
    BadReport: (400, "bad-report"),
    ReportsRefused: (400, "bad-report"),
    UnknownNode: (404, "unknown-node"),
    QueueFull: (503, "queue-full"),
}
EXCEPTION_HANDLERS = {
    **dict.fromkeys(REFUSALS, on_refusal),
    Problem: on_problem,
    HTTPException: on_http_exception,
    RunwayError: on_runway_error,
    Exception: on_bug,
}
