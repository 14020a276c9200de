"""A real Apache Kafka of one node, run as a child process on this machine."""

import asyncio
import logging
import subprocess
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
from runway_streams.devstack.jars import Say
from runway_streams.devstack.java_server import JavaServer
from runway_streams.errors import DependencyDown

# The second is what Kafka's own distribution adds for its logs; Kafka's jar does not ask for it.
COORDINATES = ("org.apache.kafka:kafka_2.13:4.1.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3")

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


class EmbeddedKafka(JavaServer):
    """Apache Kafka with all its data below `home`, listening on 127.0.0.1 alone.

        with EmbeddedKafka(home) as kafka:
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)

    It can be stopped, or killed, and started again on the same data and port. It dies with this process.
    `cluster_id` (22 characters of URL-safe base64) is drawn at random unless given; it counts where `home` is empty.
    `extra` is what a broker that is not the plain one has beside it.
    """

    name = "Kafka"
    coordinates = COORDINATES
    megabytes = 45

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
        super().__init__(home, port, heap, say)
        self._cluster_id = cluster_id or urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._extra = extra or Extra()

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    def _command(self, java: Path, jars: Sequence[Path]) -> list[str | Path]:
        log4j = (_HERE / "log4j2.properties").as_uri()
        options = [f"-Dlog4j2.configurationFile={log4j}", f"-Drunway.logs={self.home / 'logs'}", *self._extra.java_options]
        run = self._java_command(java, jars, options)
        self._write_settings()
        if not (self.home / "data" / "meta.properties").exists():
            self._format(run)
        return [*run, "kafka.Kafka", self._settings]

    def _answers(self) -> bool:
        # In a thread of its own: the caller may be inside a running event loop.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, _has_metadata(self.bootstrap)).result()

    @property
    def _settings(self) -> Path:
        return self.home / "server.properties"

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


async def _has_metadata(bootstrap: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
