"""Migrations: the tables of a service are brought to what its `tables.py` says, step by step, by Alembic.

A revision is called `0002` where programs that know only `0001` could not work on, and `0001.1` where they can: it adds
tables, or columns that have a default, and changes none. So two neighbouring versions of the API may run side by side while
one takes the other's place.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from runway_streams.errors import Refused

LOCK = 0x52554E574159
"""PostgreSQL's advisory lock under which one process at a time upgrades."""


@dataclass(frozen=True, slots=True)
class Migrations:
    """The revisions of one service's tables, in a folder. Several services may keep their tables in one database, since each
    writes down its revision in a table of its own. Errors name the service and the variable that gives its database's URL."""

    service: str
    variable: str
    folder: Path
    version_table: str

    def upgrade(self, connection: sa.Connection) -> None:
        """Runs the migrations that are missing, in the transaction of the connection. Raises Refused where the tables are
        newer, and have done more than to add to these."""
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        found = self.revision(connection)
        if found == self.newest():
            return
        if found and not self.is_known(found):
            if self.is_additive(found):
                return
            raise Refused(
                f"The {self.service}'s tables are of revision {found}, which this version does not know.",
                f"Use the newer version that made them, or another {self.variable}.",
            )
        config = _config(self.folder)
        config.attributes.update(connection=connection, version_table=self.version_table)
        command.upgrade(config, "head")

    def revision(self, connection: sa.Connection) -> str:
        """The revision that the tables have, empty where there are none."""
        options = {"version_table": self.version_table}
        return MigrationContext.configure(connection, opts=options).get_current_revision() or ""

    def is_additive(self, revision: str) -> bool:
        """Whether a revision that this version does not know has only added to what it does know: to its newest, 0001, a
        revision 0001.7 has, but neither 0002 nor 0002.1."""
        base, dot, _ = revision.partition(".")
        return bool(dot) and base == self.newest().partition(".")[0]

    def is_known(self, revision: str) -> bool:
        """Whether this version has a revision, as its newest or on the way there."""
        return revision in _known(self.folder)

    def newest(self) -> str:
        """The revision to which migrations lead."""
        return _newest(self.folder)


@cache
def _newest(folder: Path) -> str:
    (head,) = ScriptDirectory.from_config(_config(folder)).get_heads()
    return head


@cache
def _known(folder: Path) -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config(folder)).walk_revisions())


def _config(folder: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
