"""The rows of registry and lineage go from any database into any other, as they were."""

import msgspec
import pytest
import sqlalchemy as sa

from runway_streams.backup import service_rows
from runway_streams.backup.service_rows import LINEAGE, REGISTRY
from runway_streams.config import Config
from runway_streams.database import Database
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.node import Node
from runway_streams.dependency.report import Report
from runway_streams.dependency.stores.sql_report_queue import SqlReportQueue
from runway_streams.dependency.stores.sql_store import SqlStore
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
    parts = [part async for part in service_rows.dump(REGISTRY, database, revision)]
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


@pytest.fixture(params=["sqlite", "postgresql"])
async def other_lineage(request, tmp_path):
    """Another empty database of the lineage service."""
    url = request.getfixturevalue("postgres").create(f"lineage{abs(hash(request.node.nodeid))}")
    url = url if request.param == "postgresql" else f"sqlite:///{tmp_path / 'lineage.db'}"
    opened = LINEAGE.open(Config(home=tmp_path, lineage_database=url))
    yield opened
    await opened.close()


async def test_rows_move_between_databases_of_any_kind(registry, other, clock, monkeypatch):
    monkeypatch.setattr(service_rows, "PART_BYTES", 1_000)
    monkeypatch.setattr(service_rows, "READ_AT_ONCE", 7)
    monkeypatch.setattr(service_rows, "INSERT_AT_ONCE", 7)
    key = await fill(registry)
    revision, parts = await parts_of(registry.database)
    service_rows.check_revision(REGISTRY, revision)
    assert sum(table == "models" for table, _, _ in parts) > 1, "several parts"
    assert await service_rows.filled_tables(REGISTRY, other) == []
    await service_rows.load(REGISTRY, other, readers(parts))
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
        await service_rows.load(REGISTRY, registry.database, [*readers(parts), ("audit", lambda: b"{")])
    assert await rows_of(registry.database) == now
    await service_rows.load(REGISTRY, registry.database, readers(parts))
    async with registry.read() as connection:
        assert await catalog.find(connection, "newer") is None


async def test_all_tables_are_of_one_moment(registry):
    await fill(registry, models=1)
    seen = {}
    async for table, _, rows in service_rows.dump(REGISTRY, registry.database, []):
        if not seen:
            assert table != "models", "the tables that are read later are looked at"
            async with registry.change("cli:me") as change:
                await catalog.register(change, Model("meanwhile"))
        seen[table] = rows
    assert (seen["models"], len((await rows_of(registry.database))["models"])) == (1, 2)


@pytest.mark.parametrize("revision", ["9999", "0000", "0001.9"])
def test_tables_of_another_version_are_refused(revision):
    with pytest.raises(Refused, match=f"tables of revision {revision}"):
        service_rows.check_revision(REGISTRY, revision)


async def test_the_lineage_graph_moves_too(database_url, tmp_path, other_lineage):
    store = SqlStore.open(database_url, tmp_path)
    await store.apply([Report("test", 10, [Claim("dataset:a/ü", "model:m")], [Node("model:m", {"owner": "x"})])])
    source = LINEAGE.open(Config(home=tmp_path, database=database_url))
    await SqlReportQueue(source).add([Report("later", 20)], 1)
    parts = [part async for part in service_rows.dump(LINEAGE, source, [])]
    await service_rows.load(LINEAGE, other_lineage, readers(parts))
    restored = SqlStore(other_lineage)
    assert await restored.edges(["model:m"], "upstream") == await store.edges(["model:m"], "upstream")
    assert await restored.nodes(["model:m"]) == await store.nodes(["model:m"])
    queue = SqlReportQueue(other_lineage)
    await queue.add([Report("latest", 30)], 2)
    assert [one.report.reporter for one in await queue.oldest()] == ["later", "latest"], "numbering goes on"
    for each in (store, source):
        await each.close()
