import pytest

from runway_streams.config import Config
from runway_streams.errors import ConfigError
from runway_streams.neo4j_address import Neo4jAddress


@pytest.mark.parametrize(
    ("url", "uri", "auth", "database"),
    [
        ("bolt://neo4j:pass@localhost:7688/lineage", "bolt://localhost:7688", ("neo4j", "pass"), "lineage"),
        ("neo4j://neo4j:p%40s%3As%2F@graph", "neo4j://graph:7687", ("neo4j", "p@s:s/"), "neo4j"),
        ("neo4j+s://u:p@a.example.com/", "neo4j+s://a.example.com:7687", ("u", "p"), "neo4j"),
        ("bolt+ssc://u:p@[::1]:1", "bolt+ssc://[::1]:1", ("u", "p"), "neo4j"),
        ("bolt://localhost", "bolt://localhost:7687", None, "neo4j"),
    ],
)
def test_an_address_is_read(url, uri, auth, database):
    read = Neo4jAddress.parse(url)
    assert (read.uri, read.auth, read.database) == (uri, auth, database)
    assert Config.from_env({"RUNWAY_NEO4J": url}).neo4j == url


@pytest.mark.parametrize(
    "url",
    [
        "http://neo4j:s3cret@graph",
        "neo4j:s3cret@graph",
        "bolt://neo4j:s3cret@",
        "bolt://neo4j:s3cret@graph:port",
        "bolt://neo4j:s3cret@graph:99999",
        "bolt://:s3cret@graph",
        "bolt://s3cret@graph",
        "bolt://neo4j:s3cret@graph/a/b",
        "bolt://neo4j:s3cret@graph/x`y",
        "bolt://neo4j:s3cret@graph?policy=x",
        "bolt://neo4j:s3cret@[graph",
        "bolt://neo4j:s3#cret@graph",
    ],
)
def test_a_bad_address_names_the_variable_and_not_the_secret(url):
    with pytest.raises(ConfigError, match="RUNWAY_NEO4J") as raised:
        Config.from_env({"RUNWAY_NEO4J": url})
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_password_is_not_shown():
    assert "s3cret" not in repr(Neo4jAddress.parse("bolt://neo4j:s3cret@graph"))
