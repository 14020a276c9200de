"""KafkaSecurity: how this process proves to Kafka who it is, and how it knows that it speaks to Kafka."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runway_streams.certificates import reason_of, trusted
from runway_streams.errors import ConfigError
from runway_streams.urls import is_safe_url

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
OAUTHBEARER = "OAUTHBEARER"
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER)
MAX_SECRET_BYTES = 4096
"""Of a file that holds a password; a longer one is some other file."""

VARIABLES = {
    "RUNWAY_SECURITY_PROTOCOL": "protocol",
    "RUNWAY_SSL_CAFILE": "cafile",
    "RUNWAY_SSL_CERTFILE": "certfile",
    "RUNWAY_SSL_KEYFILE": "keyfile",
    "RUNWAY_SASL_MECHANISM": "mechanism",
    "RUNWAY_SASL_USERNAME": "username",
    "RUNWAY_SASL_TOKEN_URL": "token_url",
    "RUNWAY_SASL_TOKEN_SCOPE": "token_scope",
    "RUNWAY_SASL_TOKEN_CAFILE": "token_cafile",
}
SECRETS = {
    "key_password": ("RUNWAY_SSL_KEY_PASSWORD", "RUNWAY_SSL_KEY_PASSWORD_FILE"),
    "password": ("RUNWAY_SASL_PASSWORD", "RUNWAY_SASL_PASSWORD_FILE"),
}
"""Each by a variable, or by the file that another variable names; a file is what a container's secret is."""


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """What a client needs beside the brokers' addresses; with OAUTHBEARER, `username` and `password` are the client's id and
    secret at the token endpoint. Nothing secret is in `repr`. Raises ConfigError where something cannot be used.

    >>> KafkaSecurity("SASL_SSL", mechanism="SCRAM-SHA-512", username="runway", password="s3cret")
    KafkaSecurity(protocol='SASL_SSL', cafile='', certfile='', keyfile='', mechanism='SCRAM-SHA-512', username='runway', token_url='', token_scope='', token_cafile='')
    """  # noqa: E501

    protocol: str = "PLAINTEXT"
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    key_password: str = field(default="", repr=False)
    mechanism: str = "PLAIN"
    username: str = ""
    password: str = field(default="", repr=False)
    token_url: str = ""
    token_scope: str = ""
    token_cafile: str = ""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError(f"RUNWAY_SECURITY_PROTOCOL is {self.protocol!r}.", f"Give one of {', '.join(PROTOCOLS)}.")
        _check_certificate(self)
        if self.sasl:
            _check_sasl(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "KafkaSecurity":
        """The RUNWAY_SECURITY_PROTOCOL, RUNWAY_SSL_* and RUNWAY_SASL_* variables; an empty one counts as not set.

        >>> KafkaSecurity.from_env({"RUNWAY_SECURITY_PROTOCOL": "SSL", "RUNWAY_SSL_CAFILE": "/etc/ca.pem"}).cafile
        '/etc/ca.pem'
        """
        given = {name: environ[variable] for variable, name in VARIABLES.items() if environ.get(variable)}
        return cls(**given, **{name: _secret(environ, *variables) for name, variables in SECRETS.items()})

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether a user, or a token, is asked for."""
        return self.protocol.startswith("SASL")

    @property
    def anonymous(self) -> bool:
        """Whether Kafka cannot know who we are."""
        return not (self.sasl or self.certfile)

    def client_options(self) -> dict[str, Any]:
        """The keyword arguments of any aiokafka client. Raises ConfigError where a file cannot be read.

        >>> KafkaSecurity().client_options()
        {'security_protocol': 'PLAINTEXT'}
        """
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.tls:
            options["ssl_context"] = self.ssl_context()
        if self.sasl:
            from runway_streams.kafka_tokens import hide_passwords

            hide_passwords()
            options["sasl_mechanism"] = self.mechanism
            options |= self._token_options() if self.mechanism == OAUTHBEARER else self._password_options()
        return options

    def ssl_context(self) -> ssl.SSLContext:
        """Checks the broker's certificate and its host's name; shows ours where there is one."""
        context = trusted(self.cafile, "RUNWAY_SSL_CAFILE")
        if self.certfile:
            self._show_certificate(context)
        return context

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        # With a password of our own nobody is asked on the terminal.
        try:
            context.load_cert_chain(self.certfile, self.keyfile or None, lambda: self.key_password)
        except (OSError, ValueError) as error:
            where = f"RUNWAY_SSL_CERTFILE is {self.certfile!r}, RUNWAY_SSL_KEYFILE is {self.keyfile or self.certfile!r}"
            raise ConfigError(
                f"{where}, and they cannot be used: {reason_of(error)}.",
                "Give the certificate and its private key as PEM files, and RUNWAY_SSL_KEY_PASSWORD_FILE where the key has one.",
            ) from error

    def _password_options(self) -> dict[str, Any]:
        return {"sasl_plain_username": self.username, "sasl_plain_password": self.password}

    def _token_options(self) -> dict[str, Any]:
        from runway_streams.kafka_tokens import TokenClient, provider_of

        client = TokenClient(self.token_url, self.username, self.password, self.token_scope, self.token_cafile)
        return {"sasl_oauth_token_provider": provider_of(client)}


def _secret(environ: Mapping[str, str], variable: str, file_variable: str) -> str:
    value, path = environ.get(variable, ""), environ.get(file_variable, "")
    if not path:
        return value
    if value:
        raise ConfigError(f"Both {variable} and {file_variable} are set.", "Set one of them.")
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{file_variable} is {path!r}, which cannot be read: {why}.", "Give a file that holds it."
        ) from None
    if not text or len(raw) > MAX_SECRET_BYTES:
        raise ConfigError(
            f"{file_variable} is {path!r}, which is empty or longer than {MAX_SECRET_BYTES} bytes.",
            "Give a file that holds it and nothing else.",
        )
    return text


def _check_certificate(security: KafkaSecurity) -> None:
    if security.keyfile and not security.certfile:
        raise ConfigError("RUNWAY_SSL_KEYFILE is set alone.", "Set RUNWAY_SSL_CERTFILE too: the certificate of that key.")
    if (security.certfile or security.cafile) and not security.tls:
        raise ConfigError(
            f"RUNWAY_SSL_CAFILE or RUNWAY_SSL_CERTFILE is set, but RUNWAY_SECURITY_PROTOCOL is {security.protocol}, which "
            "uses no certificate.",
            "Set RUNWAY_SECURITY_PROTOCOL to SSL or SASL_SSL, or unset the files.",
        )


def _check_sasl(security: KafkaSecurity) -> None:
    if security.mechanism not in SASL_MECHANISMS:
        raise ConfigError(f"RUNWAY_SASL_MECHANISM is {security.mechanism!r}.", f"Give one of {', '.join(SASL_MECHANISMS)}.")
    if not (security.username and security.password):
        raise ConfigError(
            f"RUNWAY_SECURITY_PROTOCOL is {security.protocol}, but there is no user or no password.",
            "Set RUNWAY_SASL_USERNAME, and RUNWAY_SASL_PASSWORD_FILE or RUNWAY_SASL_PASSWORD.",
        )
    if "\0" in security.username + security.password:
        raise ConfigError("RUNWAY_SASL_USERNAME or the password holds a NUL.", "Give text.")
    if security.mechanism == OAUTHBEARER and not is_safe_url(security.token_url):
        raise ConfigError(
            f"RUNWAY_SASL_TOKEN_URL is {security.token_url!r}, and the client's secret could be read on the way.",
            "Give the https address of the issuer's token endpoint; http is taken on this machine alone.",
        )
