"""Alembic's entry: runs the revisions on the connection it was given, in that connection's transaction."""

from alembic import context

from labgateway.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
    transactional_ddl=True,
)
context.run_migrations()
