"""Libraries that only a few methods need: imported when such a method runs, refused by name where they are absent."""

import importlib
import importlib.util
from types import ModuleType

from core.errors import MissingDependencyError


def load_library(name: str) -> ModuleType:
    """Import an optional library; raise MissingDependencyError when it isn't installed."""
    if importlib.util.find_spec(name) is None:
        raise MissingDependencyError(f"This method needs {name!r}, which is not installed.", fix=f"pip install {name}")
    return importlib.import_module(name)
