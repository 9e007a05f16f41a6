from pathlib import Path

import pytest

from core import bubblewrap


def test_a_binary_that_can_be_run_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an image it belongs to another user, who alone may change it."""

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(path)

    bubblewrap.bubblewrap_binary()
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda _: None)
    found = bubblewrap.bubblewrap_binary.__wrapped__()
    monkeypatch.setattr(Path, "chmod", refuse)
    assert bubblewrap.bubblewrap_binary.__wrapped__() == found
