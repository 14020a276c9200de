"""The registry's tables, the same on SQLite and PostgreSQL. Times are epoch milliseconds, documents JSON text.

| table | a row is | bound |
|---|---|---|
| models | a model; `registered` is false for one that only the stream has seen | 100,000 unregistered |
| model_tags | a tag of a model, to search by | 64 a model |
| versions | a version: its unchanging document, its stage and its status | |
| profiles | a reference profile, by its digest | 1 MB each |
| aliases | which version a name such as `champion` stands for; none once it was taken away | 1,000 names a model |
| moves | one move of a version between stages | |
| rules | all promotion rules of a model | 50 rules |
| evaluations | what a rule came to, when that changed | 1,000 a model |
| policies | one revision of the policy of a model, a team or a task | |
| settings_changes | how a model's events are read from some log time on; the outbox of `runway.models` | |
| leases | who does what only one process may do | one a duty |
| api_keys | a key: the hash of its secret, never the secret | |
| rate_windows | the requests that a key's processes have taken of a minute | 1 hour |
| idempotency | the answer to a POST that had an Idempotency-Key | 24 hours |
| imports | what another registry said of an imported version when it was last taken | one a version |
| import_cursors | how far the import from another registry has come, and how the last ones went | one a registry, 0.5 MB |
| webhook_deliveries | a delivery that was taken, until a copy would be too old | 10 minutes |
| audit | one change: who, when, what was before and after | |
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _name(length: int) -> String:
    # PostgreSQL would sort by the rules of a language; cursors need the order of code points, as SQLite has it.
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _serial(name: str = "seq") -> Column:
    # SQLite numbers rows by itself in columns of the type INTEGER alone.
    number = BigInteger().with_variant(Integer, "sqlite")
    return Column(name, number, primary_key=True, autoincrement=True)


models = Table(
    "models",
    metadata,
    Column("model_id", _name(128), primary_key=True),
    Column("registered", Boolean, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("name", _name(200), nullable=False),
    Column("owner", _name(128), nullable=False),
    Column("task", String(16)),
    Column("criticality", SmallInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("search_text", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Index(None, "name", "model_id"),
    Index(None, "updated_at", "model_id"),
    Index(None, "criticality", "model_id"),
    Index(None, "owner", "model_id"),
    Index(None, "status", "model_id"),
)

model_tags = Table(
    "model_tags",
    metadata,
    Column("model_id", _name(128), ForeignKey("models.model_id", ondelete="CASCADE"), primary_key=True),
    Column("tag", _name(128), primary_key=True),
    Index(None, "tag", "model_id"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("document", LargeBinary, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model_id", _name(128), ForeignKey("models.model_id"), primary_key=True),
    Column("version", _name(128), primary_key=True),
    Column("document", Text, nullable=False),
    Column("profile_digest", String(64), ForeignKey("profiles.digest")),
    Column("stage", String(16), nullable=False),
    Column("stage_since", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_reason", Text, nullable=False),
    Column("status_since", BigInteger, nullable=False),
    Column("origin", String(64), unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("revision", Integer, nullable=False),
    Index(None, "stage", "model_id"),
    Index(None, "model_id", "created_at", "version"),
)


def _of_version(*columns: Column | Index) -> tuple:
    key = ForeignKeyConstraint(["model_id", "version"], ["versions.model_id", "versions.version"])
    return (Column("model_id", _name(128), nullable=False), Column("version", _name(128), nullable=False), *columns, key)


aliases = Table(
    "aliases",
    metadata,
    Column("alias", _name(64), primary_key=True),
    Column("model_id", _name(128), primary_key=True),
    Column("version", _name(128)),
    Column("revision", Integer, nullable=False),
    ForeignKeyConstraint(["model_id", "version"], ["versions.model_id", "versions.version"]),
    Index(None, "model_id", "alias"),
)

moves = Table(
    "moves",
    metadata,
    _serial(),
    *_of_version(
        Column("from_stage", String(16)),
        Column("to_stage", String(16), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("actor", String(200), nullable=False),
        Column("reason", Text, nullable=False),
        Column("rule", String(256)),
        Index(None, "model_id", "version", "seq"),
    ),
)

rules = Table(
    "rules",
    metadata,
    Column("model_id", _name(128), ForeignKey("models.model_id"), primary_key=True),
    Column("document", Text, nullable=False),
    Column("revision", Integer, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    _serial(),
    *_of_version(
        Column("rule", String(256), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("outcome", String(16), nullable=False),
        Column("reason", Text, nullable=False),
        Column("facts", Text, nullable=False),
        Index(None, "model_id", "seq"),
        Index(None, "model_id", "version", "rule", "seq"),
    ),
)

policies = Table(
    "policies",
    metadata,
    Column("scope", String(8), primary_key=True),
    Column("name", _name(128), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("document", Text),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
)

settings_changes = Table(
    "settings_changes",
    metadata,
    _serial(),
    Column("model_id", _name(128), ForeignKey("models.model_id"), nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("effective_from", BigInteger),
    Column("published_at", BigInteger),
    Index(None, "model_id", "seq"),
    Index(None, "published_at", "seq"),
)

leases = Table(
    "leases",
    metadata,
    Column("duty", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("prefix", String(16), primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("name", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("teams", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

rate_windows = Table(
    "rate_windows",
    metadata,
    Column("principal", String(200), primary_key=True),
    Column("window", BigInteger, primary_key=True),
    Column("taken", Integer, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("status", SmallInteger),
    Column("headers", Text),
    Column("body", LargeBinary),
    Column("created_at", BigInteger, nullable=False, index=True),
)

imports = Table(
    "imports",
    metadata,
    Column("origin", String(64), primary_key=True),
    Column("uri", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("origin_version", Text, nullable=False),
    Column("mark", Text, nullable=False),
    Column("aliased", Boolean, nullable=False),
    *_of_version(Column("at", BigInteger, nullable=False), Index(None, "aliased")),
)

import_cursors = Table(
    "import_cursors",
    metadata,
    Column("uri", String(2_000), primary_key=True),
    Column("cursor", BigInteger),
    Column("at", BigInteger),
    Column("last_full_at", BigInteger),
    Column("report", Text),
    Column("full_report", Text),
    Column("problem", Text, nullable=False),
    Column("problem_at", BigInteger),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("delivery_id", String(128), primary_key=True),
    Column("until", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    _serial(),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("model_id", _name(128)),
    Column("target", _name(256), nullable=False),
    Column("before", Text),
    Column("after", Text),
    Index(None, "model_id", "seq"),
)
