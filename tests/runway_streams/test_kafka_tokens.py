import asyncio
import base64
import json
import ssl
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from runway_streams.kafka_tokens import MAX_ANSWER_BYTES, TokenClient, TokenProvider, TokenUnavailable
from tests.little_http import Asked, LittleServer
from tests.security.certificates import Authority


def provider(url: str, now: list[float] | None = None, **changed: str) -> TokenProvider:
    client = TokenClient(**{"url": f"{url}/token", "id": "runway", "secret": "s3cret", "scope": "kafka"} | changed)
    moments = now if now is not None else [0.0]
    return TokenProvider(client, lambda: moments[0])


def tokens(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    tokens.made += 1
    return 200, {}, json.dumps({"access_token": f"t{tokens.made}", "token_type": "Bearer", "expires_in": 100}).encode()


@pytest.fixture(autouse=True)
def _from_one():
    tokens.made = 0


async def test_the_client_proves_itself_by_basic_and_asks_for_its_scope():
    with LittleServer(tokens) as issuer:
        assert await provider(issuer.url).token() == "t1"
    (asked,) = issuer.asked
    assert asked.method == "POST"
    assert base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")) == b"runway:s3cret"
    assert parse_qs(asked.body) == {b"grant_type": [b"client_credentials"], b"scope": [b"kafka"]}


async def test_one_token_serves_all_and_is_renewed_before_it_ends():
    now = [1000.0]
    with LittleServer(tokens) as issuer:
        of_all = provider(issuer.url, now)
        assert set(await asyncio.gather(*(of_all.token() for _ in range(20)))) == {"t1"}
        now[0] += 79
        assert await of_all.token() == "t1"
        now[0] += 2
        assert await of_all.token() == "t2"


async def test_an_issuer_that_is_down_is_no_harm_while_the_token_lives():
    now = [0.0]
    with LittleServer(tokens) as issuer:
        of_all = provider(issuer.url, now)
        await of_all.token()
    now[0] = 99.0
    assert await of_all.token() == "t1"
    now[0] = 100.0
    with pytest.raises(TokenUnavailable, match="cannot be reached"):
        await of_all.token()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, {}, b'{"error":"invalid_client"}'), "401: it does not take the client or its secret"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "302"),
        ((200, {}, b"<html>"), "no token"),
        ((200, {}, b'{"access_token": 7}'), "no token"),
        ((200, {}, json.dumps({"access_token": "a\x01b"}).encode()), "no bearer token"),
        ((200, {}, b" " * (MAX_ANSWER_BYTES + 1)), f"more than {MAX_ANSWER_BYTES} bytes"),
    ],
)
async def test_what_is_no_token_is_refused_in_a_sentence(answer, told: str):
    with LittleServer(lambda asked: answer) as issuer, pytest.raises(TokenUnavailable, match=told) as error:
        await provider(issuer.url).token()
    assert "s3cret" not in str(error.value)


async def test_https_is_checked_against_the_authority_that_was_given(tmp_path: Path):
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("login", ("127.0.0.1",)))
    with LittleServer(tokens, tls=context) as issuer:
        assert await provider(issuer.url, cafile=str(authority.cafile)).token() == "t1"
        with pytest.raises(TokenUnavailable, match="cannot be reached"):
            await provider(issuer.url).token()
