"""Who gets in: keys and tokens over both databases, through the middleware, as HTTP answers them."""

import asyncio
import logging

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from api import attempts, credentials
from api.auth import Authenticate, require
from api.credentials import Credentials
from api.keys import delete_key, get_keys, post_key
from api.oidc import Tokens
from api.problems import EXCEPTION_HANDLERS, problem_response
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.registry import keys
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.rate_limits import RateLimiter
from runway_streams.registry.refusals import Conflict, Invalid, Mismatch, Unknown
from runway_streams.times import DAY, MINUTE
from tests.api.issuer import Issuer
from tests.clock import Clock

# aiosqlite's thread may answer that it could not connect after the test's loop has ended.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

NOW = 28_000_000 * MINUTE


@pytest.fixture
def clock():
    return Clock(NOW)


async def whoami(request):
    principal = require(request, request.query_params.get("role", "reader"), request.query_params.get("team"))
    return Response(orjson.dumps([principal.name, principal.role, principal.teams, principal.kind]))


async def livez(request):
    return Response(str(request.scope["principal"]))


REFUSALS = {Invalid: 400, Unknown: 404, Conflict: 409, Mismatch: 422}


def handlers():
    async def refuse(request, error):
        return problem_response(request, REFUSALS[type(error)], "refused", str(error))

    return EXCEPTION_HANDLERS | dict.fromkeys(REFUSALS, refuse)


def app_of(registry, tokens=None, limit=1_000):
    limiter = RateLimiter(registry.database, limit, registry.now)
    gate = Middleware(Authenticate, credentials=Credentials(registry, tokens), limiter=limiter, now=registry.now)
    routes = [
        Route("/livez", livez),
        Route("/readyz", livez),
        Route("/whoami", whoami),
        Route("/v1/keys", get_keys),
        Route("/v1/keys", post_key, methods=["POST"]),
        Route("/v1/keys/{prefix}", delete_key, methods=["DELETE"]),
    ]
    app = Starlette(routes=routes, middleware=[gate], exception_handlers=handlers())
    app.state.registry = registry
    return app


def client_of(app, address="10.0.0.1"):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://api")


@pytest.fixture
async def http(registry):
    async with client_of(app_of(registry)) as client:
        yield client


async def make(registry, role="reader", teams=(), expires_at=None):
    async with registry.change("cli:test") as change:
        return await keys.create(change, "test", role, teams, expires_at)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_says_who_asks(registry, http):
    entry, key = await make(registry, "owner", ["risk"])
    found = await http.get("/whoami", headers=bearer(key))
    assert found.json() == [f"key:{entry.prefix}", "owner", ["risk"], "key"]
    assert (await http.get("/whoami", headers={"authorization": f"bearer  {key}"})).status_code == 200


async def test_without_a_credential_only_probes_are_answered(http):
    for path in ("/whoami", "/nothing", "/livez/", "/livez/../whoami", "//livez", "/v1/keys", "/metrics"):
        found = await http.get(path)
        assert (found.status_code, found.headers["content-type"]) == (401, "application/problem+json"), path
        assert found.headers["www-authenticate"] == 'Bearer realm="runway"'
    for path in ("/livez", "/readyz"):
        assert (await http.get(path)).text == "None"
        assert (await http.get(path, headers=bearer("rk_wrong"))).text == "None"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer a,b", 'Bearer "a"', "Bearer rk_aaaaaaaa_" + "A" * 43,
     "Bearer rk_", "Bearer " + "a" * 8193, "Bearer eyJhbGciOiJub25lIn0.e30."],
)  # fmt: skip
async def test_wrong_credentials_are_401_and_say_so(http, header):
    found = await http.get("/whoami", headers={"Authorization": header})
    assert (found.status_code, found.json()["type"]) == (401, "urn:runway:problem:unauthenticated")
    assert found.headers["www-authenticate"].startswith('Bearer realm="runway", error="invalid_token"')


async def test_two_credentials_are_none(registry, http):
    _, key = await make(registry)
    found = await http.get("/whoami", headers=[("Authorization", f"Bearer {key}")] * 2)
    assert found.status_code == 401


