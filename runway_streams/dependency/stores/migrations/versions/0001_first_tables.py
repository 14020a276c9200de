"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _name(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "lineage_nodes",
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.Column("name", _text(), nullable=False),
        sa.Column("sorted_by", _name(256), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("search_text", _text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("wholes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_lineage_nodes"),
    )
    op.create_index("ix_lineage_nodes_sorted_by", "lineage_nodes", ["sorted_by"])
    op.create_table(
        "lineage_edges",
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger()),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("upstream_key", sa.LargeBinary(16), nullable=False),
        sa.Column("downstream_key", sa.LargeBinary(16), nullable=False),
        sa.Column("upstream", _text(), nullable=False),
        sa.Column("downstream", _text(), nullable=False),
        sa.Column("kind", _name(16), nullable=False),
        sa.Column("reporter", _name(256), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("confidence", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("key", "valid_from", name="pk_lineage_edges"),
    )
    for end in ("upstream_key", "downstream_key"):
        op.create_index(f"ix_lineage_edges_{end}_valid_to", "lineage_edges", [end, "valid_to"])
    op.create_table(
        "lineage_reports",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("set_aside", sa.Boolean(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_lineage_reports"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lineage_discoveries",
        sa.Column("pathspec", _name(512), nullable=False),
        sa.Column("model_id", _name(128), nullable=False),
        sa.Column("version", _name(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pathspec", "model_id", "version", name="pk_lineage_discoveries"),
    )
    op.create_index("ix_lineage_discoveries_state_next_at", "lineage_discoveries", ["state", "next_at"])
    op.create_index("ix_lineage_discoveries_model_id_version", "lineage_discoveries", ["model_id", "version"])
    op.create_table(
        "lineage_cursors",
        sa.Column("name", _name(300), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lineage_cursors"),
    )
