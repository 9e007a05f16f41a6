"""`research-agent up` as a process of its own, for tests of a whole machine."""

import asyncio
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT


@dataclass(frozen=True)
class Link:
    """Where the machine serves, and the token that it printed."""

    url: str
    token: str


async def start_up(state: Path, port: int, **environment: str) -> asyncio.subprocess.Process:
    """Start `up` on a state directory, without what this process's environment says of ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESEARCH_AGENT_", "DATABASE_URL"))}
    ours = {"PYTHONPATH": str(ROOT), "RESEARCH_AGENT_STATE_DIR": str(state), "RESEARCH_AGENT_PORT": str(port)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "up", env={**kept, **ours, "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def read_until(process: asyncio.subprocess.Process, word: str) -> str:
    """Return what a process says up to a word's line; fail with it where it ends before."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(240):
        while word not in said:
            line = (await process.stdout.readline()).decode()
            assert line, said
            said += line
    return said


def link_of(said: str) -> Link:
    """Return the link that `up` printed."""
    found = re.search(r"Open (http://127\.0\.0\.1:\d+)/\?token=(\S+)", said)
    assert found is not None, said
    return Link(found.group(1), found.group(2))
