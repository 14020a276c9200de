"""MlflowSettings: the MLflow server whose models are taken into the registry, and how we show it who asks."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runway_streams.errors import ConfigError, RunwayError
from runway_streams.times import DAY, parse_duration
from runway_streams.urls import is_safe_url

MAX_URI = 500
MAX_OWNER = 128
MAX_SECRETS = 2
LEAST_POLL = 10_000
VARIABLES = {
    "RUNWAY_MLFLOW": "uri",
    "RUNWAY_MLFLOW_TOKEN": "token",
    "RUNWAY_MLFLOW_USERNAME": "user",
    "RUNWAY_MLFLOW_PASSWORD": "password",
    "RUNWAY_MLFLOW_CAFILE": "cafile",
    "RUNWAY_MLFLOW_POLL": "poll",
    "RUNWAY_MLFLOW_OWNER": "owner",
}


@dataclass(frozen=True, slots=True)
class MlflowSettings:
    """Where the server is, and who asks it: a bearer token, or a user and a password, or nobody. `owner` is the team that
    imported models belong to. Nothing secret is in `repr`. Raises ConfigError where something cannot be used.

    >>> MlflowSettings("https://mlflow.example.com", token="t", secrets=("s",))
    MlflowSettings(uri='https://mlflow.example.com', cafile='', poll='PT5M', owner='')
    """

    uri: str
    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    cafile: str = ""
    poll: str = "PT5M"
    owner: str = ""

    def __post_init__(self) -> None:
        _check_uri(self.uri)
        _check_access(self)
        _check_secrets(self.secrets)
        _check_poll(self.poll)
        if len(self.owner) > MAX_OWNER or not self.owner.isprintable():
            raise ConfigError("RUNWAY_MLFLOW_OWNER is no team's name.", f"Give at most {MAX_OWNER} printable characters.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "MlflowSettings | None":
        """The RUNWAY_MLFLOW* variables; None where RUNWAY_MLFLOW is not set.

        >>> MlflowSettings.from_env({"RUNWAY_MLFLOW": "http://m", "RUNWAY_MLFLOW_WEBHOOK_SECRETS": "new, old"}).secrets
        ('new', 'old')
        """
        if not environ.get("RUNWAY_MLFLOW"):
            return None
        given = {name: environ[variable] for variable, name in VARIABLES.items() if environ.get(variable)}
        secrets = environ.get("RUNWAY_MLFLOW_WEBHOOK_SECRETS", "")
        return cls(**given, secrets=tuple(part.strip() for part in secrets.split(",")) if secrets else ())  # type: ignore[arg-type]

    @property
    def poll_ms(self) -> int:
        """The time between two polls."""
        return parse_duration(self.poll)

    def tls(self) -> ssl.SSLContext | None:
        """The certificates to trust, None for the system's. Raises ConfigError where the file cannot be read."""
        if not self.cafile:
            return None
        try:
            return ssl.create_default_context(cafile=self.cafile)
        except OSError as error:
            raise ConfigError(
                f"RUNWAY_MLFLOW_CAFILE is {self.cafile!r}, which cannot be read: {error}.",
                "Give a file of PEM certificates.",
            ) from error


def _check_uri(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        host = parts.hostname
        _ = parts.port  # raises where it is none
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or len(uri) > MAX_URI or not uri.isascii() or not uri.isprintable():
        raise ConfigError(
            "RUNWAY_MLFLOW is not the address of an MLflow server.",
            f"Give http://HOST:PORT or https://HOST, with a path if it has one, at most {MAX_URI} characters.",
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "RUNWAY_MLFLOW holds a user, a query or a fragment.",
            "Give the address alone; RUNWAY_MLFLOW_USERNAME and RUNWAY_MLFLOW_PASSWORD take the user.",
        )


def _check_access(settings: MlflowSettings) -> None:
    if settings.token and (settings.user or settings.password):
        raise ConfigError("MLflow has both a token and a user.", "Set RUNWAY_MLFLOW_TOKEN, or user and password, not both.")
    if bool(settings.user) != bool(settings.password):
        raise ConfigError("Of RUNWAY_MLFLOW_USERNAME and RUNWAY_MLFLOW_PASSWORD one is set alone.", "Set both, or neither.")
    secret = settings.token + settings.user + settings.password
    if not secret.isprintable() or not settings.token.isascii() or " " in settings.token:
        raise ConfigError(
            "MLflow's token, user or password has a character that no header can carry.", "Look for a line end."
        )
    if secret and not is_safe_url(settings.uri):
        raise ConfigError(
            f"RUNWAY_MLFLOW is {settings.uri!r}, and what it is sent could be read on the way.",
            "Give an https address where a token or a password is needed.",
        )


def _check_secrets(secrets: tuple[str, ...]) -> None:
    if len(secrets) > MAX_SECRETS or not all(secret and secret.isprintable() for secret in secrets):
        raise ConfigError(
            "RUNWAY_MLFLOW_WEBHOOK_SECRETS cannot be used.",
            "Give the secret of MLflow's webhook; the new and the old one, with a comma between, while it is being replaced.",
        )


def _check_poll(poll: str) -> None:
    try:
        ms = parse_duration(poll)
    except RunwayError:
        ms = 0
    if not LEAST_POLL <= ms <= DAY:
        raise ConfigError(f"RUNWAY_MLFLOW_POLL is {poll!r}.", "Give a duration from PT10S to P1D, such as PT5M.")
