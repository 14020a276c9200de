"""A worker's small web: /livez, /readyz with reasons, /metrics for Prometheus, counted from state."""

import contextlib

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from runway_streams.runtimes.ground_truth import GroundTruthRuntime
from runway_streams.runtimes.runtime import Runtime
from runway_streams.telemetry import Inside, WorkerTelemetry


class WorkerWeb(uvicorn.Server):
    """Serves on the worker's own loop; the worker keeps the signals."""

    def __init__(self, runtime: Runtime, host: str, port: int):
        super().__init__(
            uvicorn.Config(web_app(runtime), host=host, port=port, log_level="warning", access_log=False, lifespan="off")
        )

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def web_app(runtime: Runtime) -> Starlette:
    """The three pages of a worker."""
    registry = CollectorRegistry()
    if isinstance(runtime, GroundTruthRuntime):
        WorkerTelemetry(registry, lambda: inside(runtime))

    async def livez(_request: Request) -> Response:
        stalled = runtime.stalled()
        return PlainTextResponse("\n".join(stalled) or "ok", 503 if stalled else 200)

    async def readyz(_request: Request) -> Response:
        problems = runtime.problems()
        return JSONResponse({"ready": not problems, "reasons": problems}, 503 if problems else 200)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])


def inside(runtime: GroundTruthRuntime) -> Inside:
    """What the worker knows of its partitions as it is scraped."""
    opened = {one.number: one for one in runtime.partitions}
    sizes = {number: one.store.size() for number, one in opened.items()}
    return Inside(
        counters={number: one.partition.state.counters for number, one in opened.items()},
        clock_ages={number: max(0, runtime.now() - one.partition.clock) / 1000 for number, one in opened.items()},
        state_bytes={number: size["bytes"] for number, size in sizes.items()},
        state_rows={number: size["rows"] for number, size in sizes.items()},
        batch_events={number: one.mean_batch() for number, one in opened.items()},
        bad_shares={number: one.bad_share() for number, one in opened.items()},
        fenced=runtime.fenced,
        refused=len(runtime.partitions.refused) + len(runtime.unreadable()),
        checkpoint_ages=runtime.uploads.ages() if runtime.uploads else {},
        checkpoint_failures=runtime.uploads.failures if runtime.uploads else 0,
    )
