"""Runs migrations on the connection that `sidecar.store.schema` hands over, or on a URL from the command line."""

from alembic import context
from sqlalchemy import Connection, create_engine

from sidecar.store.tables import metadata


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise SystemExit("say which database: alembic -x url=sqlite:///sidecar.db upgrade head")
    with create_engine(url).connect() as connection:
        run(connection)
        connection.commit()
