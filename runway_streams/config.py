"""The settings of one process, read once from the environment by whoever starts it."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runway_streams import formats
from runway_streams.errors import ConfigError
from runway_streams.kafka_security import KafkaSecurity
from runway_streams.metaflow_settings import MetaflowSettings
from runway_streams.mlflow_settings import MlflowSettings
from runway_streams.neo4j_address import Neo4jAddress
from runway_streams.urls import is_safe_url

DEFAULT_BOOTSTRAP = "localhost:9092"
BUCKET_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")
# With a symmetric one, whoever can check a token could make it.
TOKEN_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_BROKER = re.compile(r"\s*(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d+))?\s*")
_ARCHIVE = re.compile(rf"file:///|(?:{'|'.join(BUCKET_SCHEMES)})://[^/]")
_SWITCH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_MEMORY = re.compile(r"\d+(\.\d+)?\s*[KMGT]i?B", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Config:
    """Where things are, and how to reach them. Values that may hold a password stay out of `repr`.

    >>> Config(home=Path("/var/lib/runway")).state_dir
    PosixPath('/var/lib/runway/state/worker-0')
    """

    home: Path
    bootstrap: str = DEFAULT_BOOTSTRAP
    topic_prefix: str = "runway."
    instance_id: str = "worker-0"
    archive_url: str = ""
    session_timeout_s: int = 60
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    memory_limit: str = "4GiB"
    max_batch_mib: int = 64
    state_memory_mib: int = 640
    accept_gap: bool = False
    checkpoint_interval_s: int = 900
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    database: str | None = field(default=None, repr=False)
    lineage_database: str | None = field(default=None, repr=False)
    neo4j: str | None = field(default=None, repr=False)
    api_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    rate_limit: int = 6_000
    format: int = 0
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_algorithms: str = "RS256,ES256"
    oidc_role_claim: str = "runway_role"
    oidc_teams_claim: str = "teams"
    mlflow: MlflowSettings | None = None
    metaflow: MetaflowSettings | None = None
    openlineage_topic: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", Path(self.home).expanduser().absolute())
        object.__setattr__(self, "archive_url", self.archive_url or (self.home / "lake").as_uri())
        _check(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the RUNWAY_* variables; an empty one counts as not set."""
        given = {name: value for name, value in environ.items() if value}
        home = Path(given.get("RUNWAY_HOME", "~/.runway")).expanduser().absolute()
        texts = {name: given[variable] for variable, name in _TEXT_VARIABLES.items() if variable in given}
        numbers = {name: _number(variable, given) for variable, name in _NUMBER_VARIABLES.items() if variable in given}
        accept_gap = _switch("RUNWAY_ACCEPT_GAP", given)
        bootstrap = given.get("RUNWAY_BOOTSTRAP") or (running_stack(home) or {}).get("bootstrap", DEFAULT_BOOTSTRAP)
        parts = {
            "security": KafkaSecurity.from_env(given),
            "mlflow": MlflowSettings.from_env(given),
            "metaflow": MetaflowSettings.from_env(given),
        }
        return cls(home=home, bootstrap=bootstrap, accept_gap=accept_gap, **parts, **texts, **numbers)  # type: ignore[arg-type]

    @property
    def checkpoint_every_s(self) -> int:
        """How often the workers' states are uploaded, 0 for never: a lake below the home is lost with what it would restore.

        >>> Config(home=Path("/a")).checkpoint_every_s, Config(home=Path("/a"), archive_url="s3://b").checkpoint_every_s
        (0, 900)
        """
        return 0 if self.archive_url == (self.home / "lake").as_uri() else self.checkpoint_interval_s

    @property
    def written_in(self) -> int:
        """The format in which this process writes what others read; see `runway_streams.formats`."""
        return self.format or formats.WRITTEN

    @property
    def state_dir(self) -> Path:
        """The local state of this worker: RocksDB, progress marks."""
        return self.home / "state" / self.instance_id

    def topic(self, noun: str) -> str:
        """The full name of a topic.

        >>> Config(home=Path("/tmp")).topic("predictions")
        'runway.predictions'
        """
        return self.topic_prefix + noun


_TEXT_VARIABLES = {
    "RUNWAY_TOPIC_PREFIX": "topic_prefix",
    "RUNWAY_INSTANCE": "instance_id",
    "RUNWAY_ARCHIVE": "archive_url",
    "RUNWAY_BATCH_MEMORY": "memory_limit",
    "RUNWAY_WEB_HOST": "web_host",
    "RUNWAY_DATABASE": "database",
    "RUNWAY_LINEAGE_DATABASE": "lineage_database",
    "RUNWAY_NEO4J": "neo4j",
    "RUNWAY_OPENLINEAGE_TOPIC": "openlineage_topic",
    "RUNWAY_API": "api_url",
    "RUNWAY_KEY": "api_key",
    "RUNWAY_OIDC_ISSUER": "oidc_issuer",
    "RUNWAY_OIDC_AUDIENCE": "oidc_audience",
    "RUNWAY_OIDC_ALGORITHMS": "oidc_algorithms",
    "RUNWAY_OIDC_ROLE_CLAIM": "oidc_role_claim",
    "RUNWAY_OIDC_TEAMS_CLAIM": "oidc_teams_claim",
}
_NUMBER_VARIABLES = {
    "RUNWAY_SESSION_TIMEOUT": "session_timeout_s",
    "RUNWAY_WEB_PORT": "web_port",
    "RUNWAY_CHECKPOINT_INTERVAL": "checkpoint_interval_s",
    "RUNWAY_RATE_LIMIT": "rate_limit",
    "RUNWAY_MAX_BATCH_MIB": "max_batch_mib",
    "RUNWAY_STATE_MEMORY_MIB": "state_memory_mib",
    "RUNWAY_FORMAT": "format",
}


