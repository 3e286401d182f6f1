"""What Prometheus says of the time around an episode's start.

Revision ID: 0002_contexts
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_contexts"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contexts",
        sa.Column("episode", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("before", sa.Double(), nullable=False),
        sa.Column("result", sa.String(), nullable=False),
        sa.Column("usual", sa.Double(), nullable=True),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("later", sa.Double(), nullable=True),
        sa.Column("later_by", sa.Double(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("episode", "name", name=op.f("pk_contexts")),
    )


def downgrade() -> None:
    op.drop_table("contexts")
