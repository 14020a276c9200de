"""kafka_errors: what Kafka's client raises, as sentences for people. aiokafka's own error says no more than that it could not
bootstrap, so each broker is asked once more, and what it answers to that is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import errors
from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from runway_streams.config import Config, kafka_client_options
from runway_streams.errors import DependencyDown
from runway_streams.kafka_security import OAUTHBEARER
from runway_streams.kafka_tokens import TokenUnavailable

PROBE_LIMIT_S = 6.0
"""Of all probes together; a broker that does not answer at all is told as such."""
ANSWER_LIMIT_MS = 3_000
START = "Start it, or set RUNWAY_BOOTSTRAP to a broker that runs."
_EXPIRED, _NOT_YET_VALID, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR_*."""

DENIALS = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)
"""What Kafka's client raises where a right is missing."""

Told = tuple[str, str]
"""What is the matter, and what to do."""


@asynccontextmanager
async def kafka_errors(config: Config, remedy: str = START) -> AsyncIterator[None]:
    """Turns what Kafka's client raises into DependencyDown, which says what is wrong: the network, a certificate, the user, a
    right that is missing."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise await explain(config, error, remedy) from error


async def explain(config: Config, error: BaseException, remedy: str = START) -> DependencyDown:
    """The error for people; connects once more where the client has not told why it cannot."""
    denied = denial(config, error)
    if denied is None and isinstance(error, errors.KafkaConnectionError | errors.NodeNotReadyError | TimeoutError | OSError):
        denied = await _ask_brokers(config)
    if denied is not None:
        return DependencyDown(*denied)
    return DependencyDown(f"Kafka at {config.bootstrap} did not answer: {error or type(error).__name__}.", remedy)


def denial(config: Config, error: BaseException) -> Told | None:
    """What a right that is missing is called, None for any other error.

    >>> denial(Config(home="/a"), errors.GroupAuthorizationFailedError("runway-archive"))[0]
    'Kafka at localhost:9092 does not let this client use the group runway-archive.'
    """
    if not isinstance(error, DENIALS):
        return None
    what = ", ".join(sorted(error.args[0]) if error.args and isinstance(error.args[0], set) else map(str, error.args))
    use, right = {
        errors.TopicAuthorizationFailedError: (f"use the topic {what}", "Read, Write, Describe or DescribeConfigs on it"),
        errors.GroupAuthorizationFailedError: (f"use the group {what}", "Read on the group"),
        errors.ClusterAuthorizationFailedError: ("do this to the cluster", "IdempotentWrite or Create on the cluster"),
        errors.TransactionalIdAuthorizationFailed: (f"use the transactional id {what}", "Write and Describe on it"),
    }[type(error)]
    return f"Kafka at {config.bootstrap} does not let {_who(config)} {use}.", f"Grant it {right}: {_DOCS}."


_DOCS = 'docs/operate.md, "TLS and SASL", lists what each process needs'


def _who(config: Config) -> str:
    security = config.security
    if security.sasl:
        return f"the user {security.username}"
    return f"the owner of {security.certfile}" if security.certfile else "this client"


async def _ask_brokers(config: Config) -> Told | None:
    """The first broker's answer that says what is wrong."""
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            for host, port, _ in collect_hosts(config.bootstrap):
                told = await _ask(config, host, port)
                if told is not None:
                    return told
    except TimeoutError:
        pass  # whatever is wrong, it is not what a broker says
    return None


async def _ask(config: Config, host: str, port: int) -> Told | None:
    options = {name: value for name, value in kafka_client_options(config).items() if name != "bootstrap_servers"}
    try:
        connection = await create_conn(host, port, request_timeout_ms=ANSWER_LIMIT_MS, **options)
        try:
            if not (await connection.send(MetadataRequest([]))).brokers:
                raise errors.KafkaConnectionError("It names no broker.")
        except errors.KafkaConnectionError:
            # To a token that it does not take a broker says why and waits for more; aiokafka takes that for a yes, and what
            # the broker says to the next question for an answer that is empty.
            if config.security.sasl and config.security.mechanism == OAUTHBEARER:
                return _wrong_user(config, f"Kafka at {host}:{port}")
            raise
        finally:
            await _close(connection)
    except (KafkaError, TimeoutError, OSError) as error:
        return await _meaning(config, f"Kafka at {host}:{port}", host, port, error)
    return None


