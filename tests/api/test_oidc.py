"""Tokens of a real issuer: which are taken, which are refused, and what becomes of them when the issuer is away."""

import asyncio
import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from api import issuer_keys
from api.oidc import Tokens, role_of, texts_at
from api.principals import Principal, Rejected
from runway_streams.config import Config
from runway_streams.errors import DependencyDown
from runway_streams.registry.keys import ROLES
from runway_streams.times import DAY, HOUR, MINUTE
from tests.api.issuer import Issuer
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock(1_700_000_000_000)


@pytest.fixture
def issuer(clock):
    running = Issuer(clock)
    yield running
    running.stop()


def tokens_of(issuer, **settings):
    given = {"oidc_issuer": issuer.url, "oidc_audience": "runway", **settings}
    return Tokens.of(Config(home="/h", **given), issuer.now)


async def refusal(tokens, token):
    with pytest.raises(Rejected) as refused:
        await tokens.verify(token)
    return refused.value.status, refused.value.sentence


@pytest.mark.parametrize("kid", ["rsa-1", "ec-1"])
async def test_a_good_token_speaks_for_its_subject(issuer, clock, kid):
    found = await tokens_of(issuer).verify(issuer.token(kid, runway_role="owner", teams=["risk", "ads"]))
    assert found == (Principal("oidc:ada", "owner", ("ads", "risk"), "oidc"), clock.ms + 360_000)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://login.example.com"},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "x" * 196},
        {"exp": None},
        {"exp": 1_699_999_940},
        {"exp": "1800000000"},
        {"exp": float("inf")},
        {"nbf": 1_700_000_061},
        {"iat": 1_700_000_061},
        {"iat": True},
    ],
)
async def test_wrong_claims_are_refused(issuer, changed):
    status, sentence = await refusal(tokens_of(issuer), issuer.token(**changed))
    assert status == 401
    assert sentence.startswith("The token")


async def test_clocks_may_be_a_minute_apart(issuer):
    token = issuer.token(exp=1_699_999_941, nbf=1_700_000_060, iat=1_700_000_060)
    assert (await tokens_of(issuer).verify(token))[0].name == "oidc:ada"


async def test_a_token_expires_by_our_clock(issuer, clock):
    tokens, token = tokens_of(issuer), issuer.token()
    clock.ms += 359_999
    await tokens.verify(token)
    clock.ms += 1
    assert await refusal(tokens, token) == (401, "The token has expired.")


async def test_no_algorithm_is_taken_but_those_allowed(issuer):
    tokens = tokens_of(issuer)
    pem = issuer.keys["rsa-1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    confused = by_hmac(issuer, pem)
    unsigned = issuer.token(key="", algorithm="none")
    other = issuer.token(algorithm="RS512")
    for token in (confused, unsigned, other):
        assert (await refusal(tokens, token))[1] == (
            "The token is not valid: its algorithm is not among those that are allowed."
        )
    assert issuer.asked == []
    assert (await tokens_of(issuer, oidc_algorithms="ES256, RS512").verify(other))[0].name == "oidc:ada"


def by_hmac(issuer, key, alg="HS256"):
    """Signed with a public key as if it were a secret, as an attacker does it; PyJWT would not."""
    import hashlib
    import hmac

    parts = [{"alg": alg, "kid": "rsa-1", "typ": "JWT"}, issuer.claims(runway_role="admin")]
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.new(key, signed, hashlib.sha256).digest()).rstrip(b"=")
    return (signed + b"." + signature).decode()


async def test_a_signature_must_be_of_the_key_that_is_named_and_of_its_kind(issuer):
    tokens = tokens_of(issuer)
    pem = issuer.keys["rsa-1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = rsa.generate_private_key(65537, 2048)
    for token in (
        issuer.token(key=stranger),
        issuer.token("ec-1", key=stranger),
        issuer.token("rsa-1", key=issuer.keys["ec-1"]),
        by_hmac(issuer, pem, alg="RS256"),
        issuer.token()[:-4] + "AAAA",
    ):
        assert (await refusal(tokens, token))[0] == 401


async def test_a_key_on_a_curve_of_another_algorithm_is_refused(issuer):
    issuer.keys["p384"] = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(jwt.InvalidKeyError):
        issuer.token("p384")
    assert (await refusal(tokens_of(issuer), issuer.token("p384", key=issuer.keys["ec-1"])))[0] == 401


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_short_keys_and_keys_for_encryption_are_refused(issuer):
    issuer.keys["short"] = rsa.generate_private_key(65537, 1024)
    issuer.keys["enc"] = rsa.generate_private_key(65537, 2048)
    certs = [issuer.jwk("short"), {**issuer.jwk("enc"), "use": "enc"}, "no key", {"kty": "oct", "k": "AAAA", "kid": "oct"}]
    issuer.answers["/realms/ml/certs"] = json.dumps({"keys": certs}).encode()
    for kid in ("short", "enc"):
        assert (await refusal(tokens_of(issuer), issuer.token(kid)))[0] == 401


async def test_without_a_kid_the_only_key_is_taken(issuer):
    token = issuer.token(header={})
    assert (await refusal(tokens_of(issuer), token))[1] == "The token is not valid: the issuer has no such key."
    del issuer.keys["ec-1"]
    assert (await tokens_of(issuer).verify(token))[0].name == "oidc:ada"


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30", "eyJhbGciOiJSUzI1NiJ9.e30.", "W10.e30.AA"]
)
async def test_what_is_no_token_is_refused(issuer, token):
    assert (await refusal(tokens_of(issuer), token))[0] == 401


