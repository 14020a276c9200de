"""Neo4jAddress: where a Neo4j is, who we are there, and which of its databases is ours."""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from runway_streams.errors import ConfigError

SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")
"""One server or, with neo4j, a cluster; with +s by TLS; with +ssc whatever the certificate."""
DEFAULT_PORT = 7687
DEFAULT_DATABASE = "neo4j"

_DATABASE = re.compile(r"[A-Za-z][A-Za-z0-9.-]{2,62}")
_REMEDY = "Give bolt://USER:PASSWORD@HOST:PORT/DATABASE, or neo4j+s:// for a cluster by TLS; write % as %25 and @ as %40."


@dataclass(frozen=True, slots=True)
class Neo4jAddress:
    """What the driver is given. The password is not in `repr`; messages name the `uri`, which has none.

    >>> Neo4jAddress.parse("neo4j+s://runway:p%40ss@graph.example.com/lineage")
    Neo4jAddress(uri='neo4j+s://graph.example.com:7687', user='runway', database='lineage')
    """

    uri: str
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = DEFAULT_DATABASE

    @classmethod
    def parse(cls, url: str) -> "Neo4jAddress":
        """Reads RUNWAY_NEO4J. Raises ConfigError, which never shows the URL: it has a password in it."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or DEFAULT_PORT
        except ValueError:
            raise ConfigError("RUNWAY_NEO4J is not a URL.", _REMEDY) from None
        _check(parts, host)
        shown = f"[{host}]" if ":" in host else host
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(f"{parts.scheme}://{shown}:{port}", user, password, parts.path.strip("/") or DEFAULT_DATABASE)

    @property
    def auth(self) -> tuple[str, str] | None:
        """User and password as the driver takes them, None where nobody is asked for them."""
        return (self.user, self.password) if self.user else None


def _check(parts: SplitResult, host: str) -> None:
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"RUNWAY_NEO4J begins with none of {', '.join(SCHEMES)}.", _REMEDY)
    if not host or re.search(r"[\s\x00-\x1f]", host):
        raise ConfigError("RUNWAY_NEO4J names no host.", _REMEDY)
    if bool(parts.username) != bool(parts.password):
        raise ConfigError("RUNWAY_NEO4J has a user or a password alone.", _REMEDY)
    if parts.query or parts.fragment:
        raise ConfigError("RUNWAY_NEO4J has a ? or a # in it.", _REMEDY)
    if parts.path.strip("/") and not _DATABASE.fullmatch(parts.path.strip("/")):
        raise ConfigError("RUNWAY_NEO4J names a database that cannot be one.", _REMEDY)