@pytest.mark.parametrize(
    ("role", "teams", "asked", "status"),
    [
        ("reader", [], "role=reader", 200),
        ("reader", [], "role=owner", 403),
        ("owner", ["risk"], "role=owner&team=risk", 200),
        ("owner", ["risk"], "role=owner&team=ads", 403),
        ("owner", ["risk"], "role=owner&team=", 403),
        ("owner", ["risk"], "role=operator", 403),
        ("operator", [], "role=owner&team=ads", 200),
        ("operator", [], "role=admin", 403),
        ("admin", [], "role=admin", 200),
        ("admin", [], "role=owner&team=", 200),
    ],
)
async def test_roles_and_teams_decide(registry, http, role, teams, asked, status):
    _, key = await make(registry, role, teams)
    found = await http.get(f"/whoami?{asked}", headers=bearer(key))
    assert found.status_code == status
    if status == 403:
        assert found.json()["detail"].startswith("This needs the role")
        assert "insufficient_scope" in found.headers["www-authenticate"]


async def test_a_revoked_key_is_refused_within_half_a_minute(registry, http, clock):
    entry, key = await make(registry)
    assert (await http.get("/whoami", headers=bearer(key))).status_code == 200
    async with registry.change("cli:test") as change:
        await keys.revoke(change, entry.prefix)
    clock.ms += 29_999
    assert (await http.get("/whoami", headers=bearer(key))).status_code == 200
    clock.ms += 1
    assert (await http.get("/whoami", headers=bearer(key))).status_code == 401


async def test_a_key_that_expires_is_refused_at_once(registry, http, clock):
    _, key = await make(registry, expires_at=NOW + 5_000)
    assert (await http.get("/whoami", headers=bearer(key))).status_code == 200
    clock.ms += 5_000
    assert (await http.get("/whoami", headers=bearer(key))).status_code == 401


async def test_without_the_database_those_who_were_here_go_on_for_ten_minutes(registry, clock, tmp_path):
    (tmp_path / "folder.db").mkdir()
    down = Database.open(f"sqlite:///{tmp_path / 'folder.db'}", tmp_path, MIGRATIONS)
    app, (_, key), (_, new) = app_of(registry), await make(registry), await make(registry)
    async with client_of(app) as http:
        assert (await http.get("/whoami", headers=bearer(key))).status_code == 200
        up = registry.database
        object.__setattr__(registry, "database", down)
        clock.ms += 10 * MINUTE - 1
        for _ in range(3):
            assert (await http.get("/whoami", headers=bearer(key))).status_code == 200
        found = await http.get("/whoami", headers=bearer(new))
        assert (found.status_code, found.headers["retry-after"]) == (503, "5")
        clock.ms += 1
        assert (await http.get("/whoami", headers=bearer(key))).status_code == 503
        object.__setattr__(registry, "database", up)
        assert (await http.get("/whoami", headers=bearer(key))).status_code == 200
    await down.close()


async def test_a_key_ends_by_itself_without_the_database_too(registry, clock, tmp_path):
    (tmp_path / "folder.db").mkdir()
    app, (_, key) = app_of(registry), await make(registry, expires_at=NOW + MINUTE)
    async with client_of(app) as http:
        assert (await http.get("/whoami", headers=bearer(key))).status_code == 200
        up = registry.database
        object.__setattr__(registry, "database", Database.open(f"sqlite:///{tmp_path / 'folder.db'}", tmp_path, MIGRATIONS))
        clock.ms += MINUTE
        assert (await http.get("/whoami", headers=bearer(key))).status_code == 503
        await registry.database.close()
        object.__setattr__(registry, "database", up)


async def test_an_address_may_try_a_hundred_wrong_credentials_a_minute(registry, clock):
    app, (_, known), (_, new) = app_of(registry), await make(registry), await make(registry)
    async with client_of(app) as http, client_of(app, "10.0.0.2") as elsewhere:
        assert (await http.get("/whoami", headers=bearer(known))).status_code == 200
        wrong = [(await http.get("/whoami", headers=bearer(f"x{n % 3}"))).status_code for n in range(101)]
        assert wrong == [401] * 100 + [429]
        found = await http.get("/whoami", headers=bearer(new))
        assert (found.status_code, found.headers["retry-after"]) == (429, "60")
        assert (await http.get("/whoami", headers=bearer(known))).status_code == 200
        assert (await elsewhere.get("/whoami", headers=bearer(new))).status_code == 200
        clock.ms += MINUTE
        assert (await http.get("/whoami", headers=bearer(new))).status_code == 200


