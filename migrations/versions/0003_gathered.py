"""Incidents that gather: their titles, and where what left an incident goes on.

Revision ID: 0003_gathered
Revises: 0002_contexts
"""

import sqlalchemy as sa
from alembic import op

revision = "0003_gathered"
down_revision = "0002_contexts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incidents", sa.Column("title", sa.Text(), nullable=True))
    op.add_column("incidents", sa.Column("goes_on_in", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("incidents", "goes_on_in")
    op.drop_column("incidents", "title")
