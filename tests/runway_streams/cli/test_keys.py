"""`runway keys` as its users run it, over both databases."""

import json

import pytest

from runway_streams.cli.common import actor
from runway_streams.registry.keys import verify
from tests.runway_streams.test_cli import runway


@pytest.fixture
def run(database_url, tmp_path):
    def call(*arguments, **environ):
        return runway("keys", *arguments, home=tmp_path, RUNWAY_DATABASE=database_url, **environ)

    return call


def test_a_key_is_made_listed_and_revoked(run):
    made = run("create", "ci", "--role", "owner", "--team", "risk", "--team", "ads", "--expires", "P90D", "--json")
    told = json.loads(made.stdout)
    assert (made.returncode, set(told), told["role"]) == (0, {"key", "prefix", "role"}, "owner")
    (item,) = json.loads(run("list", "--json").stdout)["items"]
    assert (item["prefix"], item["teams"], item["revoked_at"]) == (told["prefix"], ["ads", "risk"], None)
    assert item["created_by"] == actor()
    assert int(item["expires_at"][:4]) - int(item["created_at"][:4]) in (0, 1)
    assert run("revoke", told["prefix"]).returncode == 0
    listed = run("list").stdout
    assert f"{told['prefix']}  ci  owner of ads, risk, revoked 2" in listed
    assert told["key"][12:] not in listed


async def test_the_key_that_is_printed_is_good(run, database):
    made = run("create", "me", "--role", "admin")
    async with database.read() as connection:
        entry = await verify(connection, made.stdout.strip(), 0)
    assert (entry.name, entry.role, entry.expires_at) == ("me", "admin", None)
    assert "not shown again" in made.stderr


def test_without_a_database_variable_it_lies_below_home(tmp_path):
    assert runway("keys", "create", "me", "--role", "reader", home=tmp_path).returncode == 0
    assert (tmp_path / "registry.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "ci", "--role", "owner"], "needs a team"),
        (["create", "ci", "--role", "admin", "--team", "risk"], "has no teams"),
        (["create", "ci", "--role", "admin", "--expires", "soon"], "not an ISO 8601 duration"),
        (["create", "ci", "--role", "admin", "--expires", "PT0S"], "expires in the future"),
        (["create", "ci", "--role", "root"], "root"),
        (["revoke", "nothing0"], "There is no key 'nothing0'"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_exit_code_2(tmp_path, arguments, words):
    result = runway("keys", *arguments, home=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_is_away_is_a_sentence(tmp_path):
    url = "postgresql://runway:hunter2@127.0.0.1:1/runway"
    result = runway("keys", "list", home=tmp_path, RUNWAY_DATABASE=url)
    assert result.returncode == 2
    assert "does not answer" in result.stderr
    assert "hunter2" not in result.stderr
