"""Files of runs: content-addressed on disk, named in the database. The same bytes are kept once.

A name is a relative path in its run. Hosts that share runs share this directory (or mount an object store there).
"""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import RowMapping, select
from sqlalchemy.dialects.postgresql import insert

from core.db import Database
from core.errors import InvalidInputError, NotFoundError
from core.tables import artifacts

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
CHUNK = 1 << 20


class Blobs:
    """Bytes by their SHA-256 below one directory: the part of the store that workers write to."""

    def __init__(self, directory: Path) -> None:
        self._root = directory

    def path_of(self, digest: str) -> Path:
        """Return where the bytes with a digest are."""
        return self._root / digest[:2] / digest

    def adopt(self, path: Path) -> tuple[str, int]:
        """Move a file into the store and return its SHA-256 and its size in bytes."""
        sha = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                sha.update(chunk)
        size = path.stat().st_size
        target = self.path_of(sha.hexdigest())
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        return sha.hexdigest(), size


class ArtifactStore:
    """The store below one directory. It is the agents' `Artifacts` port."""

    def __init__(self, db: Database, directory: Path) -> None:
        self._db = db
        self._root = directory
        self._blobs = Blobs(directory)

    def path_of(self, digest: str) -> Path:
        """Return where the bytes with a digest are."""
        return self._blobs.path_of(digest)

    async def put(self, run_id: str, name: str, data: bytes, media_type: str) -> str:
        """Store bytes under a name in a run and return their SHA-256; the name's former bytes are replaced."""
        digest, size = await asyncio.to_thread(self._write, data)
        await self._name(run_id, name, (digest, size, media_type))
        return digest

    async def put_file(self, run_id: str, name: str, path: Path, media_type: str) -> str:
        """Move a file into the store under a name in a run and return its SHA-256."""
        digest, size = await asyncio.to_thread(self._blobs.adopt, path)
        await self._name(run_id, name, (digest, size, media_type))
        return digest

    async def name(self, run_id: str, name: str, digest: str, media_type: str) -> None:
        """Give a file that is in the store already (a worker put it there) a name in a run."""
        size = (await asyncio.to_thread(self.path_of(digest).stat)).st_size
        await self._name(run_id, name, (digest, size, media_type))

    def _write(self, data: bytes) -> tuple[str, int]:
        self._root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._root)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        return self._blobs.adopt(Path(name))

    async def _name(self, run_id: str, name: str, file: tuple[str, int, str]) -> None:
        if not NAME.fullmatch(name):
            raise InvalidInputError(f"{name!r} can't name an artifact.", fix="Use letters, digits, '.', '_' and '-'.")
        digest, size, media_type = file
        values = {"digest": digest, "size": size, "media_type": media_type}
        statement = insert(artifacts).values(run_id=run_id, name=name, **values)
        async with self._db.transaction() as tx:
            await tx.execute(statement.on_conflict_do_update(index_elements=["run_id", "name"], set_=values))

    async def entry(self, run_id: str, name: str) -> RowMapping:
        """Return name, digest, size and media type; raise NotFoundError when the run has no such file."""
        query = select(artifacts).where(artifacts.c.run_id == run_id, artifacts.c.name == name)
        async with self._db.transaction() as tx:
            row = (await tx.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"Run {run_id!r} has no artifact {name!r}.")
        return row

    async def get(self, run_id: str, name: str) -> bytes:
        """Return a file's bytes; raise NotFoundError when there is none."""
        entry = await self.entry(run_id, name)
        return await asyncio.to_thread(self.path_of(entry["digest"]).read_bytes)

    async def of_run(self, run_id: str) -> Sequence[RowMapping]:
        """Return the entries of a run by name."""
        query = select(artifacts).where(artifacts.c.run_id == run_id).order_by(artifacts.c.name)
        async with self._db.transaction() as tx:
            return (await tx.execute(query)).mappings().all()
