"""A server that is written in Java, run as a child process on this machine: started, stopped, killed, waited for."""

import logging
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from runway_streams.devstack import children
from runway_streams.devstack.jars import Say, cache_dir, fetch_jars
from runway_streams.devstack.java import find_java
from runway_streams.errors import ConfigError, DependencyDown

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0

_log = logging.getLogger(__name__)


class JavaServer(ABC):
    """A server with all its data below `home`, listening on 127.0.0.1 alone. It can be stopped, or killed, and started again
    on the same data and port. It dies with this process.

    Another one needs a `name` for people, its jars, the command that runs it, and a question that it answers once it is ready.
    """

    name: str
    coordinates: Sequence[str]
    megabytes: int
    ready_limit_s = READY_LIMIT_S

    def __init__(self, home: Path, port: int, heap: str, say: Say = _log.info) -> None:
        self.home = Path(home).absolute()
        self.port = port
        self.log = self.home / "logs" / f"{self.name.lower()}.log"
        self._heap = heap
        self._say = say
        self._child: subprocess.Popen | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid if self._child and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process runs; it may not be ready yet."""
        return self._child is not None and self._child.poll() is None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return once it answers. Raises DependencyDown, or ConfigError where its port is taken."""
        if self.alive:
            return
        jars = fetch_jars(self.coordinates, cache_dir(), self._say, self.megabytes)
        self.port = self.port or children.free_port()
        self._check_free()
        self._child = children.start(self._command(find_java(), jars), self.log.with_suffix(".out"))
        try:
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop in good order, by force after 15 s."""
        if self._child:
            children.stop(self._child, STOP_LIMIT_S)

    def kill(self) -> None:
        """SIGKILL, as a crash of the server would be."""
        if self._child:
            children.kill(self._child)

    @abstractmethod
    def _command(self, java: Path, jars: Sequence[Path]) -> Sequence[str | Path]:
        """Writes what the server needs before it starts, and tells how it is started."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it answers a question of its own protocol."""

    def _java_command(self, java: Path, jars: Sequence[Path], options: Sequence[str]) -> list[str]:
        scratch = self.home / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return [
            str(java),
            f"-Xmx{self._heap}",
            "-XX:+UseSerialGC",  # least memory and least cores: it shares both with the workers
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Djava.io.tmpdir={scratch}",
            *options,
            "-cp",
            ":".join(str(jar) for jar in jars),
        ]

    def _check_free(self) -> None:
        if listens(self.port):
            raise ConfigError(
                f"Port {self.port} of 127.0.0.1 is taken, so the embedded {self.name} cannot listen there.",
                "Choose another port.",
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self.ready_limit_s
        while time.monotonic() < deadline:
            if not self.alive:
                raise self._failure("ended while it started")
            if listens(self.port) and self._answers():
                return
            time.sleep(0.1)
        raise self._failure(f"did not answer within {self.ready_limit_s:.0f} s")

    def _failure(self, what: str) -> DependencyDown:
        told = children.tail(self.log) or children.tail(self.log.with_suffix(".out"))
        return DependencyDown(f"The embedded {self.name} {what}.", f"The end of {self.log}:\n{told}")


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
