"""Migrations: the tables of a database are brought to what `tables.py` says, step by step, by Alembic.

A revision is called `0002` where programs that know only `0001` could not work on, and `0001.1` where they can: it adds
tables, or columns that have a default, and changes none. So two neighbouring versions of the API may run side by side while
one takes the other's place.
"""

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from runway_streams.errors import Refused

FOLDER = Path(__file__).parent / "migrations"
LOCK = 0x52554E574159
"""PostgreSQL's advisory lock under which one process at a time upgrades."""


def upgrade(connection: sa.Connection) -> None:
    """Runs the migrations that are missing, in the transaction of the connection. Raises Refused where the tables are
    newer, and have done more than to add to these."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    found = MigrationContext.configure(connection).get_current_revision()
    if found == newest():
        return
    if found is not None and found not in _known():
        if is_additive(found):
            return
        raise Refused(
            f"The registry's tables are of revision {found}, which this version does not know.",
            "Use the newer version that made them, or another RUNWAY_DATABASE.",
        )
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_additive(revision: str) -> bool:
    """Whether a revision that this version does not know has only added to what it does know.

    >>> is_additive("0001.7"), is_additive("0999"), is_additive("0999.1")
    (True, False, False)
    """
    base, dot, _ = revision.partition(".")
    return bool(dot) and base == newest().partition(".")[0]


def revision(connection: sa.Connection) -> str:
    """The revision that the tables have."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def is_known(revision: str) -> bool:
    """Whether this version has a revision, as its newest or on the way there."""
    return revision in _known()


@cache
def newest() -> str:
    """The revision to which migrations lead."""
    (head,) = _scripts().get_heads()
    return head


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in _scripts().walk_revisions())


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return ScriptDirectory.from_config(config)
