"""SqlStore beyond the contract: its tables, alone and beside the registry's, and a database that is gone."""

import asyncio
from contextlib import aclosing
from itertools import count

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from runway_streams.database import Database
from runway_streams.dependency.edge import Claim
from runway_streams.dependency.refusals import BadReport
from runway_streams.dependency.report import Report
from runway_streams.dependency.stores import migrate, sql_store, tables
from runway_streams.dependency.stores.sql_store import SqlStore
from runway_streams.errors import ConfigError, DependencyDown, Refused
from tests.postgres import PostgresServer

_numbers = count(1)
VERSION = migrate.MIGRATIONS.version_table
REPORT = Report("one", 10, [Claim("dataset:a/b", "model:m")])


@pytest.fixture
async def lineage(database_url, tmp_path):
    opened = Database.open(database_url, tmp_path, migrate.MIGRATIONS)
    await opened.prepare()
    yield opened
    await opened.close()


async def test_migrations_lead_to_the_tables(lineage):
    async with lineage.read() as connection:
        options = {"version_table": VERSION}
        context = await connection.run_sync(lambda c: MigrationContext.configure(c, opts=options))
        assert await connection.run_sync(lambda _: compare_metadata(context, tables.metadata)) == []


async def test_two_services_share_a_database(database, database_url, tmp_path):
    store = SqlStore.open(database_url, tmp_path)
    await store.apply([REPORT])
    async with database.read() as connection:
        names = await connection.run_sync(lambda c: sa.inspect(c).get_table_names())
        assert {"models", "alembic_version", "lineage_nodes", "lineage_edges", VERSION} <= set(names)
    await store.close()


async def test_both_may_be_the_first_at_once(database_url, tmp_path):
    stores = [SqlStore.open(database_url, tmp_path) for _ in range(4)]
    await asyncio.gather(*(store.apply([REPORT]) for store in stores))
    assert len(await stores[0].edges(["model:m"], "upstream")) == 1
    for store in stores:
        await store.close()


async def test_an_edge_that_is_ended_from_both_sides_at_once_ends_where_it_would_one_after_the_other(postgres, tmp_path):
    url = postgres.create(f"crosswise{next(_numbers)}")
    a, b = "dataset:n/a", "dataset:n/b"
    async with aclosing(SqlStore.open(url, tmp_path)) as store, aclosing(SqlStore.open(url, tmp_path)) as other:
        await store.apply([Report("one", 10, [Claim(a, b)])])
        async with other._database.write() as connection:
            await sql_store._apply(connection, [Report("one", 15, whole_outputs=[a])], set(), 100)
            ending = asyncio.create_task(store.apply([Report("one", 20, whole_inputs=[b])]))
            await until_one_waits(store)
        await ending
        assert [edge.valid_to for edge in await store.edges([b], "upstream", 12)] == [15]


async def until_one_waits(store: SqlStore) -> None:
    """Returns once a connection to the database waits for a lock that another holds."""
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(20):
        while True:
            async with store._database.read() as connection:
                if (await connection.execute(waits)).scalar_one():
                    return


async def test_reports_that_touch_too_much_are_refused(lineage):
    few = SqlStore(lineage, max_spans=3)
    claims = [Claim(f"dataset:n/{number}", "model:m") for number in range(4)]
    await SqlStore(lineage).apply([Report("one", 10, claims)])
    with pytest.raises(BadReport, match="more than 3 spans"):
        await few.apply([Report("one", 20, whole_inputs=["model:m"])])
    assert len(await few.edges(["model:m"], "upstream")) == 4


async def test_tables_of_a_newer_version_are_refused(lineage):
    async with lineage.write() as connection:
        await connection.execute(sa.text("UPDATE dependency_version SET version_num = '9999'"))
    with pytest.raises(Refused, match=r"lineage graph's tables.*9999.*RUNWAY_LINEAGE_DATABASE"):
        await SqlStore(Database(lineage.engine, migrate.MIGRATIONS)).apply([REPORT])


def test_another_database_is_refused_by_the_name_of_its_variable(tmp_path):
    with pytest.raises(ConfigError, match="RUNWAY_LINEAGE_DATABASE"):
        SqlStore.open("mysql://h/d", tmp_path)


async def test_a_server_that_is_gone_is_down_and_comes_back(tmp_path_factory, tmp_path):
    with PostgresServer(tmp_path_factory.mktemp("bounced")) as server:
        store = SqlStore.open(server.url(), tmp_path)
        await store.apply([REPORT])
        await asyncio.to_thread(server.stop, "immediate")
        for ask in (store.apply([REPORT]), store.edges(["model:m"], "upstream"), store.find("m"), anext(store.scan())):
            with pytest.raises(DependencyDown, match="lineage graph's database"):
                await ask
        await asyncio.to_thread(server.start)
        assert len(await store.edges(["model:m"], "upstream")) == 1
        await store.close()
