"""A cache of answers in a directory: for the command line and for tests, where there is no database.

One file an answer, written whole or not at all, so that a killed process leaves no half answer. Expired answers are
removed when they are met. It is for one user on one machine: whoever can write the directory can forge answers.
"""

import hashlib
import os
import struct
import time
from pathlib import Path

_EXPIRY = struct.Struct("<d")


class DirectoryCache:
    """Answers as files, each with its expiry in front."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def get(self, key: str) -> bytes | None:
        """Return a kept answer, or None when there is none or it is too old."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(data) < _EXPIRY.size or _EXPIRY.unpack_from(data)[0] < time.time():
            path.unlink(missing_ok=True)
            return None
        return data[_EXPIRY.size :]

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keep an answer for some seconds."""
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.write_bytes(_EXPIRY.pack(time.time() + seconds) + value)
        draft.replace(path)

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self._directory / digest[:2] / digest