async def test_two_processes_share_a_principals_limit(registry, database_url, tmp_path, clock):
    other = Database.open(database_url, tmp_path, MIGRATIONS)
    apps = [app_of(each, limit=25) for each in (registry, Registry(other, clock, registry.check_settings))]
    (_, key), (_, second) = await make(registry), await make(registry)
    async with client_of(apps[0]) as one, client_of(apps[1]) as two:
        found = await asyncio.gather(*((one, two)[n % 2].get("/whoami", headers=bearer(key)) for n in range(40)))
        assert sorted(answer.status_code for answer in found) == [200] * 25 + [429] * 15
        refused = await one.get("/whoami", headers=bearer(key))
        assert (refused.json()["type"], refused.headers["retry-after"]) == ("urn:runway:problem:rate-limit", "60")
        assert (await one.get("/whoami", headers=bearer(second))).status_code == 200
    await other.close()


async def test_what_is_remembered_is_bounded_and_holds_no_credential(registry, clock, monkeypatch):
    monkeypatch.setattr(credentials, "MAX_REMEMBERED", 2)
    verifier = Credentials(registry)
    made = [(await make(registry))[1] for _ in range(3)]
    for key in made:
        await verifier.verify(key)
    assert [verifier.knows(key) for key in made] == [False, True, True]
    for n in range(3):
        with pytest.raises(credentials.Rejected):
            await verifier.verify(f"rk_aaaaaaa{n}_")
    told = repr(verifier._verified) + repr(verifier._refused)
    assert len(verifier._refused) == 2
    assert not any(key in told or key[12:] in told for key in made)


async def test_a_wrong_credential_is_not_looked_up_again_for_ten_seconds(registry, clock):
    verifier = Credentials(registry)
    key = "rk_aaaaaaaa_" + "A" * 43
    with pytest.raises(credentials.Rejected):
        await verifier.verify(key)
    async with registry.change("cli:test") as change:
        assert (await keys.create(change, "n", "reader", random=bytes))[1] == key
    clock.ms += 9_999
    with pytest.raises(credentials.Rejected):
        await verifier.verify(key)
    clock.ms += 1
    assert (await verifier.verify(key)).name == "key:aaaaaaaa"


def test_addresses_are_bounded(clock, monkeypatch):
    monkeypatch.setattr(attempts, "MAX_ADDRESSES", 2)
    failed = attempts.FailedAttempts(clock)
    for address in ["a"] * 100 + ["b"]:
        failed.add(address)
    assert failed.wait_s("a") == 60
    failed.add("c")
    assert failed.wait_s("a") == 0
    for n in range(100):
        failed.add(f"2001:db8::{n:x}")
    assert failed.wait_s("2001:db8::ffff") == 60


# -- tokens -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def with_issuer(registry, clock):
    issuer = Issuer(clock)
    config = Config(home="/h", oidc_issuer=issuer.url, oidc_audience="runway")
    async with client_of(app_of(registry, Tokens.of(config, clock))) as client:
        yield client, issuer
    issuer.stop()


async def test_a_token_says_who_asks(with_issuer):
    http, issuer = with_issuer
    found = await http.get("/whoami", headers=bearer(issuer.token(runway_role="owner", teams="risk")))
    assert found.json() == ["oidc:ada", "owner", ["risk"], "oidc"]
    assert (await http.get("/whoami", headers=bearer(issuer.token(runway_role=None)))).status_code == 403
    assert (await http.get("/whoami", headers=bearer(issuer.token(aud="other")))).status_code == 401


