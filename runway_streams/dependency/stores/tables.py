"""The lineage graph's tables, the same on SQLite and PostgreSQL. Times are epoch milliseconds.

| table | a row is | bound |
|---|---|---|
| lineage_nodes | a node: its name, its facts, when its inputs and outputs were all told, what it is found by | none is deleted |
| lineage_edges | an edge over one span of time | none is deleted |
| lineage_openlineage_runs | what the events of a run told so far | 100,000 runs of 4 MiB, 7 days after the last event |
| lineage_reports | a report that waits for a graph which does not answer, or that it did not take | 100,000 and 1 GiB; 100 |
| lineage_discoveries | a run of Metaflow whose lineage was asked for, for which version, and how that has gone | 100,000 pending |
| lineage_cursors | how far a follower has come, and with which graph | one a follower, and one |

Names may be longer than what PostgreSQL takes into an index: rows are keyed by digests of 16 bytes (`digests.py`), and nodes
are sorted by the first 256 characters of their names before the names themselves.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

from runway_streams.dependency.digests import SORTED_BY

metadata = MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"})

# PostgreSQL would sort by the rules of a language; answers have the order of code points, as SQLite has it.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def _name(length: int) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


nodes = Table(
    "lineage_nodes",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("name", _TEXT, nullable=False),
    Column("sorted_by", _name(SORTED_BY), nullable=False),
    Column("type", String(16), nullable=False),
    Column("search_text", _TEXT, nullable=False),
    Column("facts", Text, nullable=False),
    Column("wholes", Text, nullable=False),
    Index(None, "sorted_by"),
)

edges = Table(
    "lineage_edges",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("valid_from", BigInteger, primary_key=True),
    Column("valid_to", BigInteger),
    Column("last_seen", BigInteger, nullable=False),
    Column("upstream_key", LargeBinary(16), nullable=False),
    Column("downstream_key", LargeBinary(16), nullable=False),
    Column("upstream", _TEXT, nullable=False),
    Column("downstream", _TEXT, nullable=False),
    Column("kind", _name(16), nullable=False),
    Column("reporter", _name(256), nullable=False),
    Column("source", String(16), nullable=False),
    Column("confidence", Float(53), nullable=False),
    Index(None, "upstream_key", "valid_to"),
    Index(None, "downstream_key", "valid_to"),
)

openlineage_runs = Table(
    "lineage_openlineage_runs",
    metadata,
    Column("run", String(36), primary_key=True),
    Column("told", LargeBinary, nullable=False),
    Column("execution", String(36)),
    Column("heard_at", BigInteger, nullable=False),
    Index(None, "execution"),
    Index(None, "heard_at"),
)

waiting_reports = Table(
    "lineage_reports",
    metadata,
    # SQLite numbers rows by itself in columns of the type INTEGER alone; and a number that was given is never given again only
    # where it is told so: who takes out what it has brought must not take out what came since.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    # Before what is long: SQLite reads a row from its begin, and all are counted.
    Column("bytes", BigInteger, nullable=False),
    Column("set_aside", Boolean, nullable=False),
    Column("report", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("problem", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

discoveries = Table(
    "lineage_discoveries",
    metadata,
    Column("pathspec", _name(512), primary_key=True),
    Column("model_id", _name(128), primary_key=True),
    Column("version", _name(128), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("problem", Text, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "state", "next_at"),
    Index(None, "model_id", "version"),
)

cursors = Table(
    "lineage_cursors",
    metadata,
    Column("name", _name(300), primary_key=True),
    Column("value", Text, nullable=False),
)
