"""API keys: made, verified, revoked, forgotten; and where their secrets are not."""

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.registry import keys
from runway_streams.registry.refusals import Conflict, Invalid, Unknown
from runway_streams.registry.tables import api_keys, audit
from runway_streams.times import DAY
from tests.clock import Clock

NOW = 1_700_000_000_000


@pytest.fixture
def clock():
    return Clock(NOW)


async def create(registry, name="ci", role="reader", teams=(), expires_at=None, **random):
    async with registry.change("cli:me") as change:
        return await keys.create(change, name, role, teams, expires_at, **random)


async def verify(registry, key, now=NOW):
    async with registry.read() as connection:
        return await keys.verify(connection, key, now)


async def test_a_key_is_good_until_it_is_revoked(registry):
    entry, key = await create(registry, role="owner", teams=["risk", "ads", "risk"])
    assert key.startswith(f"rk_{entry.prefix}_")
    assert (entry.teams, entry.created_by) == (("ads", "risk"), "cli:me")
    assert await verify(registry, key) == entry
    async with registry.change("cli:me") as change:
        revoked = await keys.revoke(change, entry.prefix)
        assert await keys.revoke(change, entry.prefix) == revoked
    assert await verify(registry, key) is None


async def test_a_key_is_good_until_it_expires(registry):
    entry, key = await create(registry, expires_at=NOW + 10)
    assert await verify(registry, key, NOW + 9) == entry
    assert await verify(registry, key, NOW + 10) is None


async def test_other_secrets_are_refused(registry):
    entry, key = await create(registry)
    flipped = key[:20] + ("a" if key[20] != "a" else "b") + key[21:]
    for other in (
        flipped,
        key[:-1],
        key + "a",
        key.upper(),
        "",
        "rk_",
        f"rk_{entry.prefix}_",
        f"rk_aaaaaaaa_{key[12:]}",
        key + "\n",
    ):
        assert await verify(registry, other) is None
    assert await verify(registry, key) == entry


async def test_a_secret_is_in_no_row_and_no_repr(registry):
    entry, key = await create(registry)
    secret = key.removeprefix(f"rk_{entry.prefix}_")
    async with registry.read() as connection:
        rows = [*(await connection.execute(sa.select(api_keys))), *(await connection.execute(sa.select(audit)))]
    assert len(rows) == 2
    assert secret not in repr(rows) + repr(entry)
    assert repr(keys.hash_of(secret)) not in repr(rows[1])


async def test_what_is_done_is_audited(registry):
    entry, _ = await create(registry, role="admin")
    async with registry.change("key:other") as change:
        await keys.revoke(change, entry.prefix)
    async with registry.read() as connection:
        rows = (await connection.execute(sa.select(audit).order_by(audit.c.seq))).all()
    assert [(row.actor, row.action, row.target) for row in rows] == [
        ("cli:me", "key.create", entry.prefix), ("key:other", "key.revoke", entry.prefix),
    ]  # fmt: skip
    assert '"role":"admin"' in rows[0].after
    assert f'"revoked_at":{NOW}' in rows[1].after


@pytest.mark.parametrize("prefix", ["nothing0", "", "a\0b", "%"])
async def test_a_key_that_is_not_there_cannot_be_revoked(registry, prefix):
    with pytest.raises(Unknown, match="There is no key"):
        async with registry.change("cli:me") as change:
            await keys.revoke(change, prefix)


async def test_randomness_is_an_argument_and_a_prefix_is_taken_once(registry):
    _, key = await create(registry, random=bytes)
    assert key == "rk_aaaaaaaa_" + "A" * 43
    with pytest.raises(Conflict, match="aaaaaaaa"):
        await create(registry, random=bytes)


async def test_pages_go_through_all_keys(registry):
    made = sorted([(await create(registry))[0] for _ in range(5)], key=lambda entry: entry.prefix)
    async with registry.read() as connection:
        first = await keys.page(connection, 3)
        assert first + await keys.page(connection, 3, first[-1].prefix) == made


async def test_live_keys_are_bounded_and_dead_ones_make_room(registry, monkeypatch):
    monkeypatch.setattr(keys, "MAX_LIVE_KEYS", 2)
    entry, _ = await create(registry)
    await create(registry, expires_at=NOW + 1)
    with pytest.raises(Conflict, match="2 keys"):
        await create(registry)
    async with registry.change("cli:me") as change:
        await keys.revoke(change, entry.prefix)
    await create(registry)


async def test_dead_keys_are_forgotten_after_ninety_days(registry, clock):
    kept, _ = await create(registry)
    revoked, _ = await create(registry)
    await create(registry, expires_at=NOW + 1)
    async with registry.change("cli:me") as change:
        await keys.revoke(change, revoked.prefix)
    for moment, gone in ((90 * DAY, 0), (90 * DAY + 2, 2)):
        clock.ms = NOW + moment
        async with registry.change("system") as change:
            assert await keys.forget_dead(change) == gone
    async with registry.read() as connection:
        assert await keys.page(connection, 10) == [kept]


@pytest.mark.parametrize(
    "asked",
    [
        {"role": "owner"},
        {"role": "reader", "teams": ["risk"]},
        {"role": "root"},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 201},
        {"role": "owner", "teams": [""]},
        {"role": "owner", "teams": ["a\0b"]},
        {"role": "owner", "teams": ["x" * 129]},
        {"role": "owner", "teams": [str(n) for n in range(101)]},
        {"expires_at": NOW},
        {"expires_at": keys.LATEST},
    ],
)
async def test_keys_that_cannot_be_are_refused(registry, asked):
    with pytest.raises(Invalid):
        await create(registry, **asked)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_of_any_bytes_has_the_shape_that_verify_reads(secret):
    encoded = keys.base64.urlsafe_b64encode(secret).decode().rstrip("=")
    assert keys._KEY.fullmatch(f"rk_abcdefgh_{encoded}")[2] == encoded
