"""A real Apache Kafka of one node, run as a child process on this machine."""

import asyncio
import logging
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from runway_streams.devstack import children
from runway_streams.devstack.jars import Say, cache_dir, fetch_jars
from runway_streams.devstack.java import find_java
from runway_streams.errors import ConfigError, DependencyDown

# The second is what Kafka's own distribution adds for its logs; Kafka's jar does not ask for it.
COORDINATES = ("org.apache.kafka:kafka_2.13:4.1.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3")

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
FORMAT_LIMIT_S = 60.0

_HERE = Path(__file__).parent
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Extra:
    """Further server settings, in which $port and $controller_port stand for the broker's own; options of Java; options with
    which the storage is formatted."""

    settings: Mapping[str, str] = field(default_factory=dict)
    java_options: Sequence[str] = ()
    format_options: Sequence[str] = ()


class EmbeddedKafka:
    """Apache Kafka with all its data below `home`, listening on 127.0.0.1 alone.

        with EmbeddedKafka(home) as kafka:
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)

    It can be stopped, or killed, and started again on the same data and port. It dies with this process.
    `cluster_id` (22 characters of URL-safe base64) is drawn at random unless given; it counts where `home` is empty.
    `extra` is what a broker that is not the plain one has beside it.
    """

    def __init__(
        self,
        home: Path,
        port: int = 0,
        *,
        heap: str = "512m",
        cluster_id: str = "",
        say: Say = _log.info,
        extra: "Extra | None" = None,
    ) -> None:
        self.home = Path(home).absolute()
        self.port = port
        self.log = self.home / "logs" / "kafka.log"
        self._heap = heap
        self._cluster_id = cluster_id or urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._say = say
        self._extra = extra or Extra()
        self._child: subprocess.Popen | None = None

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid if self._child and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process runs; it may not be ready yet."""
        return self._child is not None and self._child.poll() is None

    def __enter__(self) -> "EmbeddedKafka":
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return once it answers a metadata request."""
        if self.alive:
            return
        jars = fetch_jars(COORDINATES, cache_dir(), self._say)
        java = self._java_command(find_java(), jars)
        self.port = self.port or children.free_port()
        _check_free(self.port)
        self._write_settings()
        if not (self.home / "data" / "meta.properties").exists():
            self._format(java)
        self._child = children.start([*java, "kafka.Kafka", self._settings], self.home / "logs" / "kafka.out")
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
        """SIGKILL, as a crash of the broker would be."""
        if self._child:
            children.kill(self._child)

    @property
    def _settings(self) -> Path:
        return self.home / "server.properties"

    def _java_command(self, java: Path, jars: list[Path]) -> list[str]:
        scratch = self.home / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return [
            str(java),
            f"-Xmx{self._heap}",
            "-XX:+UseSerialGC",  # least memory and least cores: it shares both with the workers
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Djava.io.tmpdir={scratch}",
            f"-Dlog4j2.configurationFile={(_HERE / 'log4j2.properties').as_uri()}",
            f"-Drunway.logs={self.home / 'logs'}",
            *self._extra.java_options,
            "-cp",
            ":".join(str(jar) for jar in jars),
        ]

    def _write_settings(self) -> None:
        # The last of two lines for a name counts.
        lines = [(_HERE / "server.properties").read_text(), *map("=".join, self._extra.settings.items())]
        template = Template("\n".join(lines))
        filled = template.substitute(port=self.port, controller_port=children.free_port(), data=self.home / "data")
        self._settings.write_text(filled)

    def _format(self, java: list[str]) -> None:
        # With "=": one id in 64 begins with "-", which would be read as an option.
        command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}", "-c", str(self._settings)]
        command += self._extra.format_options
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_LIMIT_S, check=True)
        except subprocess.CalledProcessError as error:
            raise DependencyDown(
                f"Kafka could not format its storage below {self.home}: {(error.stdout + error.stderr).strip()[-500:]}",
                "Make sure that the folder can be written, or choose another with RUNWAY_HOME.",
            ) from error

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline:
            if not self.alive:
                raise self._failure("ended while it started")
            if _listens(self.port) and _answers(self.bootstrap):
                return
            time.sleep(0.1)
        raise self._failure(f"did not answer within {READY_LIMIT_S:.0f} s")

    def _failure(self, what: str) -> DependencyDown:
        told = children.tail(self.log) or children.tail(self.log.with_suffix(".out"))
        return DependencyDown(f"The embedded Kafka {what}.", f"The end of {self.log}:\n{told}")


def _check_free(port: int) -> None:
    if _listens(port):
        raise ConfigError(
            f"Port {port} of 127.0.0.1 is taken, so the embedded Kafka cannot listen there.", "Choose another port."
        )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(bootstrap: str) -> bool:
    # In a thread of its own: the caller may be inside a running event loop.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _has_metadata(bootstrap)).result()


async def _has_metadata(bootstrap: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
