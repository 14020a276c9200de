"""The product's own source: what it never calls, where SQL is made of text, which ids become paths, and that secrets stay hidden."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.lake import FolderLake
from runway_streams.config import Config
from runway_streams.errors import ConfigError
from runway_streams.kafka_security import KafkaSecurity
from runway_streams.kafka_tokens import TokenClient, TokenProvider
from runway_streams.mlflow_settings import MlflowSettings
from tables.checkpoints import _FILE_NAME

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("schemas", "runway_streams", "tables", "agents", "batch", "api")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "telnetlib", "xmlrpc"}
"""Reading with these runs what was written, or has no limits."""
BUILTINS = {"eval", "exec", "compile", "__import__", "input"}
CALLS = {
    "yaml.load": "yaml.safe_load",
    "yaml.load_all": "yaml.safe_load_all",
    "yaml.unsafe_load": "yaml.safe_load",
    "yaml.full_load": "yaml.safe_load",
    "os.system": "subprocess.run of a list",
    "os.popen": "subprocess.run of a list",
    "subprocess.getoutput": "subprocess.run of a list",
    "subprocess.getstatusoutput": "subprocess.run of a list",
    "asyncio.create_subprocess_shell": "asyncio.create_subprocess_exec",
    "ssl._create_unverified_context": "ssl.create_default_context",
    "tempfile.mktemp": "tempfile.mkstemp",
    "random.seed": "a generator of one's own",
}
SQL_OF_TEXT = {
    "batch/duckdb_engine.py",
    "batch/ground_truth_rows.py",
    "batch/join.py",
    "batch/nightly.py",
    "batch/spark_engine.py",
    "batch/view_files.py",
}
"""Where statements are put together: of our own names and numbers, and of what is quoted. One more is a decision, made here."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    for file in SOURCES:
        yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def nodes(kind: type) -> Iterator[tuple[str, ast.AST]]:
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield f"{name}:{getattr(node, 'lineno', 0)}", node


def forbidden(tree: ast.Module) -> list[str]:
    """What a source must not have."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in BUILTINS or called in CALLS:
                found.append(f"{called}: use {CALLS.get(called, 'something else')}")
            if any(word.arg == "shell" and not _is(word.value, False) for word in node.keywords):
                found.append(f"{called}(shell=...)")
            if any(word.arg == "allow_pickle" and not _is(word.value, False) for word in node.keywords):
                found.append(f"{called}(allow_pickle=...)")
            if any(word.arg == "verify" and _is(word.value, False) for word in node.keywords):
                found.append(f"{called}(verify=False)")
    return found


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_there_is_a_product():
    assert len(SOURCES) > 150


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_runs_what_it_reads(file: Path):
    assert forbidden(ast.parse(file.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "eval('1')",
        "import yaml; yaml.load(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=flag)",
        "numpy.load(x, allow_pickle=True)",
        "httpx.get(x, verify=False)",
        "os.system(x)",
    ],
)
def test_this_test_would_see_it(source: str):
    assert forbidden(ast.parse(source))


def test_programs_are_started_as_lists_in_few_places():
    starts = {
        place.split(":")[0]
        for place, node in nodes(ast.Call)
        if re.fullmatch(r"subprocess\.(run|Popen|call|check_\w+)|asyncio\.create_subprocess_exec", ast.unparse(node.func))
    }
    assert starts == {
        "batch/spark_session.py",
        "runway_streams/devstack/children.py",
        "runway_streams/devstack/java.py",
        "runway_streams/devstack/kafka.py",
    }


def test_tls_is_left_unchecked_where_nothing_is_sent_alone():
    unchecked = {place.split(":")[0] for place, node in nodes(ast.Attribute) if node.attr == "CERT_NONE"}
    assert unchecked == {"runway_streams/kafka_down.py"}


def test_sql_is_made_of_text_where_it_is_known_to_be():
    assert {file.relative_to(ROOT).as_posix() for file in SOURCES if "S608" in file.read_text()} == SQL_OF_TEXT
    settings = (ROOT / "pyproject.toml").read_text().split("[tool.ruff.lint.per-file-ignores]")[1].split("[tool.mypy]")[0]
    assert "S608" not in settings
    assert re.findall(r'^"(?!tests|benches)([^"]+)" = \[.*"S', settings, re.MULTILINE) == []


def test_the_registry_and_the_api_make_no_sql_of_text():
    for place, node in nodes(ast.Call):
        if ast.unparse(node.func) in ("sa.text", "text", "sqlalchemy.text", "exec_driver_sql", "connection.exec_driver_sql"):
            made = [part for part in ast.walk(node.args[0]) if isinstance(part, ast.JoinedStr | ast.BinOp | ast.Call)]
            assert not made, f"{place}: {ast.unparse(node)}"


# -- ids that become paths -------------------------------------------------------------------------------------------


PARTS = st.sampled_from(["..", ".", "", "/", "a", "%2e%2e", "\0", "\\", "~", "ü", "a" * 300])
PATHS = st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=6).map("/".join))


@given(PATHS)
def test_a_lake_never_leaves_its_folder(tmp_path_factory: pytest.TempPathFactory, path: str):
    root = tmp_path_factory.mktemp("outside") / "lake"
    lake = FolderLake(root)
    with suppress(ConfigError, OSError, ValueError):  # refused, by us or by the file system
        lake.put(path, b"x")
    written = [file for file in root.parent.rglob("*") if file.is_file()]
    assert all(file.is_relative_to(root) for file in written)


@given(PATHS)
def test_a_worker_never_leaves_its_folder(name: str):
    try:
        config = Config(home=Path("/home"), instance_id=name)
    except ConfigError:
        return
    assert config.state_dir.resolve().parent == Path("/home/state")


@given(PATHS)
def test_a_file_of_a_checkpoint_never_leaves_its_folder(name: str):
    if _FILE_NAME.fullmatch(name):
        assert (Path("/state") / name).resolve().parent == Path("/state")


# -- secrets -----------------------------------------------------------------------------------------------------------


SECRET = "s3cret-of-the-test"


def test_no_secret_is_shown():
    environ = {
        "RUNWAY_SECURITY_PROTOCOL": "SASL_SSL",
        "RUNWAY_SASL_MECHANISM": "OAUTHBEARER",
        "RUNWAY_SASL_TOKEN_URL": "https://login.example.com/token",
        "RUNWAY_SASL_USERNAME": "runway",
        "RUNWAY_SASL_PASSWORD": SECRET,
        "RUNWAY_SSL_KEY_PASSWORD": SECRET,
        "RUNWAY_DATABASE": f"postgresql://runway:{SECRET}@db/runway",
        "RUNWAY_NEO4J": f"neo4j://neo4j:{SECRET}@graph",
        "RUNWAY_KEY": SECRET,
        "RUNWAY_MLFLOW": "https://mlflow.example.com",
        "RUNWAY_MLFLOW_TOKEN": SECRET,
        "RUNWAY_MLFLOW_WEBHOOK_SECRETS": SECRET,
    }
    config, client = Config.from_env(environ), TokenClient("https://login.example.com/token", "runway", SECRET)
    for shown in (config, config.security, config.mlflow, TokenProvider(client), client):
        assert SECRET not in f"{shown!r} {shown}"


@pytest.mark.parametrize("kind", [Config, KafkaSecurity, MlflowSettings, TokenClient])
def test_every_setting_that_sounds_like_a_secret_is_out_of_repr(kind: type):
    secret = re.compile(r"password|secret|^token$|api_key|database|neo4j")
    shown = [field.name for field in dataclasses.fields(kind) if secret.search(field.name) and field.repr]
    assert shown == []