def kafka_client_options(config: Config) -> dict[str, Any]:
    """The keyword arguments with which any aiokafka client of this process connects; none will inflate a batch without bound."""
    from runway_streams.bounded_batches import MIB, bound_batches

    bound_batches(config.max_batch_mib * MIB)
    return {"bootstrap_servers": config.bootstrap, **config.security.client_options()}


def stack_file(home: Path) -> Path:
    """Where a running embedded stack tells its addresses."""
    return home / "stack.json"


def running_stack(home: Path) -> dict[str, Any] | None:
    """What the embedded stack below `home` tells about itself, or None when none runs."""
    try:
        told = json.loads(stack_file(home).read_bytes())
        return told if _alive(int(told["pid"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no file, or one that was being written


def _alive(pid: int) -> bool:
    # A stack that was killed leaves its file behind.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check(config: Config) -> None:
    if not _NAME.fullmatch(config.instance_id):
        raise ConfigError(
            f"RUNWAY_INSTANCE is {config.instance_id!r}, which cannot name a folder.",
            "Use 1 to 64 letters, digits, dots, dashes or underscores, not one or two dots alone.",
        )
    if config.topic_prefix and not _NAME.fullmatch(config.topic_prefix):
        raise ConfigError(
            f"RUNWAY_TOPIC_PREFIX is {config.topic_prefix!r}, which cannot begin a topic's name.",
            "Use at most 64 letters, digits, dots, dashes or underscores.",
        )
    if not all(map(_is_broker, config.bootstrap.split(","))):
        raise ConfigError(
            f"RUNWAY_BOOTSTRAP is {config.bootstrap!r}, which names no brokers.",
            "Give HOST:PORT with a port from 1 to 65535, and commas between several.",
        )
    if not _ARCHIVE.match(config.archive_url):
        raise ConfigError(
            f"RUNWAY_ARCHIVE is {config.archive_url!r}, which is not an archive.",
            f"Give a folder as file:///PATH, or a bucket as SCHEME://BUCKET/PREFIX with one of {', '.join(BUCKET_SCHEMES)}.",
        )
    if config.openlineage_topic and not _TOPIC.fullmatch(config.openlineage_topic):
        raise ConfigError(
            f"RUNWAY_OPENLINEAGE_TOPIC is {config.openlineage_topic[:80]!r}, which is no name of a topic.",
            "Use 1 to 249 letters, digits, dots, dashes or underscores.",
        )
    if not _MEMORY.fullmatch(config.memory_limit):
        raise ConfigError(f"RUNWAY_BATCH_MEMORY is {config.memory_limit!r}.", "Give a size such as 4GiB or 800MB.")
    _check_range("RUNWAY_SESSION_TIMEOUT", config.session_timeout_s, 1, 1800)
    _check_range("RUNWAY_WEB_PORT", config.web_port, 0, 65535)
    _check_range("RUNWAY_CHECKPOINT_INTERVAL", config.checkpoint_interval_s, 0, 86_400)
    _check_range("RUNWAY_MAX_BATCH_MIB", config.max_batch_mib, 1, 1024)
    _check_range("RUNWAY_STATE_MEMORY_MIB", config.state_memory_mib, 40, 65_536)
    _check_range("RUNWAY_RATE_LIMIT", config.rate_limit, 1, 10_000_000)
    if config.format:
        _check_range("RUNWAY_FORMAT", config.format, formats.OLDEST, formats.NEWEST)
    if config.neo4j:
        Neo4jAddress.parse(config.neo4j)
    _check_oidc(config)


def _is_broker(text: str) -> bool:
    """Whether this is one broker's address; without a port Kafka's clients take 9092.

    >>> [_is_broker(text) for text in ("kafka", " kafka-0:9092", "[::1]:9092", "kafka:port", "kafka:99999", "")]
    [True, True, True, False, False, False]
    """
    found = _BROKER.fullmatch(text)
    return found is not None and 1 <= int(found[1] or 9092) <= 65535


def _check_range(variable: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{variable} is {value}.", f"Give a whole number from {least} to {most}.")


def _check_oidc(config: Config) -> None:
    unknown = [name for name in config.oidc_algorithms.split(",") if name.strip() not in TOKEN_ALGORITHMS]
    if unknown:
        raise ConfigError(
            f"RUNWAY_OIDC_ALGORITHMS names {unknown[0]!r}, by which no token is taken.",
            f"Give some of {', '.join(TOKEN_ALGORITHMS)}, with commas between them.",
        )
    if config.oidc_issuer and not is_safe_url(config.oidc_issuer):
        raise ConfigError(
            f"RUNWAY_OIDC_ISSUER is {config.oidc_issuer!r}, which is not an https URL.",
            "Give the issuer as its tokens name it in iss, such as https://login.example.com/realms/ml.",
        )
    if bool(config.oidc_issuer) != bool(config.oidc_audience):
        raise ConfigError(
            "Of RUNWAY_OIDC_ISSUER and RUNWAY_OIDC_AUDIENCE one is set alone.",
            "Set both: tokens that the issuer made for others are no good here.",
        )


def _switch(variable: str, environ: Mapping[str, str]) -> bool:
    given = environ.get(variable, "0")
    if given.lower() not in _SWITCH:
        raise ConfigError(f"{variable} is {given!r}.", "Give 1 for yes or 0 for no.")
    return _SWITCH[given.lower()]


def _number(variable: str, environ: Mapping[str, str]) -> int:
    try:
        return int(environ[variable])
    except ValueError:
        raise ConfigError(f"{variable} is {environ[variable]!r}.", "Give a whole number.") from None
