from pathlib import Path

import pytest

from runway_streams.errors import ConfigError
from runway_streams.kafka_security import MAX_SECRET_BYTES, KafkaSecurity
from runway_streams.kafka_tokens import TokenProvider
from runway_streams.streaming import _credentials
from tests.security.certificates import Authority

SCRAM = {
    "RUNWAY_SECURITY_PROTOCOL": "SASL_SSL",
    "RUNWAY_SASL_MECHANISM": "SCRAM-SHA-512",
    "RUNWAY_SASL_USERNAME": "runway",
    "RUNWAY_SASL_PASSWORD": "s3cret",
}
TOKENS = SCRAM | {"RUNWAY_SASL_MECHANISM": "OAUTHBEARER", "RUNWAY_SASL_TOKEN_URL": "https://login.example.com/token"}


def test_scram_reaches_the_clients_and_faust():
    security = KafkaSecurity.from_env(SCRAM)
    options = security.client_options()
    assert options["sasl_plain_password"] == "s3cret"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["ssl_context"].check_hostname
    credentials = _credentials(security)
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.password == "s3cret"
    assert "s3cret" not in repr(security) + repr(credentials)


def test_tokens_reach_the_clients_and_faust_from_one_provider():
    security = KafkaSecurity.from_env(TOKENS)
    provider = security.client_options()["sasl_oauth_token_provider"]
    assert isinstance(provider, TokenProvider)
    assert _credentials(security).oauth_cb is provider
    assert "s3cret" not in repr(provider)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"RUNWAY_SECURITY_PROTOCOL": "TLS"}, "RUNWAY_SECURITY_PROTOCOL"),
        ({"RUNWAY_SASL_MECHANISM": "GSSAPI"}, "RUNWAY_SASL_MECHANISM"),
        ({"RUNWAY_SASL_USERNAME": ""}, "RUNWAY_SASL_USERNAME"),
        ({"RUNWAY_SASL_PASSWORD": ""}, "RUNWAY_SASL_PASSWORD_FILE"),
        ({"RUNWAY_SASL_PASSWORD": "a\0b"}, "NUL"),
        ({"RUNWAY_SASL_MECHANISM": "OAUTHBEARER"}, "RUNWAY_SASL_TOKEN_URL"),
        (TOKENS | {"RUNWAY_SASL_TOKEN_URL": "http://login.example.com/token"}, "RUNWAY_SASL_TOKEN_URL"),
        ({"RUNWAY_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "RUNWAY_SSL_CAFILE": "/ca.pem"}, "uses no certificate"),
        ({"RUNWAY_SSL_KEYFILE": "/key.pem"}, "RUNWAY_SSL_CERTFILE"),
        ({"RUNWAY_SASL_PASSWORD_FILE": "/x"}, "Both RUNWAY_SASL_PASSWORD and RUNWAY_SASL_PASSWORD_FILE"),
        ({"RUNWAY_SSL_KEY_PASSWORD_FILE": "/nowhere"}, "RUNWAY_SSL_KEY_PASSWORD_FILE is '/nowhere', which cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named_and_never_shown(changed: dict[str, str], named: str):
    with pytest.raises(ConfigError) as told:
        KafkaSecurity.from_env({name: value for name, value in (SCRAM | changed).items() if value})
    assert named in str(told.value)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
def test_a_password_may_come_from_a_file(tmp_path: Path, content: bytes):
    (tmp_path / "password").write_bytes(content)
    environ = SCRAM | {"RUNWAY_SASL_PASSWORD": "", "RUNWAY_SASL_PASSWORD_FILE": str(tmp_path / "password")}
    assert KafkaSecurity.from_env(environ).password == "s3cret"


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * (MAX_SECRET_BYTES + 1), b"\xff"])
def test_a_file_that_holds_no_password_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "password").write_bytes(content)
    environ = SCRAM | {"RUNWAY_SASL_PASSWORD": "", "RUNWAY_SASL_PASSWORD_FILE": str(tmp_path / "password")}
    with pytest.raises(ConfigError, match="RUNWAY_SASL_PASSWORD_FILE"):
        KafkaSecurity.from_env(environ)


def test_a_missing_certificate_file_is_a_sentence():
    with pytest.raises(ConfigError, match=r"RUNWAY_SSL_CAFILE is '/nowhere.pem', which cannot be read: No such file"):
        KafkaSecurity("SSL", cafile="/nowhere.pem").client_options()
    with pytest.raises(ConfigError, match=r"RUNWAY_SSL_CERTFILE is '/nowhere.pem'"):
        KafkaSecurity("SSL", certfile="/nowhere.pem").client_options()


def test_a_key_with_a_password_that_is_missing_or_wrong_is_a_sentence_and_asks_nobody(tmp_path: Path):
    certfile, keyfile = Authority(tmp_path).issue("runway", key_password="right")
    for password in ("", "wrong"):
        security = KafkaSecurity("SSL", certfile=str(certfile), keyfile=str(keyfile), key_password=password)
        with pytest.raises(ConfigError, match="RUNWAY_SSL_KEY_PASSWORD_FILE"):
            security.client_options()
    KafkaSecurity("SSL", certfile=str(certfile), keyfile=str(keyfile), key_password="right").client_options()
