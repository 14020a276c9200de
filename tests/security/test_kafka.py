"""Each way in which Kafka may demand to know us, through the clients that the product has."""

import json
import logging
import ssl
import time
from collections.abc import Callable

import jwt
import pytest
from aiokafka import AIOKafkaProducer
from cryptography.hazmat.primitives.asymmetric import rsa

from runway_streams.config import Config, kafka_client_options
from runway_streams.errors import DependencyDown
from runway_streams.topic_reader import open_topic
from runway_streams.topics import create_topics, inspect_topics
from tests.little_http import Answer, Asked, LittleServer
from tests.security.broker import AUDIENCE, ISSUER, PASSWORD, SecuredKafka
from tests.security.certificates import Authority

pytestmark = pytest.mark.kafka
Reach = Callable[..., Config]


async def there_and_back(config: Config) -> None:
    """Creates the topics, writes an event and reads it."""
    await create_topics(config, 1, replication=1)
    async with AIOKafkaProducer(acks="all", enable_idempotence=True, **kafka_client_options(config)) as producer:
        await producer.send_and_wait(config.topic("models"), b"[]", key=b"churn")
    async with open_topic(config, "models") as topic:
        assert [record.value async for record in topic.to_end()] == [b"[]"]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("way", ["scram", "clear"])
async def test_scram(reach: Reach, way: str, mechanism: str):
    await there_and_back(reach(way, mechanism=mechanism))


async def test_plain_over_tls_with_the_debug_log_on(reach: Reach, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    await there_and_back(reach("plain", mechanism="PLAIN"))
    assert "SaslHandShake" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("key_password", ["", "of the key"])
async def test_a_client_certificate(reach: Reach, authority: Authority, key_password: str):
    certfile, keyfile = authority.issue("runway", key_password=key_password)
    await there_and_back(reach("mtls", certfile=str(certfile), keyfile=str(keyfile), key_password=key_password))


async def test_the_tls_that_is_used_is_no_older_than_1_2(secured: SecuredKafka):
    assert secured.security("scram").ssl_context().minimum_version >= ssl.TLSVersion.TLSv1_2


def answer_of(key: rsa.RSAPrivateKey, **changed: object) -> Callable[[Asked], Answer]:
    """A token endpoint that signs as the broker expects, apart from what is changed."""

    def answer(asked: Asked) -> Answer:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "runway", "iat": now, "exp": now + 300} | changed
        token = jwt.encode(claims, key, "RS256", {"kid": "k1"})
        return 200, {}, json.dumps({"access_token": token, "expires_in": 300}).encode()

    return answer


async def test_oauthbearer(reach: Reach, token_key: rsa.RSAPrivateKey):
    with LittleServer(answer_of(token_key)) as issuer:
        await there_and_back(reach("tokens", mechanism="OAUTHBEARER", token_url=f"{issuer.url}/token"))
    assert len(issuer.asked) == 1


@pytest.mark.parametrize("why", ["its time is over", "another key has signed it", "it is for others"])
async def test_a_token_that_the_broker_does_not_take_is_told(reach: Reach, token_key: rsa.RSAPrivateKey, why: str):
    key = rsa.generate_private_key(65537, 2048) if why == "another key has signed it" else token_key
    changed = {"its time is over": {"exp": int(time.time()) - 600}, "it is for others": {"aud": "others"}}.get(why, {})
    told = r"does not take the token that http.*RUNWAY_SASL_TOKEN_SCOPE"
    with LittleServer(answer_of(key, **changed)) as issuer, pytest.raises(DependencyDown, match=told):
        await inspect_topics(reach("tokens", mechanism="OAUTHBEARER", token_url=f"{issuer.url}/token"))


async def test_an_issuer_that_refuses_is_told(reach: Reach):
    told = r"There is no token for Kafka at .*: .* answered 401.*RUNWAY_SASL_TOKEN_URL"
    with LittleServer(lambda asked: (401, {}, b"")) as issuer, pytest.raises(DependencyDown, match=told):
        await inspect_topics(reach("tokens", mechanism="OAUTHBEARER", token_url=f"{issuer.url}/token"))
