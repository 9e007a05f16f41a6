"""A work's repository, fetched as an archive and unpacked as plain files: no git, no hook, no link, nothing executed.

GitHub's archives alone (the address is a setting); what lies elsewhere is cloned in the sandbox (clone.py). What comes
is hostile: its size, its number of files and every path are bounded, links and devices are left out, and a redirect
leads to the archive's own host or nowhere.
"""

import asyncio
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import quote, urljoin, urlsplit

import httpx

from agents.experiment.clone import clonable
from agents.survey.text import github_repositories
from core.errors import SourceError
from core.settings import Settings
from core.types.base import Value
from core.types.host_rule import HostRule
from core.types.work import Repository, RepositoryStatus, Work

MAX_ARCHIVE = 256 * 2**20
MAX_UNPACKED = 1024 * 2**20
MAX_FILES = 20_000
MAX_REDIRECTS = 4
ARCHIVE_HOSTS = frozenset({"codeload.github.com"})
REVISION = "revision.txt"


class Fetched(Value):
    """A repository's files on this machine, and the commit that they are; no folder where a sandbox is to clone it."""

    folder: Path | None
    url: str
    revision: str


def fetchable(work: Work, hosts: Sequence[HostRule] = ()) -> Repository | None:
    """Return the repository of a work that can be fetched, the authors' own first; None where there is none.

    GitHub's are fetched here; others can be cloned from the hosts that the work's sandbox may reach.
    """
    known = [r for r in work.repositories if r.status is not RepositoryStatus.GONE]
    found = [r for r in known if on_github(r) or clonable(r.url, hosts)]
    return min(found, key=lambda r: r.official is not True, default=None)


def on_github(repository: Repository) -> bool:
    """Return whether GitHub has a repository."""
    return bool(github_repositories(repository.url))


async def fetch(settings: Settings, repository: Repository, into: Path) -> Fetched:
    """Return a repository's files below `into`, fetched unless they are there; raise SourceError with the reason."""
    (url,) = github_repositories(repository.url)[:1]
    folder, mark = into / "files", into / REVISION
    if not mark.is_file():
        shutil.rmtree(into, ignore_errors=True)
        folder.mkdir(parents=True)
        with tempfile.TemporaryFile() as archive:
            await _download(settings, url.removeprefix("https://github.com/"), archive)
            archive.seek(0)
            try:
                revision = await asyncio.to_thread(_unpack, archive, folder)
            except (tarfile.TarError, OSError, EOFError) as error:
                raise SourceError(f"The archive of {url} can't be unpacked: {error}") from error
        mark.write_text(revision)
    return Fetched(folder=folder, url=url, revision=mark.read_text())


async def _download(settings: Settings, full_name: str, archive: IO[bytes]) -> None:
    home = urlsplit(settings.github_url).netloc.lower()
    allowed = ARCHIVE_HOSTS | {home}
    url = f"{settings.github_url.rstrip('/')}/repos/{quote(full_name)}/tarball"
    token = settings.github_token.get_secret_value() if settings.github_token else None
    async with httpx.AsyncClient(follow_redirects=False, timeout=60.0) as http:
        for _ in range(MAX_REDIRECTS):
            host = urlsplit(url).netloc.lower()
            if host not in allowed:
                raise SourceError(f"GitHub leads to {host}, which is not asked.")
            headers = {"Authorization": f"Bearer {token}"} if token and host == home else {}
            try:
                following = await _stream(http, url, headers, archive)
            except httpx.HTTPError as error:
                raise SourceError(f"{full_name} can't be fetched: {type(error).__name__}.") from error
            if following is None:
                return
            url = urljoin(url, following)
    raise SourceError(f"{full_name} redirects without end.")


async def _stream(http: httpx.AsyncClient, url: str, headers: dict[str, str], archive: IO[bytes]) -> str | None:
    """Write the body into `archive`; return where a redirect leads instead."""
    async with http.stream("GET", url, headers=headers) as response:
        if response.is_redirect:
            return response.headers["location"]
        if not response.is_success:
            raise SourceError(f"GitHub answered {response.status_code} for {urlsplit(url).path}.")
        async for chunk in response.aiter_bytes():
            archive.write(chunk)
            if archive.tell() > MAX_ARCHIVE:
                raise SourceError(f"The archive of {urlsplit(url).path} has more than {MAX_ARCHIVE} bytes.")
    return None


def _unpack(archive: IO[bytes], folder: Path) -> str:
    """Write the plain files of an archive, without its first folder; return the commit that it names."""
    total = count = 0
    revision = ""
    with tarfile.open(fileobj=archive, mode="r|gz") as tar:
        for member in tar:
            revision = revision or str(tar.pax_headers.get("comment", "")) or _suffix(member.name)
            parts = PurePosixPath(member.name).parts[1:]
            if not member.isfile() or not parts or ".." in parts or PurePosixPath(member.name).is_absolute():
                continue
            total, count = total + member.size, count + 1
            if total > MAX_UNPACKED or count > MAX_FILES:
                raise tarfile.ReadError(f"it holds more than {MAX_FILES} files or {MAX_UNPACKED} bytes")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            if source is not None:
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    return revision


def _suffix(name: str) -> str:
    """Return the commit in an archive's first folder: owner-name-commit."""
    return name.split("/", maxsplit=1)[0].rpartition("-")[2]
