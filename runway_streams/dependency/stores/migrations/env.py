"""What Alembic runs: migrations, on the connection that it was given."""

from alembic import context

from runway_streams.dependency.stores.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
