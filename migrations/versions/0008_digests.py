"""What digests listed, so that an answer to one is an answer to its alerts.

Revision ID: 0008_digests
Revises: 0007_silences
"""

import sqlalchemy as sa
from alembic import op

revision = "0008_digests"
down_revision = "0007_silences"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "digests",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("receiver", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_digests")),
    )


def downgrade() -> None:
    op.drop_table("digests")
