"""What the events of OpenLineage's runs told so far."""

import sqlalchemy as sa
from alembic import op

revision = "0001.1"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lineage_openlineage_runs",
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("told", sa.LargeBinary(), nullable=False),
        sa.Column("execution", sa.String(36)),
        sa.Column("heard_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_lineage_openlineage_runs"),
    )
    op.create_index("ix_lineage_openlineage_runs_execution", "lineage_openlineage_runs", ["execution"])
    op.create_index("ix_lineage_openlineage_runs_heard_at", "lineage_openlineage_runs", ["heard_at"])
