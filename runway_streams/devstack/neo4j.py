"""A real Neo4j, Community edition, of one server, run as a child process on this machine."""

import hashlib
import logging
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from urllib.parse import quote

from neo4j import GraphDatabase
from neo4j.exceptions import DriverError, Neo4jError

from runway_streams.devstack.jars import Say
from runway_streams.devstack.java_server import JavaServer

COORDINATES = ("org.neo4j:neo4j:5.26.30", "org.neo4j:neo4j-bolt:5.26.30")
MAIN = "org.neo4j.server.CommunityEntryPoint"
USER = "neo4j"
ANSWER_LIMIT_S = 5.0
# What Neo4j's own start script opens to it.
OPENED = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch")
HASHED_TIMES = 1024

_HERE = Path(__file__).parent
_log = logging.getLogger(__name__)


class EmbeddedNeo4j(JavaServer):
    """Neo4j with all its data below `home`, listening on 127.0.0.1 alone.

        with EmbeddedNeo4j(home) as neo4j:
            AsyncGraphDatabase.driver(...)  # or RUNWAY_NEO4J=neo4j.url

    It can be stopped, or killed, and started again on the same data and port. It dies with this process.
    `password` (8 characters at least) is drawn at random unless given; it counts where `home` is empty.
    """

    name = "Neo4j"
    coordinates = COORDINATES
    megabytes = 110
    ready_limit_s = 120.0

    def __init__(
        self,
        home: Path,
        port: int = 0,
        *,
        heap: str = "512m",
        page_cache: str = "128m",
        password: str = "",
        say: Say = _log.info,
    ) -> None:
        super().__init__(home, port, heap, say)
        self._page_cache = page_cache
        self._password = password or secrets.token_urlsafe(16)

    @property
    def url(self) -> str:
        """What RUNWAY_NEO4J takes, password and all."""
        return f"bolt://{USER}:{quote(self._password, safe='')}@127.0.0.1:{self.port}/neo4j"

    def _command(self, java: Path, jars: Sequence[Path]) -> list[str | Path]:
        settings = self.home / "conf"
        settings.mkdir(parents=True, exist_ok=True)
        template = Template((_HERE / "neo4j.conf").read_text())
        (settings / "neo4j.conf").write_text(template.substitute(port=self.port, page_cache=self._page_cache))
        self._set_password()
        options = [option for package in OPENED for option in ("--add-opens", f"{package}=ALL-UNNAMED")]
        return [*self._java_command(java, jars, options), MAIN, f"--home-dir={self.home}", f"--config-dir={settings}"]

    def _set_password(self) -> None:
        # As `neo4j-admin dbms set-initial-password` leaves it, which counts at the first start alone: the password that all
        # servers are born with never works here.
        place = self.home / "data" / "dbms" / "auth.ini"
        if not (self.home / "data" / "databases").exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch(mode=0o600)
            place.write_text(f"{USER}:{hashed(self._password, secrets.token_bytes(32))}:\n")

    def _answers(self) -> bool:
        # In a thread of its own: the driver is the blocking one, and the caller may be inside a running event loop.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._asks).result()

    def _asks(self) -> bool:
        driver = GraphDatabase.driver(
            f"bolt://127.0.0.1:{self.port}",
            auth=(USER, self._password),
            connection_timeout=ANSWER_LIMIT_S,
            connection_acquisition_timeout=ANSWER_LIMIT_S,
            max_transaction_retry_time=0,
            telemetry_disabled=True,
        )
        try:
            with driver, driver.session(database="neo4j") as session:
                return bool(session.execute_read(lambda work: work.run("RETURN 1").single()))
        except (DriverError, Neo4jError, OSError):
            return False


def hashed(password: str, salt: bytes) -> str:
    """A password as Neo4j keeps it: SHA-256 of salt and password, again and again.

    >>> hashed("password", bytes(4))
    'SHA-256,0c4cd862fd16db041c34d23d4b7fa02c421219f0cd4ab0032ed6f7a330d1bba3,00000000,1024'
    """
    digest = hashlib.sha256(salt + password.encode()).digest()
    for _ in range(HASHED_TIMES - 1):
        digest = hashlib.sha256(digest).digest()
    return f"SHA-256,{digest.hex()},{salt.hex()},{HASHED_TIMES}"
