"""The registry's rows go from any database into any other, as they were."""

import msgspec
import pytest
import sqlalchemy as sa

from runway_streams.backup import registry_rows
from runway_streams.database import Database
from runway_streams.errors import Refused
from runway_streams.registry import catalog, keys, policy_store
from runway_streams.registry.changes import Registry
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.tables import audit, leases, metadata, profiles
from schemas.model import Model
from schemas.policy import Policy

POLICY = msgspec.convert(
    {"staleness": {"age": {"weight": 1, "ok": "P7D", "critical": "P30D"}}, "retrain": {"mode": "review"}}, Policy
)


async def rows_of(database):
    async with database.read() as connection:
        return {
            table.name: (await connection.execute(sa.select(table).order_by(*table.primary_key.columns))).fetchall()
            for table in metadata.sorted_tables
        }


async def fill(registry, models=30):
    """Rows of many kinds, bytes, nulls and foreign letters among them."""
    async with registry.change("cli:me") as change:
        for i in range(models):
            await catalog.register(change, Model(f"m{i}", name=f"é\n\u2028{i}", tags=["a", "b"], task="binary"))
        await policy_store.put(change, "model", "m1", POLICY, None)
        _, key = await keys.create(change, "ci", "owner", ["risk"])
        await change.connection.execute(profiles.insert().values(digest="0" * 64, document=bytes(range(256))))
        await change.connection.execute(leases.insert().values(duty="relay", holder="somebody", until=1))
    return key


async def parts_of(database):
    revision = []
    parts = [part async for part in registry_rows.dump(database, revision)]
    return revision[0], parts


def readers(parts):
    return [(table, lambda lines=lines: lines) for table, lines, _ in parts]


@pytest.fixture(params=["sqlite", "postgresql"])
async def other(request, tmp_path):
    """Another empty database, of either kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'other.db'}"
    else:
        url = request.getfixturevalue("postgres").create(f"other{abs(hash(request.node.nodeid))}")
    opened = Database.open(url, tmp_path, MIGRATIONS)
    yield opened
    await opened.close()


async def test_rows_move_between_databases_of_any_kind(registry, other, clock, monkeypatch):
    monkeypatch.setattr(registry_rows, "PART_BYTES", 1_000)
    monkeypatch.setattr(registry_rows, "READ_AT_ONCE", 7)
    monkeypatch.setattr(registry_rows, "INSERT_AT_ONCE", 7)
    key = await fill(registry)
    revision, parts = await parts_of(registry.database)
    registry_rows.check_revision(revision)
    assert sum(table == "models" for table, _, _ in parts) > 1, "several parts"
    assert await registry_rows.filled_tables(other) == []
    await registry_rows.load(other, readers(parts))
    before, after = await rows_of(registry.database), await rows_of(other)
    assert after.pop("leases") == [] != before.pop("leases")
    assert after == before
    # What numbers itself goes on behind the rows.
    moved = Registry(other, clock, lambda settings: None)
    async with moved.change("cli:me") as change:
        await catalog.register(change, Model("later"))
        assert await keys.verify(change.connection, key, clock())
    async with other.read() as connection:
        last = await connection.scalar(sa.select(sa.func.max(audit.c.seq)))
    assert last == len(before["audit"]) + 1


async def test_a_load_takes_the_place_of_what_is_there_or_leaves_it(registry):
    await fill(registry, models=3)
    _, parts = await parts_of(registry.database)
    async with registry.change("cli:me") as change:
        await catalog.register(change, Model("newer"))
    now = await rows_of(registry.database)
    with pytest.raises(msgspec.DecodeError):
        await registry_rows.load(registry.database, [*readers(parts), ("audit", lambda: b"{")])
    assert await rows_of(registry.database) == now
    await registry_rows.load(registry.database, readers(parts))
    async with registry.read() as connection:
        assert await catalog.find(connection, "newer") is None


async def test_all_tables_are_of_one_moment(registry):
    await fill(registry, models=1)
    seen = {}
    async for table, _, rows in registry_rows.dump(registry.database, []):
        if not seen:
            assert table != "models", "the tables that are read later are looked at"
            async with registry.change("cli:me") as change:
                await catalog.register(change, Model("meanwhile"))
        seen[table] = rows
    assert (seen["models"], len((await rows_of(registry.database))["models"])) == (1, 2)


@pytest.mark.parametrize("revision", ["9999", "0000", "0001.9"])
def test_tables_of_another_version_are_refused(revision):
    with pytest.raises(Refused, match=f"tables of revision {revision}"):
        registry_rows.check_revision(revision)
