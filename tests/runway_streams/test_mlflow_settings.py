import pytest

from runway_streams.config import Config
from runway_streams.errors import ConfigError
from runway_streams.mlflow_settings import MlflowSettings

HTTPS = {"RUNWAY_MLFLOW": "https://mlflow.example.com/base"}


def test_without_an_address_there_is_no_import():
    assert Config.from_env({}).mlflow is None
    assert Config.from_env({"RUNWAY_MLFLOW_TOKEN": "t"}).mlflow is None


def test_the_environment_decides_and_no_secret_is_in_a_log():
    config = Config.from_env(
        HTTPS
        | {
            "RUNWAY_MLFLOW_USERNAME": "s3cret-runway",
            "RUNWAY_MLFLOW_PASSWORD": "s3cret",
            "RUNWAY_MLFLOW_WEBHOOK_SECRETS": "s3cret-new, s3cret-old",
            "RUNWAY_MLFLOW_POLL": "PT30S",
            "RUNWAY_MLFLOW_OWNER": "ml",
        }
    )
    assert config.mlflow
    assert (config.mlflow.user, config.mlflow.password) == ("s3cret-runway", "s3cret")
    assert config.mlflow.secrets == ("s3cret-new", "s3cret-old")
    assert (config.mlflow.poll_ms, config.mlflow.owner) == (30_000, "ml")
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"RUNWAY_MLFLOW": "mlflow:5000"}, "not the address"),
        ({"RUNWAY_MLFLOW": "http://mlflow:port"}, "not the address"),
        ({"RUNWAY_MLFLOW": "http://" + "m" * 500}, "not the address"),
        ({"RUNWAY_MLFLOW": "https://me:s3cret@mlflow"}, "holds a user"),
        ({"RUNWAY_MLFLOW_TOKEN": "s3cret", "RUNWAY_MLFLOW_USERNAME": "me", "RUNWAY_MLFLOW_PASSWORD": "s3cret"}, "both"),
        ({"RUNWAY_MLFLOW_USERNAME": "me"}, "one is set alone"),
        ({"RUNWAY_MLFLOW_TOKEN": "s3cret\n"}, "no header can carry"),
        ({"RUNWAY_MLFLOW_WEBHOOK_SECRETS": "s3cret,s3cret2,s3cret3"}, "RUNWAY_MLFLOW_WEBHOOK_SECRETS"),
        ({"RUNWAY_MLFLOW_WEBHOOK_SECRETS": "s3cret,"}, "RUNWAY_MLFLOW_WEBHOOK_SECRETS"),
        ({"RUNWAY_MLFLOW_POLL": "5m"}, "RUNWAY_MLFLOW_POLL is '5m'"),
        ({"RUNWAY_MLFLOW_POLL": "PT9S"}, "RUNWAY_MLFLOW_POLL"),
        ({"RUNWAY_MLFLOW_OWNER": "m" * 129}, "RUNWAY_MLFLOW_OWNER"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_without_secrets(given, words):
    with pytest.raises(ConfigError, match=words) as refused:
        Config.from_env(HTTPS | given)
    assert "s3cret" not in str(refused.value)
    assert refused.value.remedy


def test_a_secret_is_sent_by_https_or_to_this_machine_only():
    with pytest.raises(ConfigError, match="read on the way"):
        MlflowSettings("http://mlflow:5000", token="t")
    with pytest.raises(ConfigError, match="read on the way"):
        MlflowSettings("http://mlflow:5000", user="u", password="p")
    assert MlflowSettings("http://mlflow:5000").token == ""
    assert MlflowSettings("http://127.0.0.1:5000", token="t").token == "t"


def test_a_missing_certificate_file_is_a_sentence():
    with pytest.raises(ConfigError, match=r"RUNWAY_MLFLOW_CAFILE is '/nowhere.pem'"):
        MlflowSettings("https://mlflow", cafile="/nowhere.pem").tls()
