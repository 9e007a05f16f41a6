"""Alembic's environment: our tables alone, on the URL that `research-agent migrate` hands over."""

from alembic import context

from core.db import blocking_engine
from core.tables import metadata


def run() -> None:
    """Upgrade in one transaction."""
    engine = blocking_engine(context.config.get_main_option("sqlalchemy.url") or "")
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_name=lambda name, kind, _: kind != "table" or name in metadata.tables,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
