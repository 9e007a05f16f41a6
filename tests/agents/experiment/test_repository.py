"""Repositories over real HTTP: real git archives, and archives made to break out."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.experiment import repository
from agents.experiment.claims import claims_of
from agents.experiment.repository import fetch, fetchable
from core.errors import SourceError
from core.settings import Settings
from core.types.work import Repository, RepositoryStatus, Work
from tests.fakes.github_archives import GitHubArchives

REPOSITORY = Repository(url="https://github.com/lab/scaled")


def settings(folder: Path, url: str) -> Settings:
    return Settings(state_dir=folder, github_url=url, github_token="ghp-of-tests")


async def test_a_repository_comes_as_plain_files_of_one_commit(tmp_path: Path) -> None:
    files = {"README.md": "# Scaled", "src/deep/scaled.py": "print(1)"}
    with GitHubArchives({"lab/scaled": files}, tmp_path / "git") as server:
        fetched = await fetch(settings(tmp_path, server.url), REPOSITORY, tmp_path / "into")
        again = await fetch(settings(tmp_path, server.url), REPOSITORY, tmp_path / "into")
        with pytest.raises(SourceError, match="404"):
            await fetch(
                settings(tmp_path, server.url), REPOSITORY.evolve(url="https://github.com/no/no"), tmp_path / "x"
            )
    assert fetched == again
    assert fetched.revision == server.commits["lab/scaled"]
    assert {
        str(p.relative_to(fetched.folder)): p.read_text() for p in fetched.folder.rglob("*") if p.is_file()
    } == files
    paths = [path for path, _ in server.asked]
    assert paths == ["/repos/lab/scaled/tarball", "/codeload/lab/scaled", "/repos/no/no/tarball"]
    assert server.asked[0][1]["authorization"] == "Bearer ghp-of-tests"


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_symlink() or p.is_file()}


def hostile(add: Callable[[tarfile.TarFile], None]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        add(tar)
    return made.getvalue()


def member(name: str, data: bytes = b"x", **rest: object) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data) if "type" not in rest else 0
        for key, value in rest.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(data))

    return add


@pytest.mark.parametrize(
    "escape",
    [
        member("top/../../evil"),
        member("/evil"),
        member("top/link", type=tarfile.SYMTYPE, linkname="/etc"),
        member("top/hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member("top/device", type=tarfile.CHRTYPE),
    ],
)
async def test_what_breaks_out_is_left_out(
    tmp_path: Path, escape: Callable[[tarfile.TarFile], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(tar: tarfile.TarFile) -> None:
        escape(tar)
        member("top/good.py")(tar)

    with GitHubArchives({"lab/scaled": {"a": "b"}}, tmp_path / "git") as server:
        monkeypatch.setattr(server, "archive", lambda _: hostile(both))
        fetched = await fetch(settings(tmp_path, server.url), REPOSITORY, tmp_path / "deep" / "into")
    assert contents(fetched.folder) == {"good.py": "x"}
    assert "evil" not in "".join(contents(tmp_path / "deep"))
    assert not Path("/evil").exists()  # noqa: ASYNC240


async def test_bombs_and_garbage_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "MAX_UNPACKED", 1000)
    monkeypatch.setattr(repository, "MAX_ARCHIVE", 5000)
    cases = {
        "more than": hostile(member("top/bomb", b"0" * 2000)),
        "can't be unpacked": b"no archive",
        "bytes": bytes(range(256)) * 40,
    }
    with GitHubArchives({"lab/scaled": {"a": "b"}}, tmp_path / "git") as server:
        for number, (reason, data) in enumerate(cases.items()):
            monkeypatch.setattr(server, "archive", lambda _, data=data: data)
            with pytest.raises(SourceError, match=reason):
                await fetch(settings(tmp_path, server.url), REPOSITORY, tmp_path / str(number))
    with pytest.raises(SourceError, match="can't be fetched"):
        await fetch(settings(tmp_path, server.url), REPOSITORY, tmp_path / "gone")


async def test_a_redirect_elsewhere_is_not_followed(tmp_path: Path) -> None:
    with (
        GitHubArchives({"lab/scaled": {"a": "b"}}, tmp_path / "one") as other,
        GitHubArchives({"lab/scaled": {"a": "b"}}, tmp_path / "two", other.url) as server,
        pytest.raises(SourceError, match="which is not asked"),
    ):
        await fetch(settings(tmp_path, server.url), REPOSITORY, tmp_path / "into")
    assert other.asked == []


def test_the_authors_own_repository_is_taken_and_none_where_all_are_gone() -> None:
    fork, own = REPOSITORY.evolve(official=False), Repository(url="https://github.com/own/code", official=True)
    gone = own.evolve(status=RepositoryStatus.GONE)
    elsewhere = Repository(url="https://gitlab.example/x/y")
    assert fetchable(Work(key="w", title="t", repositories=(fork, own))) == own
    assert fetchable(Work(key="w", title="t", repositories=(fork, gone))) == fork
    assert fetchable(Work(key="w", title="t", repositories=(gone, elsewhere))) is None


def test_claims_are_quoted_from_the_abstract_numbers_first() -> None:
    abstract = (
        "Merging is cheap. Our method outperforms TIES on all tasks. It improves HumanEval by 4.2 points over task "
        "arithmetic. We release code."
    )
    found = claims_of(Work(key="w", title="t", abstract=abstract))
    assert found == (
        "It improves HumanEval by 4.2 points over task arithmetic.",
        "Our method outperforms TIES on all tasks.",
    )
    assert claims_of(Work(key="w", title="t", claims=("as stated",), abstract=abstract)) == ("as stated",)
    assert claims_of(Work(key="w", title="t")) == ()
