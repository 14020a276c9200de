"""A real Kafka that demands to know who speaks to it: one port for each way, and rights by StandardAuthorizer."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from runway_streams.devstack.children import free_port
from runway_streams.devstack.kafka import EmbeddedKafka, Extra
from runway_streams.kafka_security import KafkaSecurity
from tests.security.certificates import Authority

PASSWORD = "s3cr3t=of-runway"
HOSTS = ("127.0.0.1", "localhost")
WAYS = {
    "scram": "SASL_SSL",
    "plain": "SASL_SSL",
    "tokens": "SASL_SSL",
    "mtls": "SSL",
    "old": "SSL",
    "elsewhere": "SSL",
    "untrusted": "SSL",
    "clear": "SASL_PLAINTEXT",
}
"""By the name of the listener. `old` has expired, `elsewhere` is for another host, `clear` has SCRAM without TLS."""
PROCESSES = ("worker", "archive", "api")
AUDIENCE = "kafka.example.com"
ISSUER = "https://login.example.com"
RESOURCES = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
_MODULES = "org.apache.kafka.common.security"


class SecuredKafka(EmbeddedKafka):
    """Its plain port is the broker's own and may do everything; each way of `WAYS` is a port of its own.

    The users are `runway`, who may do everything, and those of `PROCESSES`, who have no right yet.
    """

    def __init__(self, home: Path, authority: Authority, jwks: Path):
        self.ports = {way: free_port() for way in WAYS}
        self.authority, self.jwks = authority, jwks
        other = Authority(authority.folder / "other", "somebody else")
        self._stores = {
            "": authority.keystore("broker", HOSTS),
            "old": authority.keystore("old", HOSTS, expired=True),
            "elsewhere": authority.keystore("elsewhere", ("kafka.example.com",)),
            "untrusted": other.keystore("untrusted", HOSTS),
        }
        users = [
            f'--add-scram={mechanism}=[name={user},password="{PASSWORD}"]'
            for user in ("runway", *PROCESSES)
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        ]
        java = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks.as_uri()}"]
        super().__init__(home, heap="384m", extra=Extra(self._server_settings(), java, users))

    def at(self, way: str, host: str = "127.0.0.1") -> str:
        """The bootstrap of one way."""
        return f"{host}:{self.ports[way]}"

    def security(self, way: str, mechanism: str = "SCRAM-SHA-512", **changed: Any) -> KafkaSecurity:
        """What a client of that port needs."""
        given: dict[str, Any] = {"protocol": WAYS[way]}
        if WAYS[way].endswith("SSL"):
            given["cafile"] = str(self.authority.cafile)
        if WAYS[way].startswith("SASL"):
            given |= {"mechanism": mechanism, "username": "runway", "password": PASSWORD}
        return KafkaSecurity(**given | changed)

    def grant(self, users: tuple[str, ...], rights: str) -> None:
        """Adds rights, written as the arguments of `kafka-acls`."""
        words = rights.split()
        given = [(option, value) for option, value in pairwise(words) if option.startswith("--")]
        pattern = (
            ResourcePatternType.PREFIXED if ("--resource-pattern-type", "prefixed") in given else ResourcePatternType.LITERAL
        )
        operations = [value for option, value in given if option == "--operation"]
        bindings = [
            AclBinding(
                RESOURCES[option], value, pattern, f"User:{user}", "*", OPERATIONS[operation], AclPermissionType.ALLOW
            )
            for option, value in given
            if option in RESOURCES
            for operation in operations
            for user in users
        ]
        assert bindings
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.create_acls(bindings).values():
            done.result(10)

    def _server_settings(self) -> Mapping[str, str]:
        ports = {"PLAINTEXT": "$port"} | {way.upper(): str(port) for way, port in self.ports.items()}
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        protocols = ",".join(f"{way.upper()}:{protocol}" for way, protocol in WAYS.items())
        scram = f"{_MODULES}.scram.ScramLoginModule required;"
        return {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:$controller_port",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}",
            "inter.broker.listener.name": "PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:runway;User:CN=runway",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.cafile),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._stores[""]),
            "listener.name.mtls.ssl.client.auth": "required",
            **{f"listener.name.{way}.ssl.keystore.location": str(store) for way, store in self._stores.items() if way},
            **{f"listener.name.{way}.ssl.keystore.type": "PEM" for way in self._stores if way},
            **{f"listener.name.{way}.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512" for way in ("scram", "clear")},
            **{
                f"listener.name.{way}.scram-sha-{bits}.sasl.jaas.config": scram
                for way in ("scram", "clear")
                for bits in (256, 512)
            },
            "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.plain.plain.sasl.jaas.config": (
                f'{_MODULES}.plain.PlainLoginModule required user_runway="{PASSWORD}";'
            ),
            "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.tokens.oauthbearer.sasl.jaas.config": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;",
            "listener.name.tokens.oauthbearer.sasl.server.callback.handler.class": (
                f"{_MODULES}.oauthbearer.OAuthBearerValidatorCallbackHandler"
            ),
            # Kafka 4.1's default validator looks at no signature where it takes itself for a client.
            "sasl.oauthbearer.jwt.validator.class": f"{_MODULES}.oauthbearer.BrokerJwtValidator",
            "sasl.oauthbearer.jwks.endpoint.url": self.jwks.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": ISSUER,
        }
