"""What stages leave behind: candidates, and one typed document a name (survey, leaderboards, …)."""

from collections.abc import Sequence

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from core.db import Database
from core.errors import NotFoundError
from core.tables import candidates, documents
from core.types.candidate import Candidate


class RunRecords:
    """The candidates and documents of runs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put_candidate(self, run_id: str, candidate: Candidate) -> None:
        """Keep a candidate; the same id again replaces it."""
        body = candidate.model_dump(mode="json")
        statement = insert(candidates).values(run_id=run_id, id=candidate.id, body=body)
        async with self._db.transaction() as tx:
            await tx.execute(statement.on_conflict_do_update(index_elements=["run_id", "id"], set_={"body": body}))

    async def candidates(self, run_id: str) -> Sequence[Candidate]:
        """Return the candidates of a run, oldest first."""
        query = (
            select(candidates.c.body)
            .where(candidates.c.run_id == run_id)
            .order_by(candidates.c.created_at, candidates.c.id)
        )
        async with self._db.transaction() as tx:
            return [Candidate.model_validate(b) for b in (await tx.execute(query)).scalars()]

    async def candidate(self, run_id: str, candidate_id: str) -> Candidate:
        """Return one candidate; raise NotFoundError when the run has none with this id."""
        query = select(candidates.c.body).where(candidates.c.run_id == run_id, candidates.c.id == candidate_id)
        async with self._db.transaction() as tx:
            body = (await tx.execute(query)).scalar_one_or_none()
        if body is None:
            raise NotFoundError(f"Run {run_id!r} has no candidate {candidate_id!r}.")
        return Candidate.model_validate(body)

    async def put(self, run_id: str, name: str, document: BaseModel) -> None:
        """Keep a document under a name; the former one is replaced."""
        body = document.model_dump(mode="json")
        statement = insert(documents).values(run_id=run_id, name=name, body=body)
        async with self._db.transaction() as tx:
            await tx.execute(statement.on_conflict_do_update(index_elements=["run_id", "name"], set_={"body": body}))

    async def every[D: BaseModel](self, run_id: str, prefix: str, kind: type[D]) -> Sequence[D]:
        """Return the documents whose names start with a prefix, by name."""
        wanted = documents.c.name.startswith(prefix, autoescape=True)
        query = select(documents.c.body).where(documents.c.run_id == run_id, wanted).order_by(documents.c.name)
        async with self._db.transaction() as tx:
            return [kind.model_validate(body) for body in (await tx.execute(query)).scalars()]

    async def get[D: BaseModel](self, run_id: str, name: str, kind: type[D]) -> D:
        """Return a document; raise NotFoundError when the run has not made it yet."""
        query = select(documents.c.body).where(documents.c.run_id == run_id, documents.c.name == name)
        async with self._db.transaction() as tx:
            body = (await tx.execute(query)).scalar_one_or_none()
        if body is None:
            raise NotFoundError(f"Run {run_id!r} has no {name} yet.")
        return kind.model_validate(body)
