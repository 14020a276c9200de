"""How the client behaves when a service is slow, down, strange or elsewhere, and with what Netflix's own answers beyond the
one of the tests: numbers for ids, `{}` for what is not there. What it reads is tested with real runs."""

import json

import pytest

from runway_streams.dependency.metaflow.runs import RunRecord
from runway_streams.dependency.metaflow.service import MetaflowAccess, MetaflowService
from runway_streams.errors import ConfigError
from tests.little_http import LittleServer

RUNS = json.dumps([
    {"flow_id": "F", "run_number": 12, "run_id": None, "user_name": "u", "ts_epoch": 30, "tags": [], "system_tags": ["a:b"]},
    {"flow_id": "F", "run_number": 11, "run_id": "argo-f-x7", "ts_epoch": 20, "tags": None, "last_heartbeat_ts": None},
    {"flow_id": "F"}, None, 5,
]).encode()  # fmt: skip


async def ask(url: str, **access: str) -> list[RunRecord]:
    client = MetaflowService(MetaflowAccess(url, **access))
    try:
        return await client.runs("F")
    finally:
        await client.close()


async def test_runs_have_numbers_or_names_and_strange_records_hide_no_others():
    with LittleServer(lambda asked: (200, {}, RUNS)) as server:
        assert [run.id for run in await ask(server.url)] == ["argo-f-x7", "12"]


async def test_what_is_not_there_is_an_empty_object():
    with LittleServer(lambda asked: (404, {}, b"{}")) as server:
        assert await ask(server.url) == []
        client = MetaflowService(MetaflowAccess(server.url))
        assert await client.run("F", "1") is None
        await client.close()


async def test_the_key_or_the_token_goes_in_its_header():
    with LittleServer(lambda asked: (200, {}, RUNS)) as server:
        await ask(server.url, api_key="k3y")
        await ask(server.url, token="t0ken")
        await ask(server.url)
    told = [{name.lower(): value for name, value in asked.headers.items()} for asked in server.asked]
    assert [(one.get("x-api-key"), one.get("authorization")) for one in told] == [
        ("k3y", None),
        (None, "Bearer t0ken"),
        (None, None),
    ]
    assert server.asked[0].path == "/flows/F/runs"


async def test_a_redirect_is_not_followed_and_the_key_goes_nowhere():
    with LittleServer() as other:
        elsewhere = (302, {"Location": f"{other.url}/x"}, b"")
        with LittleServer(lambda asked: elsewhere) as server, pytest.raises(ConfigError, match="redirects"):
            await ask(server.url, api_key="k3y")
    assert other.asked == []


@pytest.mark.parametrize(
    ("answer", "match"),
    [((401, {}, b""), "answers 401"), ((403, {}, b"{}"), "answers 403"), ((200, {}, b"<html>"), "cannot be read"),
     ((404, {}, b"<html>"), "answers 404"), ((418, {}, b""), "answers 418"), ((200, {}, b"[" * 100_000), "cannot be read")],
)  # fmt: skip
async def test_a_server_that_is_none_is_named(answer, match):
    with LittleServer(lambda asked: answer) as server, pytest.raises(ConfigError, match=match):
        await ask(server.url)


async def test_ping():
    for body, good in ((b"pong", True), (b"<html>", False)):
        with LittleServer(lambda asked, body=body: (200, {}, body)) as server:
            client = MetaflowService(MetaflowAccess(server.url))
            if good:
                await client.ping()
            else:
                with pytest.raises(ConfigError):
                    await client.ping()
            await client.close()


@pytest.mark.parametrize("bad", ["", "x", "ftp://a", "http://", "http://u:p@a", "http://a?x=1", "http://a/" + "b" * 2000])
def test_addresses_that_are_none(bad):
    with pytest.raises(ConfigError):
        MetaflowAccess(bad)


def test_a_key_shows_nowhere_and_only_one_is_given():
    assert "s3cret" not in repr(MetaflowAccess("http://a", api_key="s3cret"))
    for access in ({"api_key": "a", "token": "b"}, {"token": "a\nb"}, {"api_key": "\u00e9"}):
        with pytest.raises(ConfigError):
            MetaflowAccess("http://a", **access)
