"""Answers of outside services, kept in the database with an expiry. It is the agents' `Cache` port."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from core.db import Database
from core.tables import answers


class AnswerCache:
    """A cache that all runs share: no question is asked twice before its answer expires."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, key: str) -> bytes | None:
        """Return a kept answer, or None when there is none or it is too old."""
        query = select(answers.c.value).where(answers.c.key == key, answers.c.expires_at > func.clock_timestamp())
        async with self._db.transaction() as tx:
            return (await tx.execute(query)).scalar_one_or_none()

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keep an answer for some seconds."""
        values = {"value": value, "expires_at": func.clock_timestamp() + timedelta(seconds=seconds)}
        statement = insert(answers).values(key=key, **values)
        async with self._db.transaction() as tx:
            await tx.execute(statement.on_conflict_do_update(index_elements=["key"], set_=values))

    async def prune(self) -> int:
        """Forget answers that are too old; return how many."""
        async with self._db.transaction() as tx:
            return (await tx.execute(delete(answers).where(answers.c.expires_at < func.clock_timestamp()))).rowcount
