"""`/livez`, `/readyz` and `/metrics`."""

from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from api.problems import problem_response
from runway_streams.telemetry import Outside


async def get_livez(request: Request) -> Response:
    """The process answers."""
    return Response(b'{"status":"ok"}', media_type="application/json")


async def get_readyz(request: Request) -> Response:
    """Whether merged answers are complete; a 503 says why not."""
    reasons = not_ready(request.app.state)
    if reasons:
        return problem_response(request, 503, "not-ready", " ".join(reasons), {"Retry-After": "2"})
    state = request.app.state
    # What is wrong with the registry stops no answer about performance. Anybody may ask: what exactly is in the log.
    failing = state.duties.failing() if state.duties else []
    told = {"status": "ready", "as_of": state.view.as_of(), "failing": failing}
    return Response(orjson.dumps(told), media_type="application/json")


async def get_metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(request.app.state.telemetry.registry), media_type=CONTENT_TYPE_LATEST)


def not_ready(state: Any) -> list[str]:
    """Sentences that tell why answers would not be complete; none where they are."""
    reasons = []
    if not state.view.speed.ready or state.view.speed.problem:
        reasons.append(f"Speed layer: {state.view.speed.problem or 'still reading.'}")
    if not state.view.batch.loaded or state.view.batch.problem:
        reasons.append(f"Batch layer: {state.view.batch.problem or 'still reading.'}")
    settings = state.settings
    if settings is not None and settings.problem:
        reasons.append(f"Settings: {settings.problem}")
    return reasons


def outside(state: Any) -> Outside:
    """What is seen of the workers and the batch."""
    now, view = state.now(), state.view
    marks = view.speed.store.marks
    cutoff = view.as_of()["batch"]
    return Outside(
        clock_ages={partition: (now - mark.clock) / 1000 for partition, mark in marks.items() if mark.clock},
        counters={partition: mark.counters for partition, mark in marks.items()},
        lag=state.lag.lag if state.lag else {},
        batch_age=None if cutoff is None else (now - cutoff) / 1000,
        ready=view.speed.ready,
    )
