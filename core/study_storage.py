"""Where Optuna keeps its studies: our database, in a schema of their own.

Optuna versions its tables in a table named alembic_version, as our migrations do; in one schema each would take the
other's for its own. `optuna-dashboard "$(studies_url)"` opens the studies.
"""

from urllib.parse import quote

import psycopg
from optuna.storages import RDBStorage

SCHEMA = "optuna"


def studies_url(database_url: str) -> str:
    """Return the URL under which Optuna finds its schema, with the driver that is installed here."""
    _, _, rest = database_url.partition("://")
    separator = "&" if "?" in rest else "?"
    return f"postgresql+psycopg://{rest}{separator}options={quote(f'-csearch_path={SCHEMA}')}"


def open_study_storage(database_url: str) -> RDBStorage:
    """Make the schema where there is none, and return Optuna's storage in it. Blocks."""
    _, _, rest = database_url.partition("://")
    with psycopg.connect(f"postgresql://{rest}", autocommit=True) as connection:
        # Two processes that start at once: IF NOT EXISTS alone can still collide.
        connection.execute("SELECT pg_advisory_lock(hashtext('optuna schema'))")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        return RDBStorage(studies_url(database_url), engine_kwargs={"pool_size": 1, "pool_pre_ping": True})
