"""The Faust apps, one process each: which topics they read, which agents they run, in the order of the data flow.

    faust -A runway_streams.streaming:ground_truth worker
    faust -A runway_streams.streaming:archive worker

The apps are made when they are asked for, from the environment: importing this module wires nothing.
"""

import asyncio
import gc
import logging
import os
import time
from collections.abc import AsyncIterable, Callable
from typing import Any

import faust
from faust.auth import OAuthCredentials
from mode.supervisors import CrashingSupervisor

from runway_streams.allocator import share_arenas
from runway_streams.batch_consumer import BatchApp, PassThrough
from runway_streams.config import Config
from runway_streams.errors import DependencyDown, RunwayError
from runway_streams.kafka_down import DENIALS, denial
from runway_streams.kafka_security import OAUTHBEARER, KafkaSecurity
from runway_streams.ports import check_free
from runway_streams.runtimes.archive import ArchiveRuntime
from runway_streams.runtimes.ground_truth import GroundTruthRuntime
from runway_streams.runtimes.runtime import Runtime
from runway_streams.topics import require_topics
from runway_streams.worker_web import WorkerWeb

APPS: dict[str, type[Runtime]] = {"ground_truth": GroundTruthRuntime, "archive": ArchiveRuntime}
GROUPS = {"ground_truth": "ground-truth", "archive": "archive"}
POLL_RECORDS = 4_000
"""Records of one poll: bounds a batch, and with it the time for which the event loop is held."""
FETCH_BYTES = 1 << 20
BUFFERED_BATCHES = 8
OPEN_LIMIT_S = 6 * 3600.0
"""A worker that opens its partitions for longer, because it downloads or rebuilds them, is put out of the group."""
TICK_S = 0.5
"""Commits and emissions at the most often; see `runtimes.ground_truth.IDLE_EVERY_S` for partitions that have nothing new."""
BUSY_TICK_S = 2.0
"""The same at the least often, under load: what is written a record, not an event, is then written less often."""
_log = logging.getLogger(__name__)


def __getattr__(name: str) -> faust.App:
    if name not in APPS:
        raise AttributeError(name)
    return make_app(name, Config.from_env(os.environ))


def run_worker(name: str, config: Config) -> None:
    """Runs one app until it is stopped; `name` is as on the command line, `ground-truth` or `archive`.

    Raises what ended it: RunwayError with what to do, or a bug.
    """
    short = name.replace("-", "_")
    if short not in APPS:
        raise RunwayError(f"There is no worker {name!r}.", f"Give one of {', '.join(GROUPS.values())}.")
    share_arenas()
    worker = RuntimeWorker(make_app(short, config), config)
    # Faust would tell of its own start and end around the one sentence that matters.
    worker.loop.run_until_complete(check_start(config))
    worker.run()


async def check_start(config: Config) -> None:
    """Raises RunwayError for what most often keeps a worker from starting: its port, Kafka, the topics."""
    await check_free(config.web_host, config.web_port, "RUNWAY_WEB_PORT")
    await require_topics(config)


class RuntimeApp(BatchApp):
    """A BatchApp whose state is a Runtime: opened on assignment, closed on revocation."""

    runtime: Runtime
    health_server: WorkerWeb | None = None

    async def on_start(self) -> None:
        await self.runtime.start()
        relax_collector()
        await super().on_start()
        self.add_future(self._tick())
        self.health_server = WorkerWeb(self.runtime, self.runtime.config.web_host, self.runtime.config.web_port)
        self.add_future(self.health_server.serve())

    async def on_shutdown(self) -> None:
        if self.health_server is not None:
            self.health_server.should_exit = True
        await super().on_shutdown()
        try:
            await self.runtime.stop()
        except Exception as error:
            # Faust would end as if all were well.
            await self.crash(error)
            raise

    async def _tick(self) -> None:
        """Twice a second, or less often where that would take more than a tenth of the time; an error crashes the worker."""
        while not self.should_stop:
            self.runtime.consumer._thread.check_group()
            began = time.monotonic()
            busy = await self.runtime.tick()
            spent = time.monotonic() - began
            await self.sleep(max(TICK_S - spent, min(10 * busy, BUSY_TICK_S) if busy > TICK_S / 5 else 0.0))

    async def positions(self, tps: set[Any]) -> dict[Any, int]:
        return await self.runtime.positions(tps)

    def even(self, tps: set[Any] | None) -> set[Any] | None:
        return self.runtime.even(tps)


