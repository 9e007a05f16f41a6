"""Gives tests the modules of the worked example, which are plain scripts beside their data and no package."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "smollm-merge"
MODULES = sorted(file.stem for file in EXAMPLE.glob("*.py"))


@pytest.fixture(scope="session")
def example() -> Iterator[SimpleNamespace]:
    """Import every script by its bare name, as it runs; forget them afterwards."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES}, root=EXAMPLE)
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in MODULES:
            sys.modules.pop(name, None)
