"""Middleware: limits on requests, hardening headers, and what is measured of every request."""

import time

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem, problem_response
from runway_streams.telemetry import ApiTelemetry

MAX_BODY = 1024 * 1024
MAX_URL = 8 * 1024
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Measure:
    """Counts requests and their latency by route, never by path: a path is unbounded."""

    def __init__(self, app: ASGIApp, telemetry: ApiTelemetry):
        self.app, self.telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status = time.perf_counter(), [500]

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            route = scope.get("route_path", "other")
            self.telemetry.latency.labels(route).observe(time.perf_counter() - began)
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
            self.telemetry.requests.labels(method, route, status[0]).inc()


class Harden:
    """Adds headers that keep browsers from reading more into an answer than there is."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


class Limit:
    """Refuses URLs over 8 KiB and bodies over 1 MiB, the latter while they come in where their length is not told."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL:
            answer = problem_response(request, 414, "long-url", f"The URL is longer than {MAX_URL} bytes.")
            return await answer(scope, receive, send)
        told = request.headers.get("content-length", "0")
        if not told.isdigit() or int(told[:12]) > MAX_BODY:
            answer = problem_response(request, 413, "large-body", f"The body is larger than {MAX_BODY} bytes.")
            return await answer(scope, receive, send)
        await self.app(scope, _counted(receive), send)


def _counted(receive: Receive) -> Receive:
    left = [MAX_BODY]

    async def limited() -> Message:
        message = await receive()
        left[0] -= len(message.get("body", b""))
        if left[0] < 0:
            raise Problem(413, "large-body", f"The body is larger than {MAX_BODY} bytes.")
        return message

    return limited
