"""Files of a run: what there is, and where the bytes are."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.service import Services
from core.errors import NotFoundError
from core.types.base import Value


class FileRow(Value):
    """A file of a run with its checksum."""

    name: str
    sha256: str
    size: int
    media_type: str
    created_at: datetime
    href: str


class FileList(Value):
    """All files of a run by name."""

    items: tuple[FileRow, ...]


@dataclass(frozen=True)
class StoredFile:
    """A file's bytes on this host, and what they are."""

    path: Path
    name: str
    digest: str
    media_type: str


async def file_list(services: Services, run_id: str) -> FileList:
    """Return a run's files; raise NotFoundError when there is no such run."""
    await services.runs.get(run_id)
    return FileList(
        items=tuple(
            FileRow(
                name=e["name"],
                sha256=e["digest"],
                size=e["size"],
                media_type=e["media_type"],
                created_at=e["created_at"],
                href=f"/v1/runs/{run_id}/artifacts/{e['name']}",
            )
            for e in await services.artifacts.of_run(run_id)
        )
    )


async def stored_file(services: Services, run_id: str, name: str) -> StoredFile:
    """Return a file of a run; raise NotFoundError where there is none, or its bytes are on another host."""
    entry = await services.artifacts.entry(run_id, name)
    path = services.artifacts.path_of(entry["digest"])
    if not path.is_file():
        raise NotFoundError(f"The bytes of {name!r} are not on this host.", fix="Share the artifact directory.")
    return StoredFile(path, entry["name"], entry["digest"], entry["media_type"])
