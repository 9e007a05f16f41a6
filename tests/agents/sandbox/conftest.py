from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.sandbox import egress
from tests.fakes.package_host import NAME, PackageHost


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageHost]:
    """Give a package host whose name leads to it; every other name is resolved as ever."""
    really = egress.resolve

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == NAME else await really(host, port)

    monkeypatch.setattr(egress, "resolve", resolve)
    with PackageHost(tmp_path / "packages") as host:
        yield host
