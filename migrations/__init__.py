"""The schema's history (alembic): every released schema can be reached, up and down."""