async def test_a_token_is_refused_once_it_has_expired(with_issuer, clock):
    http, issuer = with_issuer
    token = issuer.token(exp=NOW // 1000 + 10)
    assert (await http.get("/whoami", headers=bearer(token))).status_code == 200
    clock.ms += 70_000
    assert (await http.get("/whoami", headers=bearer(token))).json()["detail"] == "The token has expired."


async def test_without_an_issuer_new_tokens_are_503_and_known_ones_go_on(with_issuer, clock):
    http, issuer = with_issuer
    token, other = issuer.token(exp=NOW // 1000 + 10**6), issuer.token(sub="bob", exp=NOW // 1000 + 10**6)
    assert (await http.get("/whoami", headers=bearer(token))).status_code == 200
    issuer.stop()
    clock.ms += DAY - MINUTE
    assert (await http.get("/whoami", headers=bearer(token))).status_code == 200
    clock.ms += 2 * MINUTE
    assert (await http.get("/whoami", headers=bearer(token))).status_code == 200
    assert (await http.get("/whoami", headers=bearer(other))).status_code == 503
    issuer.start()


# -- /v1/keys ---------------------------------------------------------------------------------------------------------


async def test_an_admin_makes_lists_and_revokes_keys(registry, http, caplog):
    caplog.set_level(logging.DEBUG)
    entry, admin = await make(registry, "admin")
    asked = {"name": "ci", "role": "owner", "teams": ["risk"], "expires_at": "2099-01-01T00:00:00Z"}
    made = await http.post("/v1/keys", headers=bearer(admin), json=asked)
    assert made.status_code == 201
    key, told = made.json()["key"], {name: value for name, value in made.json().items() if name != "key"}
    assert told == {
        **asked,
        "prefix": told["prefix"],
        "created_at": "2023-03-28T10:40:00Z",
        "created_by": f"key:{entry.prefix}",
        "revoked_at": None,
    }
    assert (await http.get("/whoami?role=owner&team=risk", headers=bearer(key))).status_code == 200
    listed = await http.get("/v1/keys", headers=bearer(admin))
    assert told in listed.json()["items"]
    assert key[12:] not in listed.text + caplog.text
    for _ in range(2):
        assert (await http.delete(f"/v1/keys/{told['prefix']}", headers=bearer(admin))).status_code == 204
    assert (await http.delete("/v1/keys/nothing0", headers=bearer(admin))).status_code == 404


async def test_keys_come_in_pages(registry, http):
    made = sorted([(await make(registry, "admin"))[0].prefix for _ in range(5)])
    (_, admin), found, cursor = await make(registry, "admin"), [], ""
    while cursor is not None:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await http.get("/v1/keys", params=query, headers=bearer(admin))).json()
        found, cursor = found + [item["prefix"] for item in page["items"]], page["next_cursor"]
    assert len(found) == 6
    assert set(made) < set(found)
    for query in ("limit=0", "cursor=zz", "page=2"):
        assert (await http.get(f"/v1/keys?{query}", headers=bearer(admin))).status_code == 400


@pytest.mark.parametrize("role", ["reader", "owner", "operator"])
async def test_keys_are_for_admins(registry, http, role):
    _, key = await make(registry, role, ["risk"] if role == "owner" else [])
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", "/v1/keys/aaaaaaaa")):
        assert (await http.request(method, path, headers=bearer(key), content=b"{}")).status_code == 403


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"name":"a","role":"root"}', b'{"name":"a","role":"owner"}', b'{"name":"a","role":"reader","x":1}',
     b'{"name":"a","role":"reader","expires_at":"2020-01-01T00:00:00Z"}', b'{"name":"a","role":"reader","expires_at":"2099-01-01T00:00:00"}'],
)  # fmt: skip
async def test_bodies_that_are_no_key_are_400(registry, http, body):
    _, admin = await make(registry, "admin")
    assert (await http.post("/v1/keys", headers=bearer(admin), content=body)).status_code == 400


async def test_a_repeated_post_makes_no_second_key_and_keeps_no_secret(registry, http):
    _, admin = await make(registry, "admin")
    headers = {**bearer(admin), "Idempotency-Key": "k1"}
    made = await http.post("/v1/keys", headers=headers, json={"name": "ci", "role": "reader"})
    again = await http.post("/v1/keys", headers=headers, json={"name": "ci", "role": "reader"})
    assert (made.status_code, again.status_code) == (201, 409)
    assert made.json()["prefix"] in again.json()["detail"]
    other = await http.post("/v1/keys", headers=headers, json={"name": "cd", "role": "reader"})
    assert other.status_code == 422
    assert len((await http.get("/v1/keys", headers=bearer(admin))).json()["items"]) == 2