@given(st.text(max_size=200))
def test_any_text_is_refused_without_a_crash(text):
    config = Config(home="/h", oidc_issuer="http://127.0.0.1:1", oidc_audience="runway")
    with pytest.raises(Rejected):
        asyncio.run(Tokens.of(config, Clock()).verify(text))


@pytest.mark.parametrize(
    ("claim", "claims", "role"),
    [
        ("runway_role", {}, "reader"),
        ("realm_access.roles", {"realm_access": {"roles": ["offline_access", "operator", "reader"]}}, "operator"),
        ("roles", {"roles": ["admin"]}, "admin"),
        ("https://example.com/role", {"https://example.com/role": "owner"}, "owner"),
    ],
)
async def test_the_role_comes_from_the_claim_that_is_set(issuer, claim, claims, role):
    found, _ = await tokens_of(issuer, oidc_role_claim=claim).verify(issuer.token(**claims))
    assert found.role == role


@pytest.mark.parametrize("value", [None, "root", [], ["Admin"], {"admin": 1}, 7])
async def test_without_a_role_it_is_403(issuer, value):
    status, sentence = await refusal(tokens_of(issuer), issuer.token(runway_role=value))
    assert (status, "runway_role must hold one of reader, owner, operator, admin" in sentence) == (403, True)


@given(st.lists(st.sampled_from([*ROLES, "x"])))
def test_the_highest_role_counts(names):
    known = [name for name in names if name in ROLES]
    assert role_of(names) == max(known, key=ROLES.index, default=None)


def test_claims_of_other_shapes_are_empty():
    assert texts_at({"a": 1}, "a.b.c") == texts_at({"a": {"b": {"c": 1}}}, "a.b.c") == texts_at({"a": [1]}, "a") == []


# -- the issuer's keys ------------------------------------------------------------------------------------------------


async def test_keys_are_asked_for_once_an_hour_by_one_of_many(issuer, clock):
    tokens, token = tokens_of(issuer), issuer.token(exp=clock.ms // 1000 + 10_000)
    await asyncio.gather(*(tokens.verify(token) for _ in range(20)))
    assert len(issuer.asked) == 2
    clock.ms += HOUR - 1
    await tokens.verify(token)
    assert len(issuer.asked) == 2
    clock.ms += 1
    await asyncio.gather(*(tokens.verify(token) for _ in range(20)))
    assert len(issuer.asked) == 4


async def test_a_new_key_is_found_and_unknown_ones_ask_once_a_minute(issuer, clock):
    tokens = tokens_of(issuer)
    await tokens.verify(issuer.token())
    issuer.keys["rsa-2"] = rsa.generate_private_key(65537, 2048)
    clock.ms += MINUTE
    assert (await tokens.verify(issuer.token("rsa-2")))[0].name == "oidc:ada"
    assert len(issuer.asked) == 4
    for n in range(5):
        await refusal(tokens, issuer.token(header={"kid": f"made-up-{n}"}))
    assert len(issuer.asked) == 4
    del issuer.keys["rsa-1"]
    clock.ms += HOUR
    await refusal(tokens, issuer.token("rsa-2", header={"kid": "rsa-1"}))


async def test_while_the_issuer_is_down_its_keys_are_good_for_a_day(issuer, clock):
    tokens = tokens_of(issuer)
    token = issuer.token(exp=clock.ms // 1000 + 10**6)
    await tokens.verify(token)
    issuer.stop()
    clock.ms += DAY - 1
    assert (await tokens.verify(token))[0].name == "oidc:ada"
    clock.ms += 1 + MINUTE
    with pytest.raises(DependencyDown, match="does not tell its keys"):
        await tokens.verify(token)
    issuer.start()
    clock.ms += MINUTE
    assert (await tokens.verify(token))[0].name == "oidc:ada"


async def test_an_issuer_that_was_never_up_is_asked_again_after_five_seconds(issuer, clock):
    tokens = tokens_of(issuer)
    issuer.stop()
    for _ in range(2):
        with pytest.raises(DependencyDown):
            await tokens.verify(issuer.token())
    issuer.start()
    with pytest.raises(DependencyDown):
        await tokens.verify(issuer.token())
    clock.ms += issuer_keys.ASK_FIRST
    assert (await tokens.verify(issuer.token()))[0].name == "oidc:ada"


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("/.well-known/openid-configuration", b"{", "no JSON object"),
        ("/.well-known/openid-configuration", b"[]", "no JSON object"),
        ("/.well-known/openid-configuration", b'{"issuer": "http://evil"}', "calls itself 'http://evil'"),
        ("/.well-known/openid-configuration", b"x" * (issuer_keys.MAX_DOCUMENT + 1), "more than"),
        ("/.well-known/openid-configuration", None, "answers 404"),
        ("/certs", b'{"keys": 1}', "no list of keys"),
        ("/certs", b"x" * (issuer_keys.MAX_DOCUMENT + 1), "more than"),
    ],
)
async def test_an_issuer_that_answers_nonsense_is_down(issuer, path, body, why):
    issuer.answers[f"/realms/ml{path}"] = body
    with pytest.raises(DependencyDown, match=why):
        await tokens_of(issuer).verify(issuer.token())


async def test_keys_are_not_fetched_without_https(issuer):
    place = {"issuer": issuer.url, "jwks_uri": "http://example.com/certs"}
    issuer.answers["/realms/ml/.well-known/openid-configuration"] = json.dumps(place).encode()
    with pytest.raises(DependencyDown, match="not an https URL"):
        await tokens_of(issuer).verify(issuer.token())
