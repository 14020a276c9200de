"""What keeps a client from Kafka is told in a sentence: what happened, where, what to do."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runway_streams.config import Config
from runway_streams.doctor import examine
from runway_streams.errors import DependencyDown
from runway_streams.topics import inspect_topics
from tests.security.broker import PASSWORD, SecuredKafka
from tests.security.certificates import Authority

pytestmark = pytest.mark.kafka
Reach = Callable[..., Config]


def _wrong_password(reach: Reach, _: Authority) -> Config:
    return reach("scram", password="not it")


def _wrong_user_in_plain(reach: Reach, _: Authority) -> Config:
    return reach("plain", mechanism="PLAIN", username="nobody")


def _wrong_authority(reach: Reach, authority: Authority) -> Config:
    return reach("scram", cafile=str(Authority(authority.folder / "wrong", "wrong").cafile))


def _system_authorities(reach: Reach, _: Authority) -> Config:
    return reach("scram", cafile="")


def _untrusted(reach: Reach, _: Authority) -> Config:
    return reach("untrusted")


def _other_host(reach: Reach, _: Authority) -> Config:
    return reach("elsewhere")


def _expired(reach: Reach, _: Authority) -> Config:
    return reach("old")


def _tls_to_a_port_without(reach: Reach, _: Authority) -> Config:
    return reach("clear", protocol="SASL_SSL")


def _no_tls_to_a_port_with(reach: Reach, _: Authority) -> Config:
    return reach("scram", protocol="SASL_PLAINTEXT", cafile="")


def _nothing_to_a_port_with_tls(reach: Reach, _: Authority) -> Config:
    return reach("scram", protocol="PLAINTEXT", cafile="")


def _no_user(reach: Reach, _: Authority) -> Config:
    return reach("scram", protocol="SSL")


def _other_mechanism(reach: Reach, _: Authority) -> Config:
    return reach("scram", mechanism="PLAIN")


def _no_certificate(reach: Reach, _: Authority) -> Config:
    return reach("mtls")


def _foreign_certificate(reach: Reach, authority: Authority) -> Config:
    certfile, keyfile = Authority(authority.folder / "foreign", "foreign").issue("runway")
    return reach("mtls", certfile=str(certfile), keyfile=str(keyfile))


CASES = {
    _wrong_password: ("does not take the password of the user runway by SCRAM-SHA-512", "RUNWAY_SASL_PASSWORD_FILE"),
    _wrong_user_in_plain: ("does not take the password of the user nobody by PLAIN", "RUNWAY_SASL_USERNAME"),
    _wrong_authority: ("wrong.pem did not sign", "RUNWAY_SSL_CAFILE"),
    _system_authorities: ("the system's authorities did not sign", "RUNWAY_SSL_CAFILE"),
    _untrusted: ("did not sign", "RUNWAY_SSL_CAFILE"),
    _other_host: ("a certificate that is not for 127.0.0.1", "RUNWAY_BOOTSTRAP"),
    _expired: ("cannot be used now: certificate has expired", "Renew it"),
    _tls_to_a_port_without: ("speaks no TLS at this port", "RUNWAY_SECURITY_PROTOCOL to SASL_PLAINTEXT"),
    _no_tls_to_a_port_with: ("speaks TLS at this port, and this client does not", "RUNWAY_SECURITY_PROTOCOL to SASL_SSL"),
    _nothing_to_a_port_with_tls: ("speaks TLS at this port", "RUNWAY_SECURITY_PROTOCOL to SSL or SASL_SSL"),
    _no_user: ("asks for a user at this port", "SASL_SSL, and RUNWAY_SASL_MECHANISM to one of SCRAM-SHA-256, SCRAM-SHA-512"),
    _other_mechanism: ("does not know the mechanism PLAIN", "SCRAM-SHA-256, SCRAM-SHA-512"),
    _no_certificate: ("ended the TLS handshake", "RUNWAY_SSL_CERTFILE"),
    _foreign_certificate: ("does not take the certificate in", "RUNWAY_SSL_CERTFILE"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
async def test_what_is_wrong_is_said_with_what_to_do(reach: Reach, authority: Authority, case):
    config = case(reach, authority)
    with pytest.raises(DependencyDown) as told:
        await inspect_topics(config)
    sentence, remedy = CASES[case]
    assert told.value.sentence.startswith(f"Kafka at {config.bootstrap} "), told.value
    assert sentence in told.value.sentence
    assert remedy in told.value.remedy
    assert PASSWORD not in str(told.value)


async def test_a_user_where_none_is_asked_for(reach: Reach, secured: SecuredKafka):
    config = reach("clear")
    object.__setattr__(config, "bootstrap", secured.bootstrap)
    with pytest.raises(DependencyDown, match=r"asks for no user at this port. Set RUNWAY_SECURITY_PROTOCOL to PLAINTEXT"):
        await inspect_topics(config)


async def test_a_name_that_the_certificate_has_is_good(reach: Reach):
    assert [finding.level for finding in await inspect_topics(reach("scram", host="localhost"))] == ["fail"] * 5


async def test_doctor_says_the_same(reach: Reach, authority: Authority):
    config = _wrong_password(reach, authority)
    check = next(check for check in await examine(config) if check.part == "kafka")
    assert check.level == "fail"
    assert "does not take the password of the user runway" in check.sentence
    assert "RUNWAY_SASL_USERNAME" in check.remedy


def environment(config: Config, folder: Path) -> dict[str, str]:
    """What an operator would set: the password in a file."""
    secret = folder / "password"
    secret.write_text(config.security.password + "\n")
    given = {
        "RUNWAY_HOME": str(config.home),
        "RUNWAY_BOOTSTRAP": config.bootstrap,
        "RUNWAY_TOPIC_PREFIX": config.topic_prefix,
        "RUNWAY_SECURITY_PROTOCOL": config.security.protocol,
        "RUNWAY_SSL_CAFILE": config.security.cafile,
        "RUNWAY_SASL_MECHANISM": config.security.mechanism,
        "RUNWAY_SASL_USERNAME": config.security.username,
        "RUNWAY_SASL_PASSWORD_FILE": str(secret),
        "RUNWAY_WEB_PORT": "0",
    }
    return {**os.environ, **given}


@pytest.mark.parametrize("arguments", [["worker", "ground-truth"], ["topics", "create"], ["doctor"], ["batch", "--final"]])
async def test_commands_end_with_the_sentence_and_no_traceback(
    reach: Reach, authority: Authority, tmp_path: Path, arguments: list[str]
):
    config = _wrong_password(reach, authority)
    command = [sys.executable, "-m", "runway_streams.cli", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment(config, tmp_path), capture_output=True, text=True, timeout=60
    )
    told = done.stdout + done.stderr
    assert done.returncode == (1 if arguments == ["doctor"] else 2), told
    assert "does not take the password of the user runway by SCRAM-SHA-512." in told
    assert "Traceback" not in told
    assert "not it" not in told
