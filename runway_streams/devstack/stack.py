"""The whole of Runway Streams on one machine: Kafka, the workers, the API and the nightly batch."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from runway_streams.config import Config, running_stack, stack_file
from runway_streams.devstack import children
from runway_streams.devstack.first_key import make_first_key
from runway_streams.devstack.jars import Say
from runway_streams.devstack.kafka import EmbeddedKafka
from runway_streams.errors import DependencyDown, Refused, RunwayError
from runway_streams.ports import check_free
from runway_streams.topics import create_topics

RESTARTS = 5
RESTART_WINDOW_S = 600.0
READY_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0
WATCH_INTERVAL_S = 0.5

_log = logging.getLogger(__name__)


class Restarts:
    """At most 5 restarts of one part in any 10 minutes."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=RESTARTS)

    def allow(self, now: float) -> bool:
        """Note one more restart at `now` (seconds), or say that it is one too many."""
        if len(self._times) == RESTARTS and now - self._times[0] < RESTART_WINDOW_S:
            return False
        self._times.append(now)
        return True


@dataclass
class Service:
    """One child process: how it is started, and where it writes."""

    name: str
    command: Sequence[str]
    log: Path
    environ: Mapping[str, str]
    child: subprocess.Popen | None = None
    restarts: Restarts = field(default_factory=Restarts)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.child.pid if self.child and self.alive else None

    def start(self) -> None:
        """Start the process."""
        self.child = children.start(self.command, self.log, self.environ)

    def stop(self) -> None:
        """Stop it in good order, by force after 20 s."""
        if self.child:
            children.stop(self.child, STOP_LIMIT_S)


