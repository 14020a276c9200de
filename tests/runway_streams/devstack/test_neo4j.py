import socket
from pathlib import Path

import psutil
import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError

from runway_streams.devstack.jars import cache_dir
from runway_streams.devstack.neo4j import EmbeddedNeo4j
from runway_streams.errors import ConfigError
from runway_streams.neo4j_address import Neo4jAddress

pytestmark = pytest.mark.neo4j


def ask(url: str, query: str) -> list:
    address = Neo4jAddress.parse(url)
    with GraphDatabase.driver(address.uri, auth=address.auth) as driver:
        return driver.execute_query(query, database_=address.database).records


@pytest.mark.fault
def test_a_killed_server_comes_back_with_its_data_and_its_password(tmp_path):
    with EmbeddedNeo4j(tmp_path / "own", heap="384m", page_cache="32m", password="s3cret/@s3cret") as own:
        where = own.url
        ask(where, "CREATE (:Kept {name: 'a'})")
        own.kill()
        assert not own.alive
        own.start()
        assert own.url == where
        assert ask(where, "MATCH (n:Kept) RETURN n.name")[0].value() == "a"
    assert not own.alive


def test_it_listens_on_this_machine_alone(neo4j):
    process = psutil.Process(neo4j.pid)
    listening = {c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {(address.ip.removeprefix("::ffff:"), address.port) for address in listening} == {("127.0.0.1", neo4j.port)}


@pytest.mark.parametrize("user", ["neo4j:neo4j@", "neo4j:wrong@", ""])
def test_it_asks_for_its_password(neo4j, user):
    with pytest.raises(AuthError):
        ask(f"bolt://{user}127.0.0.1:{neo4j.port}", "RETURN 1")


def test_it_tells_nobody_that_it_is_used(neo4j):
    settings = {record["name"]: record["value"] for record in ask(neo4j.url, "SHOW SETTINGS YIELD name, value")}
    assert settings["dbms.usage_report.enabled"] == settings["client.allow_telemetry"] == "false"
    assert settings["server.memory.pagecache.size"] == "128.00MiB"


def test_it_is_the_version_that_is_named(neo4j):
    found = ask(neo4j.url, "CALL dbms.components() YIELD versions, edition")[0]
    assert (found["versions"], found["edition"]) == (["5.26.30"], "community")


def test_a_taken_port_is_a_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} .* embedded Neo4j"):
            EmbeddedNeo4j(tmp_path, port).start()


def test_the_jars_are_shared_between_homes(neo4j):
    assert (cache_dir() / "neo4j-5.26.30+neo4j-bolt-5.26.30").is_dir()
    assert not list(Path(neo4j.home).rglob("*.jar"))