async def _meaning(config: Config, broker: str, host: str, port: int, error: BaseException) -> Told | None:
    of_certificate = [cause for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)]
    if of_certificate:
        return _certificate(config, broker, host, of_certificate[0])
    refused = [cause for cause in _causes(error) if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")]
    if refused:
        return _alert(config, broker, refused[0])
    if isinstance(error, errors.SaslAuthenticationFailed | errors.AuthenticationFailedError):
        return _wrong_user(config, broker)
    if isinstance(error, TokenUnavailable):
        return (
            f"There is no token for {broker}: {error.args[0]}.",
            "Check RUNWAY_SASL_TOKEN_URL, the client's id and its secret.",
        )
    if isinstance(error, errors.UnsupportedSaslMechanismError | errors.IllegalSaslStateError):
        return await _mechanisms(config, broker, host, port)
    return await _other_protocol(config, broker, host, port)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _certificate(config: Config, broker: str, host: str, error: ssl.SSLCertVerificationError) -> Told:
    why = error.verify_message
    if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return (
            f"{broker} shows a certificate that is not for {host}.",
            "Set RUNWAY_BOOTSTRAP to a name that its certificate has, or give the broker a certificate with this one.",
        )
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return (
            f"{broker} shows a certificate that cannot be used now: {why}.",
            "Renew it at the broker, or set the clock right.",
        )
    authority = config.security.cafile or "the system's authorities"
    return (
        f"{broker} shows a certificate that {authority} did not sign: {why}.",
        "Set RUNWAY_SSL_CAFILE to the certificates of the brokers' authority; if it is right, somebody else answers there.",
    )


def _alert(config: Config, broker: str, error: ssl.SSLError) -> Told:
    alert = (error.reason or "").split("ALERT_")[-1].lower().replace("_", " ")
    if config.security.certfile:
        return (
            f"{broker} does not take the certificate in {config.security.certfile}: {alert}.",
            "Give RUNWAY_SSL_CERTFILE one that is valid and that the broker's authority has signed.",
        )
    return (
        f"{broker} ended the TLS handshake: {alert}.",
        "It may want a client's certificate: set RUNWAY_SSL_CERTFILE and RUNWAY_SSL_KEYFILE.",
    )


def _wrong_user(config: Config, broker: str) -> Told:
    security = config.security
    if security.token_url:
        return (
            f"{broker} does not take the token that {security.token_url} gave.",
            "Check the audience, the scope and the issuer that the broker expects, and RUNWAY_SASL_TOKEN_SCOPE.",
        )
    return (
        f"{broker} does not take the password of the user {security.username} by {security.mechanism}.",
        "Check RUNWAY_SASL_USERNAME, RUNWAY_SASL_PASSWORD_FILE or RUNWAY_SASL_PASSWORD, and RUNWAY_SASL_MECHANISM.",
    )


async def _mechanisms(config: Config, broker: str, host: str, port: int) -> Told:
    offered = await _offered(host, port, config.security.tls, config)
    if not offered:
        wanted = "SSL" if config.security.tls else "PLAINTEXT"
        return f"{broker} asks for no user at this port.", f"Set RUNWAY_SECURITY_PROTOCOL to {wanted}, or use another port."
    return (
        f"{broker} does not know the mechanism {config.security.mechanism}.",
        f"Set RUNWAY_SASL_MECHANISM to one of its own: {', '.join(sorted(offered))}.",
    )


async def _other_protocol(config: Config, broker: str, host: str, port: int) -> Told | None:
    """Whether the port speaks TLS where we do not, or the other way round, or asks for a user."""
    tls, sasl = config.security.tls, config.security.sasl
    if tls and await _answers_plainly(host, port):
        protocol = "SASL_PLAINTEXT" if sasl else "PLAINTEXT"
        return (
            f"{broker} speaks no TLS at this port.",
            f"Use its port for TLS, or set RUNWAY_SECURITY_PROTOCOL to {protocol}.",
        )
    if not tls and await _speaks_tls(host, port):
        protocol = "SASL_SSL" if sasl else "SSL or SASL_SSL"
        return f"{broker} speaks TLS at this port, and this client does not.", f"Set RUNWAY_SECURITY_PROTOCOL to {protocol}."
    offered = [] if sasl else await _offered(host, port, tls, config)
    if offered:
        return (
            f"{broker} asks for a user at this port.",
            f"Set RUNWAY_SECURITY_PROTOCOL to {'SASL_SSL' if tls else 'SASL_PLAINTEXT'}, and RUNWAY_SASL_MECHANISM to one of "
            f"{', '.join(sorted(offered))}.",
        )
    return None


async def _answers_plainly(host: str, port: int) -> bool:
    # It says which versions it knows before anything else.
    try:
        await _close(await create_conn(host, port, request_timeout_ms=ANSWER_LIMIT_MS, security_protocol="PLAINTEXT"))
    except (KafkaError, TimeoutError, OSError):
        return False
    return True


async def _speaks_tls(host: str, port: int) -> bool:
    # Nothing is sent over it and nothing believed: any certificate will do.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(ANSWER_LIMIT_MS / 1000):
            _reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True


async def _offered(host: str, port: int, tls: bool, config: Config) -> list[str]:
    """The SASL mechanisms of a port, none where it asks for no user."""
    options = {"ssl_context": config.security.ssl_context()} if tls else {}
    protocol = "SSL" if tls else "PLAINTEXT"
    try:
        connection = await create_conn(host, port, request_timeout_ms=ANSWER_LIMIT_MS, security_protocol=protocol, **options)
        try:
            return list((await connection.send(SaslHandShakeRequest("?"))).enabled_mechanisms)
        finally:
            await _close(connection)
    except (KafkaError, TimeoutError, OSError):
        return []


async def _close(connection: AIOKafkaConnection) -> None:
    closing = connection.close()
    if closing is not None:
        await asyncio.wait([closing], timeout=1)
