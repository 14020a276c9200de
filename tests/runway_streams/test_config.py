import json
import os
from pathlib import Path

import pytest

from runway_streams.config import BUCKET_SCHEMES, Config, kafka_client_options, running_stack
from runway_streams.errors import ConfigError


def test_an_empty_environment_is_enough():
    config = Config.from_env({})
    assert config.home == Path.home() / ".runway"
    assert config.bootstrap == "localhost:9092"
    assert config.topic("predictions") == "runway.predictions"
    assert config.archive_url == (Path.home() / ".runway" / "lake").as_uri()
    assert config.state_dir == config.home / "state" / "worker-0"
    assert config.session_timeout_s == 60
    assert kafka_client_options(config) == {"bootstrap_servers": "localhost:9092", "security_protocol": "PLAINTEXT"}


def test_the_environment_decides(tmp_path):
    config = Config.from_env(
        {
            "RUNWAY_HOME": str(tmp_path),
            "RUNWAY_BOOTSTRAP": "kafka:9092",
            "RUNWAY_ARCHIVE": "s3://lake/runway",
            "RUNWAY_SESSION_TIMEOUT": "10",
            "RUNWAY_TOPIC_PREFIX": "team-a.",
            "RUNWAY_INSTANCE": "",
        }
    )
    assert config.bootstrap == "kafka:9092"
    assert config.archive_url == "s3://lake/runway"
    assert config.session_timeout_s == 10
    assert config.topic("models") == "team-a.models"
    assert config.instance_id == "worker-0"


def test_a_running_stack_tells_its_address(tmp_path):
    told = {"pid": os.getpid(), "bootstrap": "127.0.0.1:4711", "api": "http://127.0.0.1:8000"}
    (tmp_path / "stack.json").write_text(json.dumps(told))
    assert Config.from_env({"RUNWAY_HOME": str(tmp_path)}).bootstrap == "127.0.0.1:4711"
    assert Config.from_env({"RUNWAY_HOME": str(tmp_path), "RUNWAY_BOOTSTRAP": "k:1"}).bootstrap == "k:1"


@pytest.mark.parametrize("content", ['{"pid": 2147483646, "bootstrap": "127.0.0.1:1"}', "{", "[]", '{"pid": null}'])
def test_the_file_of_a_killed_stack_is_ignored(tmp_path, content):
    (tmp_path / "stack.json").write_text(content)
    assert running_stack(tmp_path) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RUNWAY_INSTANCE", "../other"),
        ("RUNWAY_INSTANCE", "."),
        ("RUNWAY_INSTANCE", ".."),
        ("RUNWAY_ARCHIVE", "/lake"),
        ("RUNWAY_ARCHIVE", "ftp://lake/runway"),
        ("RUNWAY_ARCHIVE", "file://lake"),
        ("RUNWAY_BOOTSTRAP", "host:port"),
        ("RUNWAY_BOOTSTRAP", "127.0.0.1:99999"),
        ("RUNWAY_BOOTSTRAP", "127.0.0.1:0"),
        ("RUNWAY_BOOTSTRAP", "kafka://kafka:9092"),
        ("RUNWAY_BOOTSTRAP", "kafka:9092,"),
        ("RUNWAY_BOOTSTRAP", "::1"),
        ("RUNWAY_ACCEPT_GAP", "off"),
        ("RUNWAY_ACCEPT_GAP", "2"),
        ("RUNWAY_SESSION_TIMEOUT", "soon"),
        ("RUNWAY_SESSION_TIMEOUT", "0"),
        ("RUNWAY_WEB_PORT", "70000"),
        ("RUNWAY_CHECKPOINT_INTERVAL", "-1"),
        ("RUNWAY_BATCH_MEMORY", "plenty"),
        ("RUNWAY_SECURITY_PROTOCOL", "TLS"),
        ("RUNWAY_SECURITY_PROTOCOL", "SASL_SSL"),
        ("RUNWAY_TOPIC_PREFIX", "a b"),
        ("RUNWAY_RATE_LIMIT", "0"),
        ("RUNWAY_RATE_LIMIT", "many"),
        ("RUNWAY_OIDC_ISSUER", "https://login.example.com"),
        ("RUNWAY_OIDC_ISSUER", "http://login.example.com"),
        ("RUNWAY_OIDC_AUDIENCE", "runway"),
        ("RUNWAY_OIDC_ALGORITHMS", "RS256,HS256"),
        ("RUNWAY_OIDC_ALGORITHMS", "none"),
        ("RUNWAY_OIDC_ALGORITHMS", ","),
    ],
)
def test_a_bad_value_names_its_variable(variable, value):
    with pytest.raises(ConfigError, match=variable):
        Config.from_env({variable: value})


@pytest.mark.parametrize(
    ("given", "on"),
    [("1", True), ("true", True), ("YES", True), ("0", False), ("False", False), ("no", False), ("", False)],
)
def test_a_switch_is_on_only_where_it_says_so(given, on):
    assert Config.from_env({"RUNWAY_ACCEPT_GAP": given}).accept_gap is on


@pytest.mark.parametrize("issuer", ["https://login.example.com/realms/ml", "http://127.0.0.1:8080", "http://localhost/a"])
def test_an_issuer_is_reached_by_https_or_on_this_machine(issuer):
    environ = {"RUNWAY_OIDC_ISSUER": issuer, "RUNWAY_OIDC_AUDIENCE": "runway", "RUNWAY_OIDC_ALGORITHMS": "ES256, EdDSA"}
    assert Config.from_env(environ).oidc_issuer == issuer


@pytest.mark.parametrize("bootstrap", ["kafka", "kafka-0.kafka:9092,kafka-1.kafka:9092", "k:1, k:65535", "[::1]:9092"])
def test_brokers_are_hosts_with_commas_between_them(bootstrap):
    assert Config.from_env({"RUNWAY_BOOTSTRAP": bootstrap}).bootstrap == bootstrap


def test_a_refused_archive_names_the_schemes_that_work():
    with pytest.raises(ConfigError, match=r"file:///PATH, .* s3, s3a, gs, az, azure, abfs, abfss, adl"):
        Config.from_env({"RUNWAY_ARCHIVE": "ftp://lake"})
    for scheme in BUCKET_SCHEMES:
        assert Config.from_env({"RUNWAY_ARCHIVE": f"{scheme}://lake"}).archive_url == f"{scheme}://lake"


def test_no_secret_is_in_the_log():
    config = Config.from_env(
        {
            "RUNWAY_SECURITY_PROTOCOL": "SASL_SSL",
            "RUNWAY_SASL_USERNAME": "runway",
            "RUNWAY_SASL_PASSWORD": "s3cret",
            "RUNWAY_SSL_KEY_PASSWORD": "s3cret",
            "RUNWAY_DATABASE": "postgresql://runway:s3cret@db/runway",
            "RUNWAY_NEO4J": "neo4j://neo4j:s3cret@graph",
            "RUNWAY_KEY": "s3cret",
        }
    )
    assert config.security.password == "s3cret"
    assert "s3cret" not in repr(config)