class Stack:
    """Starts all parts, keeps them running, and stops them in the reverse order of the data flow.

        with Stack(config) as stack:
            requests to stack.api_url, events to stack.bootstrap
            stack.key to the API, where this start has made one
        stack.wait()  # until Ctrl-C, SIGTERM, or a part that keeps crashing

    `home/stack.json` tells other processes where things are, `home/logs/NAME.log` what each part says.
    """

    def __init__(self, config: Config, api_port: int = 0, *, schedule: bool = True, say: Say = _log.info) -> None:
        self._say = say
        self._schedule = schedule
        self._api_port = api_port or children.free_port()
        self._given = config
        self.kafka = EmbeddedKafka(config.home / "kafka", say=say)
        self.services: list[Service] = []
        self.key: str | None = None
        self._kafka_restarts = Restarts()
        self._failure: RunwayError | None = None
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def config(self) -> Config:
        """The configuration that leads to this stack."""
        return replace(self._given, bootstrap=self.kafka.bootstrap)

    @property
    def bootstrap(self) -> str:
        """What Kafka clients connect to."""
        return self.kafka.bootstrap

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self._api_port}"

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything, and return once the API says that it is ready."""
        self._refuse_second()
        asyncio.run(check_free("127.0.0.1", self._api_port, "--port"))
        try:
            self._say("Starting Kafka ...")
            self.kafka.start()
            asyncio.run(create_topics(self.config))
            self.key = asyncio.run(make_first_key(self.config))
            self._say("Starting the workers and the API ...")
            self.services = self._services()
            for service in self.services:
                service.start()
            self._write_file()
            self._watcher = threading.Thread(target=self._watch, name="stack-watcher", daemon=True)
            self._watcher.start()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Block until Ctrl-C, SIGTERM, or a part that keeps crashing; the last is raised."""
        previous = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            # In slices: a signal is handled only between two waits.
            while not self._ended.wait(WATCH_INTERVAL_S):
                pass
        except KeyboardInterrupt:
            self._say("Stopping ...")
        finally:
            signal.signal(signal.SIGTERM, previous)
        self.check()

    def check(self) -> None:
        """Raise what made the stack give up, if anything did."""
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Stop everything in good order."""
        self._ended.set()
        if self._watcher:
            self._watcher.join()
        for service in reversed(self.services):
            if service.child and service.alive:
                service.child.terminate()
        for service in reversed(self.services):
            service.stop()
        self.kafka.stop()
        stack_file(self._given.home).unlink(missing_ok=True)

    def _services(self) -> list[Service]:
        names: dict[str, list[str]] = {
            "ground-truth": ["worker", "ground-truth"],
            "archive": ["worker", "archive"],
            "api": ["api", "--host", "127.0.0.1", "--port", str(self._api_port)],
        }
        if self._schedule:
            names["batch"] = ["batch", "--schedule"]
        return [self._service(name, arguments) for name, arguments in names.items()]

    def _service(self, name: str, arguments: list[str]) -> Service:
        command = [sys.executable, "-m", "runway_streams.cli", *arguments]
        environ = {
            **os.environ,
            "RUNWAY_HOME": str(self._given.home),
            "RUNWAY_BOOTSTRAP": self.bootstrap,
            "RUNWAY_ARCHIVE": self._given.archive_url,
            "RUNWAY_DATABASE": self._given.database or "",
            "RUNWAY_TOPIC_PREFIX": self._given.topic_prefix,
            "RUNWAY_WEB_PORT": str(children.free_port()),
            "PYTHONUNBUFFERED": "1",
        }
        return Service(name, command, self._given.home / "logs" / f"{name}.log", environ)

    def _refuse_second(self) -> None:
        other = running_stack(self._given.home)
        if other:
            raise Refused(
                f"A stack already runs below {self._given.home} as process {other['pid']}.",
                "Stop it, or set RUNWAY_HOME to another folder.",
            )

    def _write_file(self) -> None:
        pids = {part.name: part.pid for part in self.services} | {"kafka": self.kafka.pid}
        told = {"pid": os.getpid(), "bootstrap": self.bootstrap, "api": self.api_url, "pids": pids}
        target = stack_file(self._given.home)
        aside = target.with_suffix(".part")
        aside.write_text(json.dumps(told, indent=2) + "\n")
        aside.replace(target)

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_INTERVAL_S):
            try:
                self._restart_dead()
            except RunwayError as error:
                self._failure = error
                self._ended.set()

    def _restart_dead(self) -> None:
        if not self.kafka.alive:
            self._note_restart("kafka", self._kafka_restarts, self.kafka.log)
            self.kafka.start()
        for service in self.services:
            if not service.alive and not self._ended.is_set():
                self._note_restart(service.name, service.restarts, service.log)
                service.start()
                self._write_file()

    def _note_restart(self, name: str, restarts: Restarts, log: Path) -> None:
        if not restarts.allow(time.monotonic()):
            raise DependencyDown(
                f"{name} ended {RESTARTS + 1} times within {RESTART_WINDOW_S / 60:.0f} minutes, so the stack stops.",
                f"The end of {log}:\n{children.tail(log)}",
            )
        self._say(f"{name} ended by itself; starting it again (see {log}).")

    def _wait_ready(self) -> None:
        wait_until(
            lambda: self._ended.is_set() or answers_ready(self.api_url),
            READY_LIMIT_S,
            lambda: DependencyDown(
                f"The API was not ready within {READY_LIMIT_S:.0f} s: {readiness(self.api_url)}.",
                f"The end of {self._log('api')}:\n{children.tail(self._log('api'))}",
            ),
        )
        self.check()

    def _log(self, name: str) -> Path:
        return self._given.home / "logs" / f"{name}.log"

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._say("Stopping ...")
        self._ended.set()


def wait_until(condition: Callable[[], bool], limit_s: float, failure: Callable[[], RunwayError]) -> None:
    """Return once `condition` holds, looking five times a second; raise `failure` after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise failure()
        time.sleep(0.2)


def answers_ready(api_url: str) -> bool:
    """Whether the API says that it is ready."""
    return readiness(api_url) == "ready"


def readiness(api_url: str) -> str:
    """`ready`, or what the API says instead, cut at 500 characters."""
    # No proxy: it is this machine that is asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{api_url}/readyz", timeout=5) as answer:
            return "ready" if answer.status == 200 else f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code} {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return f"no answer ({error})"
