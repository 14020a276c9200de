"""One Kafka that demands TLS and users, started once; its authority, and the issuer of its tokens."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from runway_streams.config import Config
from tests.security.broker import SecuredKafka
from tests.security.certificates import Authority

_numbers = count(1)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the broker's certificates and its clients'."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def token_key() -> rsa.RSAPrivateKey:
    """What the issuer signs tokens with."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def secured(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, token_key: rsa.RSAPrivateKey
) -> Iterator[SecuredKafka]:
    """The broker, started once; topics of another prefix for each test."""
    home = tmp_path_factory.mktemp("secured")
    jwks = home / "jwks.json"
    key = RSAAlgorithm.to_jwk(token_key.public_key(), as_dict=True) | {"kid": "k1", "use": "sig", "alg": "RS256"}
    jwks.write_text(json.dumps({"keys": [key]}))
    with SecuredKafka(home, authority, jwks) as running:
        yield running


@pytest.fixture
def reach(secured: SecuredKafka, tmp_path: Path) -> Callable[..., Config]:
    """`reach("scram")` is the configuration of a client of one way, under a topic prefix that no other test has."""
    prefix = f"secured{next(_numbers)}."

    def configure(way: str, host: str = "127.0.0.1", **changed: Any) -> Config:
        security = secured.security(way, **changed)
        return Config(home=tmp_path / "home", bootstrap=secured.at(way, host), topic_prefix=prefix, security=security)

    return configure
