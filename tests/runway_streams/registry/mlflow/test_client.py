"""How the client behaves when a server is slow, down, strange or elsewhere; what it reads is tested with a real MLflow."""

import logging
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runway_streams.errors import ConfigError, DependencyDown, RunwayError
from runway_streams.registry.mlflow.client import MlflowAccess, MlflowClient, Run
from tests.little_http import Answer, LittleServer

RUN = b'{"run": {"info": {"run_id": "r"}}}'
GONE = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}'


async def at_once(seconds: float) -> None:
    """Takes the place of sleeping."""


async def ask(url: str, **access: str) -> Run | None:
    client = MlflowClient(MlflowAccess(url, **access), sleep=at_once)
    async with client:
        return await client.run("r")


async def test_a_redirect_is_not_followed_and_the_token_goes_nowhere() -> None:
    with LittleServer() as other:
        elsewhere = (302, {"Location": f"{other.url}/x"}, b"")
        with LittleServer(lambda asked: elsewhere) as server, pytest.raises(ConfigError, match="redirects"):
            await ask(server.url, token="t0ken")
    assert other.asked == []


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file, that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=1))
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(certificate.public_bytes(pem) + private)
    return folder / "both.pem"


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    both = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with LittleServer(lambda asked: (200, {}, RUN), tls=context) as server:
        with pytest.raises(DependencyDown, match=r"(?i)certificate verify failed"):
            await ask(server.url, token="t0ken")
        assert server.asked == []
        async with MlflowClient(MlflowAccess(server.url), tls=ssl.create_default_context(cafile=both)) as client:
            assert await client.run("r")


async def test_it_says_who_asks() -> None:
    with LittleServer(lambda asked: (200, {}, RUN)) as server:
        await ask(server.url, token="t0ken")
        await ask(server.url, user="ann", password="pass")
        await ask(server.url)
    assert [asked.headers.get("Authorization") for asked in server.asked] == ["Bearer t0ken", "Basic YW5uOnBhc3M=", None]


async def test_secrets_are_in_no_log_error_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for secret in ({"token": "t0ken"}, {"user": "ann", "password": "t0ken"}):
        with LittleServer(lambda asked: (401, {}, b"")) as server, pytest.raises(ConfigError, match="answers 401") as error:
            await ask(server.url, **secret)
        assert "t0ken" not in str(error.value) + repr(MlflowAccess(server.url, **secret))
    assert "t0ken" not in caplog.text


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((404, {}, b"<html>not found</html>"), ConfigError),
        ((403, {}, b""), ConfigError),
        ((200, {}, b"<html>"), RunwayError),
        ((200, {}, b'{"run": 1}'), RunwayError),
        ((200, {}, b'{"run": "\xff"}'), RunwayError),
        ((400, {}, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}'), RunwayError),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), DependencyDown),
    ],
)
async def test_strange_answers_are_refused_in_a_sentence(answer: Answer, kind: type[RunwayError]) -> None:
    with LittleServer(lambda asked: answer) as server, pytest.raises(kind, match=server.url) as error:
        await ask(server.url)
    assert type(error.value) is kind


async def test_what_is_gone_is_none() -> None:
    with LittleServer(lambda asked: (404, {}, GONE)) as server:
        assert await ask(server.url) is None


@pytest.mark.parametrize(
    "given",
    [
        {"uri": "mlflow"},
        {"uri": "ftp://a"},
        {"uri": "https://"},
        {"uri": "https://u:p@a"},
        {"uri": "https://a?x=1"},
        {"uri": "http://a:port"},
        {"uri": "https://a", "token": "t", "user": "u", "password": "p"},
        {"uri": "https://a", "user": "u"},
        {"uri": "https://a", "token": "t\n"},
    ],
)
def test_a_bad_address_or_secret_is_refused_without_showing_it(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as error:
        MlflowAccess(**given)
    assert "u:p" not in str(error.value)
