"""`runway api`: the API over HTTP."""

import asyncio
import gc

import uvicorn

from api.app import application
from runway_streams.allocator import keep_freed_memory
from runway_streams.config import Config
from runway_streams.ports import check_free

GRACE_S = 10
"""How long requests may take to end after a SIGTERM."""
MAX_CONNECTIONS = 1_000


def serve(config: Config, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serves until SIGTERM or Ctrl-C, then lets running requests end. Raises ConfigError where the port is taken."""
    asyncio.run(check_free(host, port, "--port"))
    settings = uvicorn.Config(
        application(config),
        host=host,
        port=port,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=16 * 1024,
        access_log=False,
        server_header=False,
        log_level="warning",
    )
    keep_freed_memory()
    # What was imported lives as long as the process: the collector need not look at it again and again.
    gc.freeze()
    asyncio.run(uvicorn.Server(settings).serve())