class RuntimeWorker(faust.Worker):
    """Runs an app as `faust worker` does, without its command line, and keeps the first error: later ones only mask it."""

    reason: BaseException | None = None

    def __init__(self, app: RuntimeApp, config: Config) -> None:
        self._config = config
        super().__init__(
            app,
            loglevel="INFO",
            override_logging=True,
            quiet=False,
            redirect_stdouts=False,
            workdir=str(config.home),
        )

    def run(self) -> None:
        """Runs until it is stopped, and raises what ended it: SystemExit where it was a signal."""
        try:
            self.execute_from_commandline()
        except BaseException as error:
            ended = error
        raise self.reason or ended

    async def start(self) -> None:
        try:
            await super().start()
        except Exception as error:
            self._keep(error)
            raise

    def _crash(self, reason: BaseException) -> None:
        self._keep(reason)
        super()._crash(reason)

    def _keep(self, reason: BaseException) -> None:
        if self.reason is None and not isinstance(reason, asyncio.CancelledError):
            denied = denial(self._config, reason)
            self.reason = DependencyDown(*denied) if denied else reason

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        super().on_setup_root_logger(logger, level)
        for handler in logger.handlers:
            handler.addFilter(_drop_traceback)


def make_app(name: str, config: Config) -> RuntimeApp:
    """One app: its group, its topics, its agent."""
    config.state_dir.mkdir(parents=True, exist_ok=True)
    app = RuntimeApp(
        config.topic(GROUPS[name]).replace(".", "-"),
        broker=f"kafka://{config.bootstrap.replace(',', ';kafka://')}",
        broker_credentials=_credentials(config.security),
        consumer_group_instance_id=f"{config.instance_id}-{GROUPS[name]}",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_max_poll_records=POLL_RECORDS,
        broker_session_timeout=config.session_timeout_s,
        broker_request_timeout=max(90, config.session_timeout_s + 10),
        broker_max_poll_interval=OPEN_LIMIT_S,
        broker_heartbeat_interval=min(3, config.session_timeout_s / 3),
        broker_commit_interval=2.0,
        stream_buffer_maxsize=BUFFERED_BATCHES,
        stream_wait_empty=True,
        # With replicas Faust keeps its co-partitioning assignor; without, it takes a round-robin one.
        table_standby_replicas=1,
        topic_disable_leader=True,
        topic_allow_declare=False,
        store="memory://",
        datadir=str(config.state_dir / f"faust-{name}"),
        web_enabled=False,
        web_tables_enabled=False,
        agent_supervisor=CrashingSupervisor,
        autodiscover=False,
    )
    app.runtime = APPS[name](app, config)
    app.now = app.runtime.now
    topic = app.topic(config.topic("predictions"), config.topic("outcomes"), schema=PassThrough(), acks=True)
    app.agent(topic, name=name, concurrency=1)(_agent(app.runtime.consume))
    app.on_partitions_revoked.connect(app.runtime.revoked)  # type: ignore[arg-type]
    return app


def _drop_traceback(record: logging.LogRecord) -> bool:
    """An error for people needs no traceback."""
    if record.exc_info and isinstance(record.exc_info[1], (RunwayError, *DENIALS)):
        record.exc_info = record.exc_text = None
    return True


def relax_collector() -> None:
    """Lets the garbage collector look seldom, and never again at what is there now: settings, profiles, modules."""
    # A batch makes tens of thousands of objects that hold no cycles; by default the collector would walk them over and over.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def _agent(consume: Callable[[AsyncIterable], Any]) -> Callable:
    async def agent(stream: Any) -> None:
        await consume(stream)

    return agent


def _credentials(security: KafkaSecurity) -> Any:
    """As Faust wants it; None where Kafka asks for nothing."""
    options = security.client_options()
    context = options.get("ssl_context")
    if not security.sasl:
        return faust.SSLCredentials(context=context) if security.tls else None
    if security.mechanism == OAUTHBEARER:
        return OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    return faust.SASLCredentials(
        username=security.username, password=security.password, ssl_context=context, mechanism=security.mechanism
    )
