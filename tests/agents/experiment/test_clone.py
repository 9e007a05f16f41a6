"""Repositories from hosts that the operator allows, cloned in a real sandbox by git's own protocol over TLS."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.experiment.clone import clonable, clone
from agents.experiment.repository import fetchable
from agents.sandbox import egress
from agents.sandbox.bubblewrap import BubblewrapTier
from agents.sandbox.network import Network
from agents.sandbox.port import SandboxSpec, download, upload
from core.errors import SourceError
from core.types.host_rule import HostRule, read_rules
from core.types.work import Repository, Work
from tests.fakes.github_archives import commit
from tests.fakes.package_host import NAME, PackageHost

HOSTS = read_rules("gitlab.example, *.forge.example:8443")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://gitlab.example/lab/group/code", "https://gitlab.example/lab/group/code"),
        ("https://GitLab.example/lab/code.git/", "https://gitlab.example/lab/code.git"),
        ("https://gitlab.example/lab/code/-/tree/main/src", "https://gitlab.example/lab/code"),
        ("https://gitlab.example/lab/code/tree/main?x=y#z", "https://gitlab.example/lab/code"),
        ("https://a.forge.example:8443/lab/code", "https://a.forge.example:8443/lab/code"),
        ("https://a.forge.example/lab/code", None),
        ("http://gitlab.example/lab/code", None),
        ("https://me:pw@gitlab.example/lab/code", None),
        ("https://elsewhere.example/lab/code", None),
        ("https://gitlab.example/", None),
        ("https://gitlab.example/--upload-pack=x", None),
        ("https://gitlab.example/../x", None),
        ("https://gitlab.example:port/x", None),
        ("ext::sh -c whoami", None),
        ("file:///etc", None),
        ("git@gitlab.example:lab/code", None),
    ],
)
def test_only_https_addresses_of_allowed_hosts_are_cloned(url: str, wanted: str | None) -> None:
    assert clonable(url, HOSTS) == wanted


def test_a_work_is_fetchable_from_an_allowed_host() -> None:
    def work(*urls: str) -> Work:
        return Work(key="w", title="t", repositories=tuple(Repository(url=url) for url in urls))

    lab = "https://gitlab.example/lab/code"
    assert fetchable(work(lab), HOSTS) == Repository(url=lab)
    assert fetchable(work(lab)) is None
    assert fetchable(work("https://elsewhere.example/lab/code"), HOSTS) is None


async def cloned(root: Path, host: PackageHost, urls: Sequence[str]) -> tuple[list[str], bytes]:
    """Clone one after another in one sandbox; return the commits and the last README."""
    tier = BubblewrapTier(root)
    problem = await tier.problem()
    if problem:
        pytest.skip(f"CLONING IS NOT TESTED HERE: {problem}")
    rules = (HostRule(host=NAME, port=host.https_port, private=True),)
    environment = {"GIT_SSL_CAINFO": "/workspace/certificate.pem"}
    spec = SandboxSpec(id=f"clone-{time.monotonic_ns()}", network=Network(hosts=rules), environment=environment)
    sandbox = await tier.start(spec)
    try:
        upload(sandbox, "certificate.pem", host.certificate.read_bytes())
        upload(sandbox, "task/TASK.md", b"")
        commits = [await clone(sandbox, url) for url in urls]
        return commits, download(sandbox, "task/repository/README.md")
    finally:
        await sandbox.close()


async def test_a_repository_is_cloned_once_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(egress, "resolve", resolve)
    with PackageHost(tmp_path / "packages") as host:
        made = commit(host.repositories / "lab" / "code", {"README.md": "# As published"})
        base = f"https://{NAME}:{host.https_port}/git/lab"
        commits, readme = await cloned(tmp_path / "one", host, [f"{base}/code", f"{base}/code"])
        asked = [path for path, _ in host.asked if "info/refs" in path]
        with pytest.raises(SourceError, match="can't be cloned"):
            await cloned(tmp_path / "two", host, [f"{base}/none"])
        with pytest.raises(SourceError, match="403"):
            await cloned(tmp_path / "three", host, ["https://elsewhere.example/lab/code"])
    assert commits == [made, made]
    assert readme == b"# As published"
    assert len(asked) == 1
