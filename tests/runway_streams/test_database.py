"""The database: transactions, migrations, and what it says when it is gone, on SQLite and on PostgreSQL."""

import asyncio
import contextlib
import shutil
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

from runway_streams.database import Database, database_url, insert_all_new, insert_new
from runway_streams.errors import ConfigError, DependencyDown, Refused, TooSlow
from runway_streams.registry.migrate import MIGRATIONS
from runway_streams.registry.tables import leases, metadata
from tests.postgres import PostgresServer


async def holder_of(database, duty="d"):
    async with database.read() as connection:
        return await connection.scalar(sa.select(leases.c.holder).where(leases.c.duty == duty))


async def test_migrations_lead_to_the_tables(database):
    async with database.read() as connection:
        assert await connection.run_sync(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []


async def test_many_processes_may_upgrade_at_once(database_url, tmp_path):
    several = [Database.open(database_url, tmp_path, MIGRATIONS) for _ in range(4)]
    await asyncio.gather(*(each.prepare() for each in several))
    for each in several:
        await each.close()


async def test_tables_of_a_newer_version_are_refused(database):
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    another = Database(database.engine, MIGRATIONS)
    with pytest.raises(Refused, match="9999"):
        await another.prepare()


async def test_a_newer_version_that_has_only_added_tables_leaves_us_at_work(database):
    added = f"{MIGRATIONS.newest()}.1"
    async with database.write() as connection:
        await connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{added}'"))
    another = Database(database.engine, MIGRATIONS)
    async with another.write() as connection:
        await connection.execute(leases.insert().values(duty="d", holder="a", until=1))
    async with another.read() as connection:
        assert (await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).scalar() == added


async def test_a_write_that_fails_leaves_nothing(database):
    async def fail():
        async with database.write() as connection:
            await connection.execute(leases.insert().values(duty="d", holder="a", until=1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await holder_of(database) is None


async def test_of_many_that_insert_one_row_one_wins(database):
    async def insert(holder):
        async with database.write() as connection:
            return await insert_new(connection, leases, duty="d", holder=str(holder), until=1)

    won = await asyncio.gather(*map(insert, range(20)))
    assert won.count(True) == 1
    assert await holder_of(database) == str(won.index(True))


async def test_more_rows_than_one_statement_takes_are_inserted_and_only_new_ones_are_counted(database):
    rows = [{"duty": str(number), "holder": "a", "until": 1} for number in range(11_000)]
    async with database.write() as connection:
        assert await insert_all_new(connection, leases, rows[:10]) == 10
        assert await insert_all_new(connection, leases, rows) == 10_990
        assert await connection.scalar(sa.select(sa.func.count()).select_from(leases)) == 11_000


async def test_a_server_that_is_gone_is_a_dependency_that_is_down(tmp_path_factory, tmp_path):
    with PostgresServer(tmp_path_factory.mktemp("bounced")) as server:
        database = Database.open(server.url(), tmp_path, MIGRATIONS)
        await database.prepare()
        await asyncio.to_thread(server.stop, "immediate")
        for _ in range(2):
            with pytest.raises(DependencyDown, match="does not answer"):
                await holder_of(database)
        await asyncio.to_thread(server.start)
        assert await holder_of(database) is None
        await database.close()


async def test_a_file_that_is_taken_away_is_missed_and_one_put_in_its_place_is_used(tmp_path):
    file, aside = tmp_path / "registry.db", tmp_path / "aside"
    database = Database.open(None, tmp_path, MIGRATIONS)
    async with database.write() as connection:
        await connection.execute(leases.insert().values(duty="d", holder="before", until=1))
    await database.close()
    shutil.copy(file, tmp_path / "copy")
    file.rename(aside)
    with pytest.raises(DependencyDown, match="its file is gone"):
        await holder_of(database)
    assert not file.exists()
    (tmp_path / "copy").rename(file)
    assert await holder_of(database) == "before"
    await database.close()


async def test_whatever_a_server_says_while_it_stops_and_starts_it_is_down(tmp_path_factory, tmp_path):
    with PostgresServer(tmp_path_factory.mktemp("bounced")) as server:
        database = Database.open(server.url(), tmp_path, MIGRATIONS)
        await database.prepare()
        is_over, down = asyncio.Event(), []

        async def ask():
            while not is_over.is_set():
                try:
                    async with database.write() as connection:
                        await insert_new(connection, leases, duty="d", holder="a", until=1)
                except DependencyDown as error:
                    down.append(str(error))
                    await asyncio.sleep(0.005)

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for _ in range(3):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.stop, "immediate")
            await asyncio.to_thread(server.start)
        is_over.set()
        await asyncio.gather(*asking)
        assert down
        await database.close()


async def test_services_that_share_a_file_write_in_turn(tmp_path):
    one, other = (Database.open(None, tmp_path, MIGRATIONS) for _ in range(2))
    await one.prepare()
    await other.prepare()
    began = []

    async def write(database, name):
        async with database.write() as connection:
            began.append(name)
            await insert_new(connection, leases, duty=name, holder="a", until=1)
            await asyncio.sleep(0.01)

    names = [f"{turn}{name}" for turn in range(5) for name in ("one", "other")]
    await asyncio.gather(*(write(one if name.endswith("one") else other, name) for name in names))
    assert began == names
    for database in (one, other):
        await database.close()


async def test_who_waits_for_itself_is_not_kept_for_ever(tmp_path):
    one, other = (Database.open(None, tmp_path, MIGRATIONS, statement_s=0.05) for _ in range(2))
    async with contextlib.aclosing(one), contextlib.aclosing(other):
        await other.prepare()
        async with one.write():
            with pytest.raises(DependencyDown):
                async with other.write():
                    pass
        assert await holder_of(other) is None


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


async def test_a_statement_that_takes_too_long_is_given_up_and_the_next_one_is_not(database_url, tmp_path):
    database = Database.open(database_url, tmp_path, MIGRATIONS, statement_s=0.2)
    async with contextlib.aclosing(database):
        await database.prepare()
        for opened in (database.read, database.write):
            with pytest.raises(TooSlow, match="does not answer"):
                async with opened() as connection:
                    await connection.execute(sa.text(ENDLESS))
            assert await holder_of(database) is None


async def test_who_is_cancelled_leaves_neither_locks_nor_connections(database_url, tmp_path):
    database = Database.open(database_url, tmp_path, MIGRATIONS, statement_s=0.5)
    async with contextlib.aclosing(database):
        await database.prepare()
        for _ in range(12):  # more than there are connections
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), database.write() as connection:
                    await connection.execute(sa.text(ENDLESS))
        async with database.write() as connection:
            await insert_new(connection, leases, duty="d", holder="a", until=1)
        assert await holder_of(database) == "a"


async def test_a_folder_that_cannot_be_written_is_a_dependency_that_is_down(tmp_path):
    threads = threading.active_count()
    (tmp_path / "file.db").mkdir()
    database = Database.open(f"sqlite:///{tmp_path / 'file.db'}", tmp_path, MIGRATIONS)
    with pytest.raises(DependencyDown, match="unable to open"):
        await database.prepare()
    await database.close()
    async with asyncio.timeout(10):  # the driver's thread still tells the loop that it could not connect
        while threading.active_count() > threads:
            await asyncio.sleep(0.01)


async def test_a_server_that_takes_no_changes_is_down_until_it_does(tmp_path_factory, tmp_path):
    # After a failover: the name leads to the new server, but open connections to the one before.
    with PostgresServer(tmp_path_factory.mktemp("failover")) as server:
        database = Database.open(server.url(), tmp_path, MIGRATIONS)
        async with contextlib.aclosing(database):
            await database.prepare()
            switch = "ALTER DATABASE postgres SET default_transaction_read_only = {}"
            async with database.write() as connection:
                await connection.execute(sa.text(switch.format("on")))
            await database.engine.dispose()
            for _ in range(2):
                with pytest.raises(DependencyDown, match="check that RUNWAY_DATABASE names the server that does"):
                    async with database.write() as connection:
                        await insert_new(connection, leases, duty="d", holder="a", until=1)
            async with database.read() as connection:
                await connection.execute(sa.text("SET TRANSACTION READ WRITE"))
                await connection.execute(sa.text(switch.format("off")))
            with pytest.raises(DependencyDown):
                async with database.write() as connection:
                    await insert_new(connection, leases, duty="d", holder="a", until=1)
            async with database.write() as connection:
                assert await insert_new(connection, leases, duty="d", holder="a", until=1)


@pytest.mark.parametrize(
    ("statement", "remedy"),
    [
        ("LOCK TABLE leases NOWAIT", "It comes by itself"),
        ("COPY aliases FROM '/nowhere/at/all'", "See the server's log, and its disk"),
    ],
)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_a_server_lacks_is_an_outage_with_what_to_do(database, statement, remedy):
    async with database.write() as other:
        await other.execute(sa.text("LOCK TABLE leases"))
        with pytest.raises(DependencyDown, match=remedy):
            async with database.write() as connection:
                await connection.execute(sa.text(statement))


@pytest.mark.parametrize("begin", [0, 4096])
async def test_a_damaged_file_is_a_dependency_that_is_down(tmp_path, begin):
    database = Database.open(None, tmp_path, MIGRATIONS)
    async with database.write() as connection:
        await connection.execute(leases.insert().values(duty="d", holder="a", until=1))
    await database.close()  # and nothing stays beside the file
    with (tmp_path / "registry.db").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(begin)
        file.write(b"\xa5" * (size - begin))
    async with contextlib.aclosing(database):
        with pytest.raises(DependencyDown, match=r"It is damaged.*`runway restore`"):
            await holder_of(database)


async def test_a_statement_that_is_wrong_is_a_bug_whatever_it_says(database):
    for statement in ("SELECT 'timeout connection' FROM nowhere", "SELECT"[:3]):
        with pytest.raises(DBAPIError):
            async with database.read() as connection:
                await connection.execute(sa.text(statement))


@pytest.mark.parametrize("error", [FileNotFoundError("mine"), TimeoutError("mine"), ConnectionResetError("mine")])
async def test_what_goes_wrong_beside_the_database_is_not_its_outage(database, error):
    async def fail(opened):
        async with opened() as connection:
            await connection.execute(sa.select(leases))
            raise error

    for opened in (database.read, database.write):
        with pytest.raises(type(error), match="mine"):
            await fail(opened)
    assert await holder_of(database) is None


@pytest.mark.parametrize("url", ["nonsense", "mysql://h/d", "sqlite://", "http://x", "postgresql://h/d?colour=red"])
def test_other_databases_are_refused(url):
    with pytest.raises(ConfigError, match="RUNWAY_DATABASE"):
        database_url(url, Path("/h"))


def test_a_password_is_in_no_error():
    database = Database.open("postgresql://runway:hunter2@127.0.0.1:1/x", Path("/h"), MIGRATIONS)

    async def fail():
        async with database.read():
            pass

    with pytest.raises(DependencyDown) as failure:
        asyncio.run(fail())
    assert "hunter2" not in str(failure.value)


async def test_many_may_be_the_first_to_use_a_database(tmp_path):
    database = Database.open(None, tmp_path, MIGRATIONS)
    assert await asyncio.gather(*(holder_of(database) for _ in range(8))) == [None] * 8
    await database.close()


@pytest.mark.parametrize("parameter", ["sslmode=require", "ssl=require"])
def test_tls_is_asked_for_as_everywhere(parameter):
    assert dict(database_url(f"postgresql://h/d?{parameter}", Path("/h")).query) == {"ssl": "require"}
